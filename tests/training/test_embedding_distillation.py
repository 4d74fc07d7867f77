"""Embedding-level distillation: it lowers the matching loss, and its nearest words are the words themselves."""

import numpy as np
import pytest
import torch
from conftest import tiny_bert
from safetensors.torch import save_file
from tokenizers.processors import TemplateProcessing
from transformers import RobertaConfig, RobertaForSequenceClassification

from dilm import InputError
from dilm.config import GradientMatchingConfig
from dilm.models.learner import Learner
from dilm.training import embedding_distillation
from dilm.training.embedding_distillation import EmbeddedSet, distill_embeddings, nearest_texts, starting_texts
from dilm.training.learners import PooledLearners, head_gradient
from dilm.training.matching_loss import cosine_and_slope
from dilm.training.teachers import Teachers

CONFIG = GradientMatchingConfig(
    max_steps=15, teacher_size=10, teacher_sets=1, teacher_candidates=40, trajectories=1, inner_steps=1
)


def cosine(learners, learned: EmbeddedSet) -> float:
    """The literal version: gradient of the head by autograd, from saved embeddings."""
    learner, found = learners.learner, []
    learners.move_to(0)
    for c in (0, 1):
        rows = learned.labels == c
        types = None if learned.token_types is None else learned.token_types[rows]
        logits = learner.model(
            inputs_embeds=learned.embeddings[rows], attention_mask=learned.mask[rows], token_type_ids=types
        ).logits
        loss = torch.nn.functional.cross_entropy(logits, learned.labels[rows])
        gradient = dict(
            zip(
                learner.head_parameters(),
                torch.autograd.grad(loss, list(learner.head_parameters().values())),
                strict=True,
            )
        )
        real = learners.teacher_target(c, 0)
        if learner.has_linear_head:
            weight, bias = (next(v for n, v in gradient.items() if n.endswith(e)) for e in ("weight", "bias"))
            flat = torch.cat([weight, bias[:, None]], 1).flatten()
        else:
            flat = torch.cat([v.flatten() for v in gradient.values()])
        found.append(cosine_and_slope(real.flatten(), flat)[0])
    return float(np.mean(found))


def as_bert_reads(learner: Learner) -> None:
    """Control tokens around and between texts, and other token types for the second one."""
    special = [(name, learner.tokenizer.convert_tokens_to_ids(name)) for name in ("[CLS]", "[SEP]")]
    learner.tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=special
    )
    learner.tokenizer.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]


@pytest.mark.parametrize("linear, pairs", [(True, False), (False, False), (True, True)])
def test_learned_embeddings_match_the_real_gradient_better(request, tokenizer, learner, tmp_path, linear, pairs):
    task = request.getfixturevalue("pair_task" if pairs else "task")
    if pairs:
        as_bert_reads(learner)
    if not linear:
        settings = tiny_bert(len(tokenizer)).to_dict() | {"model_type": "roberta", "max_position_embeddings": 90}
        torch.manual_seed(0)
        learner = Learner(RobertaForSequenceClassification(RobertaConfig(**settings)), tokenizer, max_length=48)
    assert learner.has_linear_head == linear
    learners = PooledLearners(task, learner, Teachers(task, learner, CONFIG, 0), CONFIG, 0, tmp_path)
    list(learners.build())
    texts, labels = starting_texts(task, 2, seed=0)
    steps = list(distill_embeddings(learners, texts, labels, CONFIG, seed=0))
    assert len(steps) == 15 and steps[0].labels.tolist() == [0, 0, 1, 1]
    assert cosine(learners, steps[-1]) > cosine(learners, steps[0])
    steps[-1].save(tmp_path / "set.safetensors")
    again = EmbeddedSet.load(tmp_path / "set.safetensors")
    assert torch.equal(again.embeddings, steps[-1].embeddings) and (again.token_types is not None) == pairs
    read, targets = again.batch([3, 0], learner.device)
    assert targets.tolist() == [1, 0] and torch.equal(read["attention_mask"], again.mask[[3, 0]])
    if pairs:
        assert set(read["token_type_ids"][0].tolist()) == {0, 1}
        logits = learner.model(**again.batch([0, 1, 2, 3], learner.device)[0]).logits
        ignored = learner.model(inputs_embeds=again.embeddings, attention_mask=again.mask).logits
        assert not torch.equal(logits, ignored), "the learner sees which text is the second"


def test_class_by_class_is_a_step_along_the_gradient_of_the_mean_over_classes(task, learner, tmp_path):
    learners = PooledLearners(task, learner, Teachers(task, learner, CONFIG, 0), CONFIG, 0, tmp_path)
    list(learners.build())
    texts, labels = starting_texts(task, 3, 0)
    found = next(distill_embeddings(learners, texts, labels, CONFIG, seed=0))
    inputs, targets, words = learner.collate(learner.encode(texts)), torch.tensor(labels), learner.word_embeddings()
    embeddings = words[inputs["input_ids"]].clone().requires_grad_()
    logits = learner.model(inputs_embeds=embeddings, attention_mask=inputs["attention_mask"]).logits
    losses = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
    gradients = [head_gradient(learner, losses[targets == c].mean()) for c in (0, 1)]
    real = [learners.teacher_target(c, 0).flatten() for c in (0, 1)]
    loss = sum(1 - torch.cosine_similarity(*pair, dim=0) for pair in zip(gradients, real, strict=True)) / 2
    (embeddings.grad,) = torch.autograd.grad(loss, [embeddings])
    rate = embedding_distillation.LEARNING_RATE * float(words.std())
    torch.optim.Adam([embeddings], lr=rate).step()
    assert ((found.embeddings - embeddings).abs() < 1e-2 * rate).float().mean() > 0.99


LAYOUTS = {  # no control tokens; as BERT, RoBERTa and XLNet have them
    "none": ("$A", "$A $B"),
    "bert": ("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1"),
    "roberta": ("[CLS] $A [SEP]", "[CLS] $A [SEP] [SEP] $B [SEP]"),
    "xlnet": ("$A [SEP] [CLS]", "$A [SEP] $B [SEP] [CLS]"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("pairs", [False, True])
def test_the_nearest_words_of_untouched_embeddings_are_the_text(learner, texts, layout, pairs):
    special = [(name, learner.tokenizer.convert_tokens_to_ids(name)) for name in ("[CLS]", "[SEP]")]
    single, pair = LAYOUTS[layout]
    learner.tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=single, pair=pair, special_tokens=special
    )
    short = [text[:25] for text in texts[:6]]
    own = list(zip(short[:3], short[3:], strict=True)) if pairs else short[:3]
    inputs = learner.collate(learner.encode(own))
    learned = EmbeddedSet(learner.word_embeddings()[inputs["input_ids"]], inputs["attention_mask"], torch.zeros(3))

    def as_read(text: str) -> str:
        return learner.tokenizer.decode(learner.tokenizer(text, add_special_tokens=False)["input_ids"]).strip()

    expected = [(as_read(text[0]), as_read(text[1])) if pairs else as_read(text) for text in own]
    assert nearest_texts(learner, learned, own) == expected


def test_damaged_embeddings_of_a_stranger_are_named(tmp_path):
    path = tmp_path / "dataset_0.safetensors"
    good = {"embeddings": torch.zeros(2, 3, 4), "mask": torch.ones(2, 3), "labels": torch.tensor([0, 1])}
    for bad in (
        {"mask": torch.ones(2, 4)},
        {"token_types": torch.ones(3)},
        {"token_types": torch.ones(2, 3)},
        {"labels": torch.tensor([0.5, 1.0])},
        {"embeddings": torch.zeros(2)},
    ):
        save_file({**good, **bad}, path)
        with pytest.raises(InputError, match="holds no learned embeddings: its tensors do not fit together"):
            EmbeddedSet.load(path)
    save_file({**good, "more": torch.zeros(1)}, path)
    with pytest.raises(InputError, match="holds no learned embeddings"):
        EmbeddedSet.load(path)
    path.write_bytes(b"\x80\x04x")
    with pytest.raises(InputError, match="holds no learned embeddings"):
        EmbeddedSet.load(path)

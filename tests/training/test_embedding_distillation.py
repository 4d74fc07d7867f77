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
from dilm.training.embedding_distillation import EmbeddedSet, distill_embeddings, nearest_texts
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
        logits = learner.model(inputs_embeds=learned.embeddings[rows], attention_mask=learned.mask[rows]).logits
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


@pytest.mark.parametrize("linear", [True, False])
def test_learned_embeddings_match_the_real_gradient_better(task, tokenizer, learner, tmp_path, linear):
    if not linear:
        settings = tiny_bert(len(tokenizer)).to_dict() | {"model_type": "roberta", "max_position_embeddings": 90}
        torch.manual_seed(0)
        learner = Learner(RobertaForSequenceClassification(RobertaConfig(**settings)), tokenizer, max_length=48)
    assert learner.has_linear_head == linear
    learners = PooledLearners(task, learner, Teachers(task, learner, CONFIG, 0), CONFIG, 0, tmp_path)
    list(learners.build())
    steps = list(distill_embeddings(learners, task, CONFIG, 2, seed=0))
    assert len(steps) == 15 and steps[0].labels.tolist() == [0, 0, 1, 1]
    assert cosine(learners, steps[-1]) > cosine(learners, steps[0])
    steps[-1].save(tmp_path / "set.safetensors")
    assert torch.equal(EmbeddedSet.load(tmp_path / "set.safetensors").embeddings, steps[-1].embeddings)


def test_class_by_class_is_a_step_along_the_gradient_of_the_mean_over_classes(task, learner, tmp_path):
    learners = PooledLearners(task, learner, Teachers(task, learner, CONFIG, 0), CONFIG, 0, tmp_path)
    list(learners.build())
    found = next(distill_embeddings(learners, task, CONFIG, 3, seed=0))
    texts, labels = embedding_distillation._start(task, 3, 0)
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


def test_the_nearest_words_of_untouched_embeddings_are_the_text(learner, texts):
    inputs = learner.collate(learner.encode(texts[:3]))
    ids = [ids for ids in inputs["input_ids"]]
    edged = EmbeddedSet(learner.word_embeddings()[inputs["input_ids"]], inputs["attention_mask"], torch.zeros(3))
    own = [row[mask.bool()].tolist() for row, mask in zip(ids, inputs["attention_mask"], strict=True)]
    assert nearest_texts(learner, edged) == [learner.tokenizer.decode(row).strip() for row in own]
    # With control tokens, which are no words: around the text as BERT has them, and after it as XLNet has.
    backend, edge = learner.tokenizer.backend_tokenizer, learner.word_embeddings()[:1]
    special = [(name, learner.tokenizer.convert_tokens_to_ids(name)) for name in ("[CLS]", "[SEP]")]
    for layout, before, after in (("[CLS] $A [SEP]", 1, 1), ("$A [SEP] [CLS]", 0, 2)):
        backend.post_processor = TemplateProcessing(single=layout, special_tokens=special)
        words = learner.word_embeddings()[own[0]]
        whole = torch.cat([*[edge] * before, words, *[edge] * after])[None]
        (text,) = nearest_texts(learner, EmbeddedSet(whole, torch.ones(whole.shape[:2]), torch.zeros(1)))
        assert text == learner.tokenizer.decode(own[0]).strip()


def test_damaged_embeddings_of_a_stranger_are_named(tmp_path):
    path = tmp_path / "dataset_0.safetensors"
    good = {"embeddings": torch.zeros(2, 3, 4), "mask": torch.ones(2, 3), "labels": torch.tensor([0, 1])}
    for bad in ({"mask": torch.ones(2, 4)}, {"labels": torch.tensor([0.5, 1.0])}, {"embeddings": torch.zeros(2)}):
        save_file({**good, **bad}, path)
        with pytest.raises(InputError, match="holds no learned embeddings: its tensors do not fit together"):
            EmbeddedSet.load(path)
    save_file({**good, "more": torch.zeros(1)}, path)
    with pytest.raises(InputError, match="holds no learned embeddings"):
        EmbeddedSet.load(path)
    path.write_bytes(b"\x80\x04x")
    with pytest.raises(InputError, match="holds no learned embeddings"):
        EmbeddedSet.load(path)

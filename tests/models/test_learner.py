"""The learner: any architecture, its head found by structure; features, fresh heads, training."""

import itertools

import numpy as np
import pytest
import torch
from conftest import tiny_bert
from transformers import (
    BertForSequenceClassification,
    DebertaV2Config,
    DebertaV2ForSequenceClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    ElectraConfig,
    ElectraForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
    XLNetConfig,
    XLNetForSequenceClassification,
)

from dilm import InputError
from dilm.config import OptimizationConfig
from dilm.models.learner import Learner
from dilm.training.learners import real_gradient

COMMON = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, "num_labels": 3}
ARCHITECTURES = {
    "bert": (BertForSequenceClassification, lambda v: tiny_bert(v, num_labels=3), True),
    "roberta": (
        RobertaForSequenceClassification,
        lambda v: RobertaConfig(vocab_size=v, max_position_embeddings=80, pad_token_id=0, **COMMON),
        False,
    ),
    "electra": (
        ElectraForSequenceClassification,
        lambda v: ElectraConfig(vocab_size=v, embedding_size=32, **COMMON),
        False,
    ),
    "deberta-v2": (
        DebertaV2ForSequenceClassification,
        lambda v: DebertaV2Config(vocab_size=v, pooler_hidden_size=32, **COMMON),
        False,
    ),
    "distilbert": (
        DistilBertForSequenceClassification,
        lambda v: DistilBertConfig(vocab_size=v, dim=32, n_layers=2, n_heads=2, hidden_dim=64, num_labels=3),
        False,
    ),
    "xlnet": (
        XLNetForSequenceClassification,
        lambda v: XLNetConfig(vocab_size=v, d_model=32, n_layer=2, n_head=2, d_inner=64, num_labels=3),
        False,
    ),
}


@pytest.fixture(params=ARCHITECTURES)
def any_learner(request, tokenizer):
    torch.manual_seed(0)
    model_class, config, linear = ARCHITECTURES[request.param]
    if request.param == "xlnet":  # as its own tokenizer does: it reads a text's class off the last token
        tokenizer.padding_side = "left"
    learner = Learner(model_class(config(len(tokenizer))), tokenizer, max_length=48)
    assert learner.has_linear_head == linear
    return learner


def test_head_inputs_make_the_logits(any_learner, texts):
    view = any_learner.head_view(texts[:7], batch_size=3)
    layer = any_learner.output_layer
    assert view.inputs.shape == (7, layer.in_features) and view.logits.shape == (7, 3)
    assert torch.allclose(layer(view.inputs), view.logits, atol=1e-5)
    one_by_one = torch.cat([any_learner.head_view([text]).logits for text in texts[:7]])
    assert torch.allclose(one_by_one, view.logits, atol=1e-4)


def test_head_gradient_equals_autograd(any_learner, texts):
    ours = real_gradient(any_learner, texts[:70], 2, "head")
    parameters = any_learner.head_parameters()
    batch = any_learner.collate(any_learner.encode(texts[:70]))
    loss = torch.nn.functional.cross_entropy(any_learner.model(**batch).logits, torch.full((70,), 2))
    slow = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
    slow = [torch.zeros_like(p) if g is None else g for p, g in zip(parameters.values(), slow, strict=True)]
    if any_learner.has_linear_head:
        assert torch.allclose(ours, torch.cat([slow[0], slow[1][:, None]], 1), atol=1e-5)
    else:
        assert torch.allclose(ours, torch.cat([g.flatten() for g in slow]), atol=1e-5)


def test_head_gradient_in_bfloat16_is_close(any_learner, texts):
    exact = real_gradient(any_learner, texts[:20], 2, "head")
    any_learner.bf16 = True
    rounded = real_gradient(any_learner, texts[:20], 2, "head")
    assert rounded.dtype == torch.float32
    assert torch.nn.functional.cosine_similarity(exact.flatten(), rounded.flatten(), dim=0) > 0.99


def test_reinitialize_brings_back_the_encoder_with_a_fresh_head(any_learner, texts):
    before = any_learner.features(texts[:4])
    any_learner.reinitialize(1)
    head = any_learner.output_layer.weight.detach().clone()
    batches = itertools.repeat((texts[:4], [0, 1, 2, 0]))
    losses = list(any_learner.train(batches, OptimizationConfig(max_steps=3, learning_rate=1e-2), seed=0))
    assert len(losses) == 3 and not np.allclose(any_learner.features(texts[:4]), before, atol=1e-3)
    any_learner.reinitialize(1)
    assert torch.equal(any_learner.output_layer.weight, head)
    assert np.allclose(any_learner.features(texts[:4]), before, atol=1e-6)
    any_learner.reinitialize(2)
    assert not torch.equal(any_learner.output_layer.weight, head)


def test_features_are_the_mean_over_own_tokens_of_unit_length(learner, texts):
    features = learner.features(texts[:5], batch_size=2)
    ids = learner.encode(texts[:1])[0]
    hidden = learner.encoder(**{k: torch.tensor([v]) for k, v in ids.items()})[0][0].detach().mean(0)
    assert np.allclose(features[0], (hidden / hidden.norm()).numpy(), atol=1e-5)
    assert features.dtype == np.float32 and np.allclose(np.linalg.norm(features, axis=1), 1, atol=1e-5)


def test_training_is_reproducible_and_leaves_global_random_state_alone(learner, texts):
    def train(seed):
        learner.reinitialize(0)
        state = torch.get_rng_state()
        losses = list(
            learner.train(itertools.repeat((texts[:6], [0, 1] * 3)), OptimizationConfig(max_steps=4), seed=seed)
        )
        assert torch.equal(torch.get_rng_state(), state)
        return losses

    first = train(1)
    torch.manual_seed(123)
    assert train(1) == first
    assert train(2) != first


def test_training_lowers_the_loss(learner, texts):
    steps = OptimizationConfig(max_steps=60, learning_rate=3e-3)
    losses = list(learner.train(itertools.repeat((texts[:6], [0, 1] * 3)), steps, seed=0))
    assert losses[-1] < 0.5 * losses[0]
    assert (learner.predict(texts[:6]).argmax(1) == [0, 1] * 3).all()


def test_pairs_and_control_tokens_are_read_as_text(learner):
    encoded = learner.encode([("first <|endoftext|>", "second [SEP]"), ("a", "b")])
    assert learner.tokenizer.eos_token_id not in encoded[0]["input_ids"]
    long = learner.encode(["word " * 500])
    assert len(long[0]["input_ids"]) == learner.max_length


def test_unknown_model_is_a_readable_error():
    with pytest.raises(InputError, match="could not be loaded"):
        Learner.from_pretrained("no-such/model", 2)


def test_offline_learner_loads_by_path_and_name(hub_models):
    learner = Learner.from_pretrained(hub_models[1], 4, max_length=32)
    assert learner.num_classes == 4 and learner.has_linear_head

"""Texts that share a row are read, and trained on, as if each had its own."""

import itertools

import pytest
import torch
from conftest import tiny_bert
from hypothesis import given
from hypothesis import strategies as st
from transformers import (
    AutoModelForSequenceClassification,
    CamembertConfig,
    ElectraConfig,
    RobertaConfig,
    XLMRobertaConfig,
    XLNetConfig,
)

from dilm.config import OptimizationConfig
from dilm.models import batching
from dilm.models.learner import Learner
from dilm.models.packing import FIRST_TOKENS, PACKED, ROW_COST, can_pack, logits_of, packed_rows

SHAPE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, "num_labels": 3}
CONFIGS = {
    "bert": lambda v, pad: tiny_bert(v, num_labels=3, pad_token_id=pad),
    "electra": lambda v, pad: ElectraConfig(vocab_size=v, embedding_size=16, pad_token_id=pad, **SHAPE),
    "roberta": lambda v, pad: RobertaConfig(vocab_size=v, pad_token_id=pad, **SHAPE),
    "xlm-roberta": lambda v, pad: XLMRobertaConfig(vocab_size=v, pad_token_id=pad, **SHAPE),
    "camembert": lambda v, pad: CamembertConfig(vocab_size=v, pad_token_id=pad, **SHAPE),
}
PAIRS = [("It broke.", "Will it last?"), ("A long first part of a pair, longer than all.", "Yes."), ("No", "no no no")]
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


@pytest.fixture(params=CONFIGS)
def packing_learner(request, tokenizer):
    torch.manual_seed(0)
    config = CONFIGS[request.param](len(tokenizer), tokenizer.pad_token_id)
    config.update(NO_DROPOUT)
    return Learner(AutoModelForSequenceClassification.from_config(config), tokenizer, max_length=48)


def test_every_encoder_that_is_packed_is_tested():
    assert set(CONFIGS) == set(PACKED)


@pytest.mark.parametrize("pairs", [False, True])
def test_packed_texts_give_the_logits_and_gradients_of_padded_ones(packing_learner, texts, pairs, monkeypatch):
    monkeypatch.setattr(batching, "GROUP_COST", {"cpu": 10_000})
    chosen = PAIRS if pairs else [*texts[:6], "short", "short too", "a word again and again " * 4]
    model, found = packing_learner.model, []
    places = range(len(chosen))
    for batch in (packing_learner.padded_batch(chosen, places), packing_learner.batch(chosen, places)):
        model.zero_grad()
        ((inputs, order),) = batch
        logits = logits_of(model, inputs)
        torch.nn.functional.cross_entropy(logits, order % 3).backward()
        gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        found.append((logits[order.argsort()], gradients, inputs["input_ids"].shape))
    (logits, gradients, shape), (packed_logits, packed_gradients, packed_shape) = found
    assert packed_shape[0] < shape[0]  # texts do share rows
    assert torch.allclose(logits, packed_logits, atol=1e-5)
    assert gradients.keys() == packed_gradients.keys()
    for name, gradient in gradients.items():
        assert torch.allclose(gradient, packed_gradients[name], atol=1e-5), name


def test_after_training_on_packed_texts_others_are_read_as_before(packing_learner, texts):
    assert can_pack(packing_learner.model)
    batch = packing_learner.batch(texts[:6], [0, 1, 2] * 2)
    assert all(FIRST_TOKENS in inputs for inputs, _ in batch)
    list(packing_learner.train(itertools.repeat(batch), OptimizationConfig(max_steps=3, learning_rate=1e-2), seed=0))
    trained = packing_learner.predict(texts[:6])
    whole = packing_learner.model(**packing_learner.collate(packing_learner.encode(texts[:6]))).logits
    assert torch.allclose(torch.tensor(trained), whole, atol=1e-5)


def test_encoders_that_cannot_share_rows_get_padded_batches(tokenizer, texts):
    config = XLNetConfig(vocab_size=len(tokenizer), d_model=32, n_layer=1, n_head=2, d_inner=64, num_labels=2)
    learner = Learner(AutoModelForSequenceClassification.from_config(config), tokenizer, max_length=48)
    assert all(FIRST_TOKENS not in inputs for inputs, _ in learner.batch(texts[:6], [0, 1] * 3))


def test_a_text_without_tokens_is_not_packed(packing_learner):
    assert packing_learner.encode([""])[0]["input_ids"] == []  # this tokenizer adds none; BERT's own adds two
    batch = packing_learner.batch(["", "It broke."], [0, 1])
    assert len(torch.cat([labels for _, labels in batch])) == 2
    assert all(FIRST_TOKENS not in inputs for inputs, _ in batch)


def test_short_texts_do_not_share_rows_as_long_as_a_text_far_longer_than_they(packing_learner):
    packing_learner.max_length = 400
    short, long = ["It broke."] * 60, "a word again and again " * 100
    labels = [0] * 61
    assert all(FIRST_TOKENS in inputs for inputs, _ in packing_learner.batch([*short, "It broke."], labels))
    batch = packing_learner.batch([*short, long], labels)
    assert all(FIRST_TOKENS not in inputs for inputs, _ in batch)
    assert sum(inputs["input_ids"].numel() for inputs, _ in batch) < 1000


LENGTHS = st.lists(st.integers(1, 60), min_size=1, max_size=40)


@given(LENGTHS, st.integers(0, 60), st.integers(1, 300))
def test_rows_hold_every_text_once_and_groups_keep_the_bound(lengths, group_cost, most):
    groups = packed_rows(lengths, group_cost, most)
    if groups is None:
        return
    assert sorted(i for rows in groups for row in rows for i in row) == list(range(len(lengths)))
    for rows in groups:
        width = max(sum(lengths[i] for i in row) for row in rows)
        assert len(rows) == 1 or width * len(rows) <= most


@given(LENGTHS, st.integers(0, 60))
def test_texts_share_rows_only_where_that_costs_no_more(lengths, group_cost):
    groups = packed_rows(lengths, group_cost, 10**9)
    if groups is None:
        assert len(set(lengths)) > 1, "rows of one text each are the same as no packing"
        return

    def price(shapes):
        return sum(rows * (width + width**2 / ROW_COST) + group_cost for rows, width in shapes)

    apart = batching.length_groups(lengths, group_cost, 10**9)
    packed = [(len(rows), max(sum(lengths[i] for i in row) for row in rows)) for rows in groups]
    assert price(packed) <= price([(len(group), max(lengths[i] for i in group)) for group in apart]) + 1e-6

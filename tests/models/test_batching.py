"""Long texts cost time, not memory: batches fall into portions, with the same result."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dilm.config import LanguageModelingConfig, OptimizationConfig
from dilm.models import batching
from dilm.models.batching import length_groups, runs_within
from dilm.training.gradient_matching import generator_gradient
from dilm.training.language_modeling import learn_language
from dilm.training.matching_loss import Match

LENGTHS = st.lists(st.integers(1, 60), min_size=1, max_size=40)


@given(LENGTHS, st.integers(1, 300))
def test_runs_are_whole_in_order_and_within_the_bound(lengths, most):
    runs = runs_within(lengths, most)
    assert [length for run in runs for length in lengths[run]] == lengths
    assert all(len(lengths[run]) == 1 or max(lengths[run]) * len(lengths[run]) <= most for run in runs)


@given(LENGTHS, st.integers(1, 300))
def test_groups_hold_every_text_once_and_keep_the_bound(lengths, most):
    groups = length_groups(lengths, 20, most)
    assert sorted(place for group in groups for place in group) == list(range(len(lengths)))
    for group in groups:
        assert len(group) == 1 or max(lengths[i] for i in group) * len(group) <= most


@pytest.fixture
def small_portions(monkeypatch):
    """To be called where the bound becomes small."""
    return lambda: monkeypatch.setattr(batching, "TOKENS_AT_ONCE", {"cpu": 60})


def trained(learner, texts):
    learner.reinitialize(0)
    for module in learner.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    batch = learner.batch(texts[:12], [0, 1] * 6)
    losses = list(learner.train([batch] * 3, OptimizationConfig(max_steps=3, learning_rate=1e-2), seed=0))
    return losses, torch.cat([p.detach().flatten() for p in learner.model.parameters()]), len(batch)


def test_the_learner_trains_alike_in_portions(learner, texts, small_portions):
    losses, _, groups = trained(learner, texts)
    small_portions()
    parted_losses, _, parted_groups = trained(learner, texts)
    assert parted_groups > groups
    assert parted_losses == pytest.approx(losses, rel=1e-4)


def test_the_generator_learns_alike_in_portions(generator, task, small_portions):
    for module in generator.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    start = {name: value.clone() for name, value in generator.model.state_dict().items()}
    config = LanguageModelingConfig(learning_rate=1e-3, max_steps=4, batch_size=16)
    whole = [record["loss"] for record in learn_language(generator, task, config, seed=0)]
    generator.model.load_state_dict(start)
    small_portions()
    assert [r["loss"] for r in learn_language(generator, task, config, seed=0)] == pytest.approx(whole, rel=1e-4)


def test_matching_and_scores_are_alike_in_portions(generator, texts, small_portions):
    encoded = generator.encode(texts[:10], [0] * 10)

    def gradient() -> torch.Tensor:
        generator.model.zero_grad()
        generator_gradient(generator, encoded, 64, lambda nll: Match(0.0, 0.0, torch.softmax(-nll, 0)))
        return torch.cat([p.grad.flatten() for p in generator.model.parameters()])

    whole, scores = gradient(), generator.score(texts[:10], [0] * 10)
    small_portions()
    assert torch.allclose(gradient(), whole, atol=1e-6)
    assert torch.allclose(generator.score(texts[:10], [0] * 10), scores, atol=1e-5)

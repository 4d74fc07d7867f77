"""The objectives of the ablations against literal versions."""

from typing import Any

import pytest
import torch

from dilm.config import GradientMatchingConfig
from dilm.models.generator import Generator
from dilm.training.learners import real_gradient
from dilm.training.matching_loss import match_means
from dilm.training.straight_through import TokenEmbeddings, straight_through_gradient


def test_distribution_matching_coefficients_equal_autograd():
    random = torch.Generator().manual_seed(0)
    nll = torch.rand(7, generator=random, dtype=torch.float64).requires_grad_()
    inputs, mean = (torch.randn(*size, generator=random, dtype=torch.float64) for size in ((7, 5), (5,)))
    loss = ((torch.softmax(-nll / 0.7, 0) @ inputs - mean) ** 2).sum() / (mean**2).sum()
    loss.backward()
    match = match_means(nll.detach(), inputs, mean, 0.7)
    assert match.loss == pytest.approx(loss.item()) and torch.allclose(match.coefficients, nll.grad, rtol=1e-9)


@pytest.fixture
def writer(hub_models):
    return Generator.from_pretrained(hub_models[0], 2, max_length=40)


def test_tokens_stand_for_the_mean_of_the_learners_words(writer, learner):
    tokens = TokenEmbeddings(writer, learner)
    own = writer.tokenizer(" good", add_special_tokens=False)["input_ids"]
    for token in own:
        spelling = writer.tokenizer.decode([token])
        ids = learner.tokenizer(spelling, add_special_tokens=False)["input_ids"]
        assert ids and torch.allclose(tokens.table[token], learner.word_embeddings()[ids].mean(0))
    choices = torch.nn.functional.one_hot(torch.tensor([[*own, own[0]]]), len(tokens.table)).float()
    inputs = tokens.inputs(choices, torch.ones(1, len(own) + 1))
    width = len(own) + 1 + sum(edge is not None for edge in tokens.edges)
    assert inputs["inputs_embeds"].shape[:2] == (1, width) and int(inputs["attention_mask"].sum()) == width


def test_the_learner_reads_no_more_tokens_than_it_has_room_for(writer, learner, texts):
    real = real_gradient(learner, texts[:20], 0, "head")
    long = writer.encode([" ".join(texts[:9])], [0])
    learner.max_length = 16
    tokens = TokenEmbeddings(writer, learner)
    choices = torch.nn.functional.one_hot(torch.tensor([long[0][1:-1]]), len(tokens.table)).float()
    assert choices.shape[1] > 16
    inputs = tokens.inputs(choices, torch.ones(choices.shape[:2]))
    cut = tokens.inputs(choices[:, : tokens.room], torch.ones(1, tokens.room))
    assert inputs["inputs_embeds"].shape[1] == 16 and torch.equal(inputs["inputs_embeds"], cut["inputs_embeds"])
    straight_through_gradient(writer, learner, tokens, long, 0, real, GradientMatchingConfig(), 1.0, seed=1)


def test_rows_of_the_output_layer_that_stand_for_no_token_are_never_chosen(writer, learner, texts):
    real = real_gradient(learner, texts[:20], 0, "head")
    config, encoded = GradientMatchingConfig(), writer.encode(texts[20:28], [0] * 8)
    writer.model.resize_token_embeddings(len(writer.tokenizer) + 7, mean_resizing=False)
    tokens, losses = TokenEmbeddings(writer, learner), []
    assert len(tokens.table) == len(writer.tokenizer) + 7
    output: Any = writer.model.get_output_embeddings()
    for factor in (1, 100):  # at 100 they would be by far the likeliest
        with torch.no_grad():
            output.weight[-7:] = factor * output.weight[:7]
        writer.model.zero_grad()
        match = straight_through_gradient(writer, learner, tokens, encoded, 0, real, config, 1.0, seed=1)
        losses.append(match.loss)
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)


def test_straight_through_lowers_its_loss_and_leaves_the_learner_alone(writer, learner, task, texts):
    real = real_gradient(learner, texts[:20], 0, "head")
    tokens = TokenEmbeddings(writer, learner)
    encoded = writer.encode(texts[20:28], [0] * 8)
    before = {name: value.clone() for name, value in learner.model.state_dict().items()}
    optimizer = torch.optim.AdamW(writer.model.parameters(), lr=3e-3)
    config, losses = GradientMatchingConfig(), []
    for _ in range(12):
        optimizer.zero_grad()
        match = straight_through_gradient(writer, learner, tokens, encoded, 0, real, config, 1.0, seed=1)
        losses.append(match.loss)
        assert match.loss == pytest.approx(1 - match.cosine, abs=1e-5)
        optimizer.step()
    assert min(losses[1:]) < losses[0]
    assert all(p.grad is None for p in learner.model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in learner.model.state_dict().items())

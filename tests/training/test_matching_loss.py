"""The coefficients of stage 2 against the slow, obvious way: double back-propagation through the learner."""

import copy
import itertools

import pytest
import torch
from conftest import tiny_bert, tiny_gpt2
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import (
    BertForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from dilm.config import GradientMatchingConfig
from dilm.models.generator import Generator
from dilm.models.learner import Learner
from dilm.training.gradient_matching import generator_gradient
from dilm.training.learners import match_class, matched_parameters, real_gradient
from dilm.training.matching_loss import (
    cosine_and_slope,
    linear_head_gradient,
    loss_coefficients,
    match_linear_head,
    residuals,
    softmax_weights,
)

TAU = 0.7


@pytest.fixture(params=["linear head", "two-layer head", "all parameters"])
def setting(request, tokenizer):
    """(generator, learner, scope) in float64."""
    torch.manual_seed(1)
    config = tiny_bert(len(tokenizer))
    if request.param == "two-layer head":
        model = RobertaForSequenceClassification(
            RobertaConfig(**{k: v for k, v in config.to_dict().items() if k not in ("model_type", "architectures")})
        )
    else:
        model = BertForSequenceClassification(config)
    # A head this small would give residuals that are all alike: spread the logits.
    learner = Learner(model.double(), tokenizer, max_length=48)
    with torch.no_grad():
        for parameter in learner.head_parameters().values():
            parameter.add_(0.3 * torch.randn_like(parameter))
    generator = Generator(tiny_gpt2(tokenizer), copy.deepcopy(tokenizer), 2, max_length=40)
    generator.model.double()
    return generator, learner, "all" if request.param == "all parameters" else "head"


def flat_gradients(model):
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def literal_gradient(generator, learner, scope, texts, real_texts, label):
    """The paper's algorithm as it reads: weighted loss, its gradient with a graph, cosine, backward through it all."""
    parameters = list(matched_parameters(learner, scope).values())
    names = list(matched_parameters(learner, scope))

    def gradients(some_texts, weights, create_graph):
        batch = learner.collate(learner.encode(some_texts))
        with sdpa_kernel(SDPBackend.MATH):
            logits = learner.model(**batch).logits
        losses = torch.nn.functional.cross_entropy(logits, torch.full((len(some_texts),), label), reduction="none")
        found = torch.autograd.grad((losses * weights).sum(), parameters, create_graph=create_graph, allow_unused=True)
        return torch.cat(
            [(torch.zeros_like(p) if g is None else g).flatten() for p, g in zip(parameters, found, strict=True)]
        )

    real = gradients(real_texts, torch.full((len(real_texts),), 1 / len(real_texts)).double(), False)
    nll = generator.nll(generator.encode(texts, [label] * len(texts)))
    synthetic = gradients(texts, torch.softmax(-nll / TAU, 0), True)
    loss = 1 - torch.nn.functional.cosine_similarity(real, synthetic, dim=0)
    loss.backward()
    assert names
    return float(loss.detach()), flat_gradients(generator.model)


def our_gradient(generator, learner, scope, texts, real_texts, label, micro_batch_size=1000):
    generator.model.zero_grad()
    config = GradientMatchingConfig(scope=scope, temperature=TAU)
    real = real_gradient(learner, real_texts, label, scope)
    match = generator_gradient(
        generator,
        generator.encode(texts, [label] * len(texts)),
        micro_batch_size,
        lambda nll: match_class(learner, texts, label, nll, real, config),
    )
    return match.loss, flat_gradients(generator.model)


def relative(a, b):
    return float((a - b).norm() / b.norm())


def test_generator_gradient_equals_literal_double_back_propagation(setting, texts):
    generator, learner, scope = setting
    loss, ours = our_gradient(generator, learner, scope, texts[:9], texts[20:33], 1)
    generator.model.zero_grad()
    learner.model.zero_grad()
    literal_loss, literal = literal_gradient(generator, learner, scope, texts[:9], texts[20:33], 1)
    assert literal.norm() > 0
    assert abs(loss - literal_loss) < 1e-10
    assert relative(ours, literal) < 1e-6


def test_micro_batches_do_not_change_the_gradient(setting, texts):
    generator, learner, scope = setting
    _, whole = our_gradient(generator, learner, scope, texts[:9], texts[20:33], 0)
    for size in (1, 4, 9):
        _, parts = our_gradient(generator, learner, scope, texts[:9], texts[20:33], 0, micro_batch_size=size)
        assert relative(parts, whole) < 1e-10


def test_linear_head_and_general_way_agree(tokenizer, texts):
    torch.manual_seed(2)
    learner = Learner(BertForSequenceClassification(tiny_bert(len(tokenizer))).double(), tokenizer)
    assert learner.has_linear_head
    analytic = real_gradient(learner, texts[:70], 1, "head")
    weight, bias = list(learner.head_parameters())
    batch = learner.collate(learner.encode(texts[:70]))
    losses = learner.losses(learner.head_parameters(), batch, torch.ones(70, dtype=torch.long))
    slow = torch.autograd.grad(losses.mean(), list(learner.head_parameters().values()))
    assert weight.endswith("weight") and bias.endswith("bias")
    assert torch.allclose(analytic, torch.cat([slow[0], slow[1][:, None]], 1), atol=1e-12)


@settings(max_examples=50)
@given(st.integers(1, 12), st.integers(1, 8), st.integers(2, 5), st.integers(0, 10**6), st.floats(0.1, 5))
def test_coefficients_equal_autograd_on_the_small_arrays(n, d, c, seed, tau):
    torch.manual_seed(seed)
    nll = torch.rand(n, dtype=torch.float64).requires_grad_()
    inputs, logits = torch.randn(n, d).double(), torch.randn(n, c).double()
    real, labels = torch.randn(c, d + 1).double(), torch.randint(c, (n,))
    residual = residuals(logits, labels)
    a = torch.softmax(-nll / tau, 0)
    synthetic = sum(a[i] * torch.outer(residual[i], torch.cat([inputs[i], torch.ones(1).double()])) for i in range(n))
    loss = 1 - torch.nn.functional.cosine_similarity(real.flatten(), synthetic.flatten(), dim=0)
    (expected,) = torch.autograd.grad(loss, nll)
    match = match_linear_head(nll.detach(), inputs, residual, real, tau)
    assert abs(match.loss - float(loss.detach())) < 1e-9
    assert torch.allclose(match.coefficients, expected, atol=1e-9)
    assert abs(float(match.coefficients.sum())) < 1e-9  # a common shift of all losses changes no weight


def test_vanishing_gradients_give_zero_coefficients_not_nan():
    match = match_linear_head(torch.zeros(3), torch.randn(3, 4), torch.zeros(3, 2), torch.randn(2, 5), 1.0)
    assert match.cosine == 0 and torch.equal(match.coefficients, torch.zeros(3))


def test_parts_of_the_formula():
    weights = softmax_weights(torch.tensor([1.0, 2.0]), 0.5)
    assert weights[0] / weights[1] == pytest.approx(torch.e**2, rel=1e-5)
    gradient = linear_head_gradient(torch.tensor([[2.0]]), torch.tensor([[3.0, -3.0]]), torch.tensor([0.5]))
    assert gradient.tolist() == [[3.0, 1.5], [-3.0, -1.5]]
    cosine, slope = cosine_and_slope(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 2.0]))
    assert cosine == 0 and slope.tolist() == [-0.5, 0.0]
    assert loss_coefficients(torch.tensor([0.5, 0.5]), torch.tensor([1.0, 3.0]), 1.0).tolist() == [0.5, -0.5]
    assert len(list(itertools.chain(residuals(torch.zeros(2, 4), torch.tensor([0, 3]))))) == 2

"""The mathematics of stage 2 (section 3.2 of the paper): pure functions, tensors in, tensors out.

For one class the generator wrote x_1..x_N with mean negative log-likelihoods l_1..l_N (per token of their own):

    a      = softmax(-l / tau)                  weights of the N texts
    g_i    = gradient of the learner's loss on x_i
    g_syn  = sum_i a_i g_i                      gradient of the weighted loss
    L      = 1 - cos(g_real, g_syn)

Only `a` depends on the generator, so dL/dphi = sum_i k_i dl_i/dphi with N numbers k_i = dL/dl_i, and nothing is
back-propagated through the learner. With v = dL/dg_syn and s_i = <v, g_i>, which is dL/da_i,

    k_i    = -a_i (s_i - sum_j a_j s_j) / tau

For a head that is one linear layer g_i = r_i (x) [h_i; 1], with r_i = softmax(logits_i) - onehot(y_i) and h_i what
enters the layer, so neither g_i nor a backward pass is needed. For any other set of parameters g_syn takes one
backward pass without a graph and the s_i one forward-mode pass (`torch.func.jvp`).
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor


class Match(NamedTuple):
    """What one class gives: the loss L = 1 - cos, the cosine, and k_i = dL/dl_i of the N texts."""

    loss: float
    cosine: float
    coefficients: Float[Tensor, " n"]


def softmax_weights(nll: Float[Tensor, " n"], temperature: float) -> Float[Tensor, " n"]:
    """Weights a of the texts: the likelier one is, the more it counts."""
    return torch.softmax(-nll / temperature, dim=0)


def residuals(logits: Float[Tensor, "n c"], labels: Int[Tensor, " n"]) -> Float[Tensor, "n c"]:
    """r = softmax(logits) - onehot(labels): the gradient of cross-entropy with respect to the logits."""
    return torch.softmax(logits, dim=1) - torch.nn.functional.one_hot(labels, logits.shape[1])


def linear_head_gradient(
    inputs: Float[Tensor, "n d"], residual: Float[Tensor, "n c"], weights: Float[Tensor, " n"]
) -> Float[Tensor, "c d+1"]:
    """sum_i a_i r_i (x) [h_i; 1]: weight and bias gradient of a linear head, side by side."""
    weighted = residual * weights[:, None]
    return torch.cat([weighted.T @ inputs, weighted.sum(0)[:, None]], dim=1)


def cosine_and_slope(real: Float[Tensor, " p"], synthetic: Float[Tensor, " p"]) -> tuple[float, Float[Tensor, " p"]]:
    """cos(g_real, g_syn) and v, the gradient of 1 - cos with respect to g_syn; both zero if a gradient vanishes."""
    real_norm, norm = real.norm(), synthetic.norm()
    if real_norm == 0 or norm == 0:
        return 0.0, torch.zeros_like(synthetic)
    unit_real, unit = real / real_norm, synthetic / norm
    cosine = unit_real @ unit
    return float(cosine), (cosine * unit - unit_real) / norm


def loss_coefficients(
    weights: Float[Tensor, " n"], slopes: Float[Tensor, " n"], temperature: float
) -> Float[Tensor, " n"]:
    """k_i = dL/dl_i from the weights a_i and the slopes s_i = dL/da_i."""
    return -weights * (slopes - weights @ slopes) / temperature


def match_linear_head(
    nll: Float[Tensor, " n"],
    inputs: Float[Tensor, "n d"],
    residual: Float[Tensor, "n c"],
    real_gradient: Float[Tensor, "c d+1"],
    temperature: float,
) -> Match:
    """One class, for a learner whose head is one linear layer. Nothing here is larger than N x d."""
    weights = softmax_weights(nll, temperature)
    synthetic = linear_head_gradient(inputs, residual, weights)
    cosine, slope = cosine_and_slope(real_gradient.flatten(), synthetic.flatten())
    v = slope.view_as(synthetic)
    slopes = ((residual @ v[:, :-1]) * inputs).sum(1) + residual @ v[:, -1]
    return Match(1 - cosine, cosine, loss_coefficients(weights, slopes, temperature))


def match_means(
    nll: Float[Tensor, " n"], inputs: Float[Tensor, "n d"], real_mean: Float[Tensor, " d"], temperature: float
) -> Match:
    """Distribution matching, for one class: L = |mean_real h - sum_i a_i h_i|^2 / |mean_real h|^2."""
    weights = softmax_weights(nll, temperature)
    synthetic, scale = weights @ inputs, (real_mean**2).sum()
    difference = synthetic - real_mean
    slopes = inputs @ (2 * difference / scale)
    cosine, _ = cosine_and_slope(real_mean, synthetic)
    return Match(float((difference**2).sum() / scale), cosine, loss_coefficients(weights, slopes, temperature))


Losses = Callable[[Mapping[str, Tensor]], Tensor]


def mean_gradient(losses: Losses, parameters: Mapping[str, Tensor], weights: Tensor) -> Float[Tensor, " p"]:
    """Gradient of sum_i a_i losses_i with respect to the parameters, flattened in their order."""
    leaves = {name: value.detach().requires_grad_() for name, value in parameters.items()}
    with torch.enable_grad():
        total = losses(leaves) @ weights
        gradients = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
    return torch.cat(
        [(torch.zeros_like(p) if g is None else g).flatten() for p, g in zip(leaves.values(), gradients, strict=True)]
    )


def match_any_parameters(
    nll: Float[Tensor, " n"],
    losses: Losses,
    parameters: Mapping[str, Tensor],
    real_gradient: Float[Tensor, " p"],
    temperature: float,
) -> Match:
    """One class, for any parameters: `losses` maps named parameters to the learner's N losses on the texts."""
    weights = softmax_weights(nll, temperature)
    synthetic = mean_gradient(losses, parameters, weights)
    cosine, slope = cosine_and_slope(real_gradient, synthetic)
    direction, start = {}, 0
    for name, value in parameters.items():
        direction[name] = slope[start : start + value.numel()].view_as(value)
        start += value.numel()
    point = {name: value.detach() for name, value in parameters.items()}
    slopes = torch.func.jvp(lambda p: losses(p), (point,), (direction,))[1]
    return Match(1 - cosine, cosine, loss_coefficients(weights, slopes, temperature))

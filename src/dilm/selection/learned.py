"""Methods that ask what a classifier makes of a text: loss-rank and gradient-match."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.optimize import nnls
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression

from .base import Reference, per_class, random_half, with_bias

HEAD_REGULARIZATION = 1.0
"""C of the head that judges: features have unit length, so this is a head part of the way to its optimum."""
REFERENCE_TEXTS = 20_000
"""Texts at most from which the head is fitted."""


def loss_rank(
    features: np.ndarray, labels: np.ndarray, k: int, seed: int, reference: Reference | None = None
) -> np.ndarray:
    """The texts of lowest loss under a head fitted on the reference: the most typical of their class.

    Without chance of its own: every seed chooses among a random half of the class.
    """
    losses = -_log_probabilities(features, reference or Reference(features, labels), seed)[
        np.arange(len(labels)), np.searchsorted(np.unique(labels), labels)
    ]

    def choose(rows: np.ndarray) -> np.ndarray:
        half = random_half(len(rows), k, seed)
        return half[np.argsort(losses[rows[half]], kind="stable")[:k]]

    return per_class(labels, k, choose)


def gradient_match(
    features: np.ndarray, labels: np.ndarray, k: int, seed: int, reference: Reference | None = None
) -> np.ndarray:
    """GRAD-MATCH (Killamsetty et al. 2021): orthogonal matching pursuit on head gradients, class by class.

    The gradient of a text is that of its own class's weights and bias at a fresh head, (1/c - 1) [h; 1]; the factor is
    the same for all texts of a class and left out. k texts are to combine, with non-negative weights, to the mean
    over the reference. The weights serve the choice only: the chosen texts count alike. Gradients at a trained head
    were tried and pick mislabelled texts (docs/log.md). Every seed chooses among a random half of the class.
    """
    gradients = with_bias(features)
    whole = None if reference is None else with_bias(reference.features)

    def choose(rows: np.ndarray) -> np.ndarray:
        half = random_half(len(rows), k, seed)
        real = gradients[rows] if whole is None else whole[reference.labels == labels[rows[0]]]  # type: ignore[union-attr]
        return half[matching_pursuit(gradients[rows[half]], real.mean(0), k)]

    return per_class(labels, k, choose)


def matching_pursuit(
    atoms: Float[np.ndarray, "n p"], target: Float[np.ndarray, " p"], k: int, ridge: float = 0.5
) -> np.ndarray:
    """k places: each next atom has the largest product with what is left of the target; weights are fitted anew."""
    chosen: list[int] = []
    rest = target
    while len(chosen) < k:
        score = atoms @ rest
        score[chosen] = -np.inf
        chosen.append(int(score.argmax()))
        picked = atoms[chosen].T
        penalty = np.sqrt(ridge) * np.eye(len(chosen))
        weights, _ = nnls(np.vstack([picked, penalty]), np.concatenate([target, np.zeros(len(chosen))]))
        rest = target - picked @ weights
    return np.array(chosen)


def _log_probabilities(features: np.ndarray, whole: Reference, seed: int) -> Float[np.ndarray, "n c"]:
    """Under logistic regression fitted on (a random part of) the reference."""
    if len(np.unique(whole.labels)) == 1:
        return np.zeros((len(features), 1))
    rows = np.random.default_rng(seed).permutation(len(whole.labels))
    rows = np.concatenate([rows[:REFERENCE_TEXTS], np.unique(whole.labels, return_index=True)[1]])
    head = LogisticRegression(C=HEAD_REGULARIZATION, max_iter=200).fit(whole.features[rows], whole.labels[rows])
    scores = head.decision_function(features)
    return log_softmax(np.stack([-scores / 2, scores / 2], 1) if scores.ndim == 1 else scores, axis=1)

"""kernel: the set whose ridge regression predicts the reference best, by greedy choice and swaps.

With chosen features P [k, d], one-hot labels B [k, c] and the reference T [m, d], Y [m, c]:

    W = (P'P + ridge I)^-1 P'B          what is learnt from the set
    loss = |S (T W - Y)|^2              what it does on the reference

(kernel ridge regression with the linear kernel). S^2 is diagonal, 1 / (c m_j) for each of the m_j texts of class j: all
classes count alike, as they do in the set, whatever their share of the reference. Below T and Y stand for S T and S Y.
Adding a text x with label b to the set changes A^-1 = (P'P + ridge I)^-1 by one rank: with u = A^-1 x and e = (b - W'x)
/ (1 + x'u), W becomes W + u e', so

    loss_new - loss = 2 u' (T'T W - T'Y) e + (u' T'T u) |e|^2

The reference enters through T'T [d, d] and T'Y [d, c] alone, and a set of few texts through few directions:

    A^-1 = I / ridge - Q Q',  Q = R' L^-T / sqrt(ridge),  L L' = R R' + ridge I

with any R [q, d] that has R'R = P'P: P itself, or its triangular factor once there are more texts than features. With
q = min(texts of the set, d) one choice among the r candidates of a class costs O(r d q + d^2 q), whatever m is.
"""

from __future__ import annotations

import itertools

import numpy as np
from jaxtyping import Float, Int
from scipy.linalg import solve_triangular

from .base import Reference, class_rows, with_bias

RIDGE = 0.1
CANDIDATES = 5000
"""Texts of a class at most among which one set is chosen: a random part, different by seed."""
PASSES = 3
"""Rounds of swaps at most; a round in which nothing changes is the last."""


def kernel(
    features: np.ndarray, labels: np.ndarray, k: int, seed: int, reference: Reference | None = None
) -> np.ndarray:
    """k texts of every class that together minimise the ridge loss on the reference; classes take turns.

    Every seed chooses among a random half of each class, CANDIDATES texts at most.
    """
    random, whole = np.random.default_rng(seed), reference or Reference(features, labels)
    groups = class_rows(labels, k)
    sizes = [max(k, min(CANDIDATES, (len(rows) + 1) // 2)) for rows in groups]
    pools = [np.sort(random.permutation(rows)[:size]) for rows, size in zip(groups, sizes, strict=True)]
    search = RidgeSearch(features[np.concatenate(pools)], labels[np.concatenate(pools)], whole)
    starts = np.cumsum([0, *map(len, pools)])
    members = [np.arange(a, b) for a, b in itertools.pairwise(starts)]
    for _ in range(k):
        for rows in members:
            search.add(search.best(rows))
    _swap(search, members, random)
    places = np.concatenate(pools)
    return np.concatenate([places[[i for i in search.chosen if rows[0] <= i <= rows[-1]]] for rows in members])


def _swap(search: RidgeSearch, members: list[np.ndarray], random: np.random.Generator) -> None:
    """Take each text out and put the best of its class in, until a round changes nothing."""
    for _ in range(PASSES):
        before = set(search.chosen)
        for place in random.permutation(list(search.chosen)).tolist():
            rows = next(rows for rows in members if rows[0] <= place <= rows[-1])
            search.remove(place)
            search.add(search.best(rows))
        if set(search.chosen) == before:
            break


class RidgeSearch:
    """The state of the search: the chosen places, W and Q."""

    def __init__(self, features: np.ndarray, labels: np.ndarray, reference: Reference, ridge: float = RIDGE):
        classes, places, counts = np.unique(reference.labels, return_inverse=True, return_counts=True)
        self.inputs = with_bias(features)
        self.targets = np.eye(len(classes))[np.searchsorted(classes, labels)]
        scale = 1 / np.sqrt(len(classes) * counts[places])[:, None]
        real = with_bias(reference.features)
        real *= scale
        self.gram, self.cross = real.T @ real, real.T @ (scale * np.eye(len(classes))[places])
        self.ridge, self.chosen = ridge, []
        self._powers = ((self.inputs @ self.gram) * self.inputs).sum(1)  # x' T'T x of every candidate
        self._norms = (self.inputs**2).sum(1)
        self._solved_for: list[int] | None = None

    def _solve(self) -> None:
        """W and Q of the chosen texts, if they have changed."""
        if self._solved_for == self.chosen:
            return
        self._solved_for = [*self.chosen]
        points, targets = self.inputs[self.chosen], self.targets[self.chosen]
        factor = points if len(points) <= points.shape[1] else np.asarray(np.linalg.qr(points, mode="r"))
        lower = np.linalg.cholesky(factor @ factor.T + self.ridge * np.eye(len(factor)))
        self.directions = solve_triangular(lower, factor, lower=True).T / np.sqrt(self.ridge)
        right = points.T @ targets
        self.weights = right / self.ridge - self.directions @ (self.directions.T @ right)

    def loss(self) -> float:
        """|T W - Y|^2; 1 where nothing is learnt."""
        self._solve()
        fit = (self.weights * (self.gram @ self.weights)).sum() - 2 * (self.weights * self.cross).sum()
        return float(fit + 1)

    def changes(self, rows: Int[np.ndarray, " r"]) -> Float[np.ndarray, " r"]:
        """What adding each of the candidates would do to the loss."""
        self._solve()
        inputs, ridge, directions = self.inputs[rows], self.ridge, self.directions
        along = inputs @ directions  # u = x / ridge - Q along
        leverage = self._norms[rows] / ridge - (along**2).sum(1)
        step = (self.targets[rows] - inputs @ self.weights) / (1 + leverage)[:, None]
        slope = self.gram @ self.weights - self.cross
        solved_slope = inputs @ slope / ridge - along @ (directions.T @ slope)
        seen = self.gram @ directions
        mixed = along @ (directions.T @ seen) - 2 / ridge * (inputs @ seen)
        power = self._powers[rows] / ridge**2 + (mixed * along).sum(1)
        return 2 * (solved_slope * step).sum(1) + power * (step**2).sum(1)

    def best(self, rows: Int[np.ndarray, " r"]) -> int:
        """The candidate among `rows`, not chosen yet, whose adding lowers the loss most."""
        changes = self.changes(rows)
        changes[np.isin(rows, self.chosen)] = np.inf
        return int(rows[changes.argmin()])

    def add(self, place: int) -> None:
        self.chosen.append(place)

    def remove(self, place: int) -> None:
        self.chosen.remove(place)

"""kernel: the set whose ridge regression predicts the reference best, by greedy choice and swaps.

With chosen features P [k, d], one-hot labels B [k, c] and the reference T [m, d], Y [m, c]:

    W = (P'P + ridge I)^-1 P'B          what is learnt from the set
    loss = |T W - Y|^2 / m              what it does on the reference

(kernel ridge regression with the linear kernel). Adding a text x with label b to the set changes A^-1 = (P'P + ridge
I)^-1 by one rank: with u = A^-1 x and e = (b - W'x) / (1 + x'u), W becomes W + u e', so

    loss_new - loss = (2 u' (T'T W - T'Y) e + (u' T'T u) |e|^2) / m

The reference enters through T'T [d, d] and T'Y [d, c] alone: the cost of one choice is O(n d), whatever m is.
"""

from __future__ import annotations

import itertools

import numpy as np
from jaxtyping import Float

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
        search.refresh()
        if set(search.chosen) == before:
            break


class RidgeSearch:
    """The state of the search: A^-1, W, and for every candidate x its u = A^-1 x and T'T u."""

    def __init__(self, features: np.ndarray, labels: np.ndarray, reference: Reference, ridge: float = RIDGE):
        classes = np.unique(reference.labels)
        self.inputs = with_bias(features)
        self.targets = np.eye(len(classes))[np.searchsorted(classes, labels)]
        real = with_bias(reference.features)
        self.gram = real.T @ real / len(real)
        onehot = np.eye(len(classes))[np.searchsorted(classes, reference.labels)]
        self.cross = real.T @ onehot / len(real)
        self.label_power = float((onehot**2).sum() / len(real))
        self.ridge, self.chosen = ridge, []
        self.refresh()

    def refresh(self) -> None:
        """Everything from the chosen texts anew: rounding does not pile up."""
        points, targets = self.inputs[self.chosen], self.targets[self.chosen]
        self.inverse = np.linalg.inv(points.T @ points + self.ridge * np.eye(self.inputs.shape[1]))
        self.right = points.T @ targets
        self.weights = self.inverse @ self.right
        self.solved = self.inputs @ self.inverse  # u of every candidate, [n, d]
        self.spread = self.solved @ self.gram  # T'T u, [n, d]

    def loss(self) -> float:
        """|T W - Y|^2 / m."""
        fit = (self.weights * (self.gram @ self.weights)).sum() - 2 * (self.weights * self.cross).sum()
        return float(fit + self.label_power)

    def changes(self, rows: np.ndarray) -> Float[np.ndarray, " r"]:
        """What adding each of the candidates would do to the loss."""
        inputs, solved = self.inputs[rows], self.solved[rows]
        step = (self.targets[rows] - inputs @ self.weights) / (1 + (inputs * solved).sum(1))[:, None]
        slope = self.gram @ self.weights - self.cross
        power = (solved * self.spread[rows]).sum(1)
        return 2 * ((solved @ slope) * step).sum(1) + power * (step**2).sum(1)

    def best(self, rows: np.ndarray) -> int:
        """The candidate among `rows`, not chosen yet, whose adding lowers the loss most."""
        changes = self.changes(rows)
        changes[np.isin(rows, self.chosen)] = np.inf
        return int(rows[changes.argmin()])

    def add(self, place: int) -> None:
        self.chosen.append(place)
        self._update(place, 1.0)

    def remove(self, place: int) -> None:
        self.chosen.remove(place)
        self._update(place, -1.0)

    def _update(self, place: int, sign: float) -> None:
        x, u, g = self.inputs[place], self.solved[place].copy(), self.spread[place].copy()
        scale = sign / (1 + sign * (x @ u))
        self.right += sign * np.outer(x, self.targets[place])
        self.inverse -= scale * np.outer(u, u)
        self.weights = self.inverse @ self.right
        along = scale * (self.inputs @ u)
        self.solved -= np.outer(along, u)
        self.spread -= np.outer(along, g)

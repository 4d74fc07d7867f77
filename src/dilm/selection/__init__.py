"""Coreset methods, all with one signature: (features [n, d], labels [n], k, seed) -> places [classes * k]."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int

from ..errors import InputError
from .clustering import nearest_to_centers

Selector = Callable[[np.ndarray, np.ndarray, int, int], np.ndarray]


def k_centers(
    features: Float[np.ndarray, "n d"], labels: Int[np.ndarray, " n"], k: int, seed: int
) -> Int[np.ndarray, " m"]:
    """k texts of every class: k-means within the class, then the member nearest to each centroid (section 3.3).

    Returned class by class, in the order of the labels. Raises InputError if a class has fewer than k texts.
    """
    return _per_class(labels, k, lambda rows: nearest_to_centers(features[rows], k, seed))


def random(
    features: Float[np.ndarray, "n d"], labels: Int[np.ndarray, " n"], k: int, seed: int
) -> Int[np.ndarray, " m"]:
    """k texts of every class at random, without replacement. Raises InputError if a class has fewer than k."""
    generator = np.random.default_rng(seed)
    return _per_class(labels, k, lambda rows: generator.permutation(len(rows))[:k])


METHODS: dict[str, Selector] = {"random": random, "k-centers": k_centers}


def _per_class(labels: np.ndarray, k: int, choose: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    chosen = []
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        if len(rows) < k:
            raise InputError(f"class {label} has {len(rows)} texts to choose from, {k} are asked for; lower --dpc")
        chosen.append(rows[choose(rows)])
    return np.concatenate(chosen)

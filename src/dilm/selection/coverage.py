"""Methods that look at where texts lie: random, K-centers, greedy k-center, herding."""

from __future__ import annotations

import numpy as np

from .base import Reference, per_class, random_half
from .clustering import nearest_to_centers


def random(
    features: np.ndarray, labels: np.ndarray, k: int, seed: int, reference: Reference | None = None
) -> np.ndarray:
    """At random, without replacement."""
    generator = np.random.default_rng(seed)
    return per_class(labels, k, lambda rows: generator.permutation(len(rows))[:k])


def k_centers(
    features: np.ndarray, labels: np.ndarray, k: int, seed: int, reference: Reference | None = None
) -> np.ndarray:
    """K-centers as in the paper (section 3.3): k-means within the class, then the member nearest to each centroid."""
    return per_class(labels, k, lambda rows: nearest_to_centers(features[rows], k, seed))


def greedy_k_center(
    features: np.ndarray, labels: np.ndarray, k: int, seed: int, reference: Reference | None = None
) -> np.ndarray:
    """Greedy k-center (Sener and Savarese 2018): from a random text on, always the one farthest from those chosen."""
    generator = np.random.default_rng(seed)

    def choose(rows: np.ndarray) -> np.ndarray:
        points = features[rows]
        chosen = [int(generator.integers(len(rows)))]
        distance = np.full(len(rows), np.inf)
        while len(chosen) < k:
            distance = np.minimum(distance, ((points - points[chosen[-1]]) ** 2).sum(1))
            distance[chosen] = -1  # equal points: still k different ones
            chosen.append(int(distance.argmax()))
        return np.array(chosen)

    return per_class(labels, k, choose)


def herding(
    features: np.ndarray, labels: np.ndarray, k: int, seed: int, reference: Reference | None = None
) -> np.ndarray:
    """Herding (Welling 2009): each next text brings the mean of those chosen nearest to the mean of the class.

    Without chance of its own: every seed chooses among a random half of the class.
    """

    def choose(rows: np.ndarray) -> np.ndarray:
        label = labels[rows[0]]
        target = (features[rows] if reference is None else reference.features[reference.labels == label]).mean(0)
        half = random_half(len(rows), k, seed)
        points = features[rows[half]].astype(np.float64)
        total, chosen = np.zeros(points.shape[1]), []
        for count in range(1, k + 1):
            distance = ((target - (total + points) / count) ** 2).sum(1)
            distance[chosen] = np.inf
            chosen.append(int(distance.argmin()))
            total += points[chosen[-1]]
        return half[chosen]

    return per_class(labels, k, choose)

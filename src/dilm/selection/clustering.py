"""k-means as teachers, mini-batches and K-centers use it."""

from __future__ import annotations

import warnings
from typing import Any, cast

import numpy as np
from jaxtyping import Float, Int
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.exceptions import ConvergenceWarning

LARGE = 20_000
"""From so many points times clusters on, mini-batch k-means: linear with a small constant, and close enough."""


def fit_k_means(features: Float[np.ndarray, "n d"], k: int, seed: int) -> KMeans | MiniBatchKMeans:
    """k-means++ and Lloyd's iterations, or their mini-batch form for many points."""
    state, once = seed % 2**32, cast(Any, 1)  # the stubs know n_init only as a word
    if len(features) * k <= LARGE:
        model = KMeans(k, n_init=once, random_state=state)
    else:
        model = MiniBatchKMeans(k, n_init=once, random_state=state, batch_size=2048, max_iter=20)
    with warnings.catch_warnings():
        # Fewer distinct points than clusters: some clusters stay empty, which the callers allow for.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(features)


def cluster(features: Float[np.ndarray, "n d"], k: int, seed: int) -> Int[np.ndarray, " n"]:
    """Cluster number of every point, at most k different ones."""
    if k >= len(features):
        return np.arange(len(features))
    return np.asarray(fit_k_means(features, k, seed).labels_)


def nearest_to_centers(features: Float[np.ndarray, "n d"], k: int, seed: int) -> Int[np.ndarray, " k"]:
    """The paper's K-centers: k-means, then the member nearest to each centroid; k distinct places."""
    if k >= len(features):
        return np.arange(len(features))
    model = fit_k_means(features, k, seed)
    centers = np.asarray(model.cluster_centers_, features.dtype)
    chosen: list[int] = []
    squares = np.einsum("nd,nd->n", features, features)
    for center in centers:
        distance = squares - 2 * (features @ center)  # and |center|^2, which is the same for all
        distance[chosen] = np.inf
        chosen.append(int(distance.argmin()))
    return np.array(chosen)

"""A 2-D map: real, written and distilled texts in one projection, the first principal components of the real ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float
from sklearn.decomposition import PCA

from .evaluation.coresets import real_sample
from .models.feature_cache import pretrained_features
from .models.learner import Learner
from .run_folder import read_set, row_text, set_path

if TYPE_CHECKING:
    from .workspace import Workspace

MOST = 500
"""Texts of a group, at most: a random sample of more."""
Facts = dict[str, Any]


def measure_map(work: Workspace, pool: Sequence[Facts], learner: Learner) -> Facts:
    """The stage before the report: where the learner's features put real texts, pool, and set 0 of the largest size."""
    known = work.read("map")
    if known is None:
        largest = max(work.config.dpc)
        real, real_labels = real_sample(work.task, largest, work.seed("coresets"))
        groups = {
            "real": (real, real_labels),
            "pool": ([row_text(row) for row in pool], [row["label"] for row in pool]),
            "distilled": read_set(set_path(work.folder, largest, 0)),
        }
        with work.timed("map"):
            features, labels = {}, {}
            for name, (texts, of_text) in groups.items():
                rows = sample(len(texts), work.seed("map", name))
                features[name] = pretrained_features(learner, [texts[i] for i in rows])
                labels[name] = [int(of_text[i]) for i in rows]
            known = project(features, labels)
        work.write("map", known)
    return known


def sample(number: int, seed: int) -> list[int]:
    """Places of at most MOST of so many texts, in order."""
    return np.sort(np.random.default_rng(seed).permutation(number)[:MOST]).tolist()


def project(features: Mapping[str, Float[np.ndarray, "_ d"]], labels: Mapping[str, Sequence[int]]) -> Facts:
    """Per group {"x", "y", "label"}, a value for each text; "explained": shares of the real texts' variance.

    The projection is that of the group "real", two texts at least; a direction that they do not have is all zeros.
    """
    with np.errstate(invalid="ignore"):  # texts that are all alike have no variance to share
        pca = PCA(n_components=2, svd_solver="full").fit(features["real"])
    found: Facts = {"explained": [round(share, 4) for share in np.nan_to_num(pca.explained_variance_ratio_).tolist()]}
    for name, rows in features.items():
        x, y = pca.transform(rows).T.astype(float).round(4).tolist()
        found[name] = {"x": x, "y": y, "label": list(labels[name])}
    return found

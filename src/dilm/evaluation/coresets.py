"""Baselines: real texts of the same number, picked from a bounded sample of the training split."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..config import DistillConfig
from ..models.compute import derived_seed
from ..selection import METHODS
from ..task import Task, TextInput
from .protocol import TrainingSet

CANDIDATES, CANDIDATES_PER_CLASS = 100_000, 20_000
"""Real texts at most, in all and of a class, among which baselines choose and the full-data probe learns."""


def real_sample(task: Task, at_least: int, seed: int) -> tuple[list[TextInput], np.ndarray]:
    """Training texts and labels [n] that baselines choose from: all, or a random sample (at_least per class)."""
    labels, random = task.labels("train"), np.random.default_rng(seed)
    size = max(min(CANDIDATES_PER_CLASS, CANDIDATES // task.num_classes), at_least)
    by_class = [random.permutation(np.flatnonzero(labels == c))[:size] for c in range(task.num_classes)]
    rows = np.concatenate(by_class)
    return task.texts("train", rows), labels[rows]


def coresets(
    config: DistillConfig, texts: list[TextInput], labels: np.ndarray, features: np.ndarray
) -> Iterator[TrainingSet]:
    """As many coresets of every baseline and size as there are distilled sets."""
    for method in config.evaluation.baselines:
        for dpc in config.dpc:
            for number in range(config.sets):
                chosen = METHODS[method](features, labels, dpc, derived_seed(config.seed, method, number))
                yield TrainingSet(method, dpc, number, [texts[i] for i in chosen], labels[chosen].tolist())

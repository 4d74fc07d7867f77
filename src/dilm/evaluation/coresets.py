"""Baselines: real texts of the same number, picked from a bounded sample of the training split."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from ..models.compute import derived_seed
from ..run_folder import read_set, set_path, write_set
from ..selection import METHODS, Reference
from ..task import Task, TextInput
from .training_sets import TrainingSet

CANDIDATES, CANDIDATES_PER_CLASS = 100_000, 20_000
"""Real texts at most, in all and of a class, among which baselines choose and from which full-data learners learn."""


def real_sample(task: Task, at_least: int, seed: int) -> tuple[list[TextInput], np.ndarray]:
    """Training texts and labels [n] that baselines choose from: all, or a random sample (at_least per class)."""
    labels, random = task.labels("train"), np.random.default_rng(seed)
    size = max(min(CANDIDATES_PER_CLASS, CANDIDATES // task.num_classes), at_least)
    by_class = [random.permutation(np.flatnonzero(labels == c))[:size] for c in range(task.num_classes)]
    rows = np.concatenate(by_class)
    return task.texts("train", rows), labels[rows]


def write_coresets(
    folder: Path,
    method: str,
    wanted: Iterable[tuple[int, int]],
    texts: list[TextInput],
    labels: np.ndarray,
    features: np.ndarray,
    names: tuple[str, ...],
    seed: int,
    reference: Reference | None = None,
) -> Iterator[Path]:
    """Select and write the sets (dpc, number) that are wanted; yields each file's path."""
    for dpc, number in wanted:
        chosen = METHODS[method](features, labels, dpc, derived_seed(seed, method, number), reference)
        path = set_path(folder, dpc, number)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_set(path, [texts[i] for i in chosen], labels[chosen].tolist(), names)
        yield path


def stored_set(folder: Path, method: str, dpc: int, number: int) -> TrainingSet:
    """A set that was written below the folder of its method."""
    return TrainingSet(method, dpc, number, *read_set(set_path(folder, dpc, number)))

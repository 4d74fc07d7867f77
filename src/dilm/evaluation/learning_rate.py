"""The learning rate of a fine-tuned learner, chosen on dev: once, on random real texts, for all methods alike."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from ..models.compute import derived_seed
from ..task import Task
from .coresets import real_sample
from .fine_tuning import FineTuning
from .protocol import held_out
from .training_sets import TrainingSet

SETS = 3
DEV_TEXTS = 1000


def choose_learning_rate(
    learner: FineTuning, task: Task, rates: Sequence[float], dpc: int, tell: Callable[[str], None]
) -> dict[str, float]:
    """Mean dev accuracy of each rate over SETS random sets of real texts; the learner is left with the best rate."""
    texts, labels = real_sample(task, dpc, derived_seed("learning rate"))
    dev = held_out(task, "dev", DEV_TEXTS)
    sets = []
    for number in range(SETS):
        order = np.random.default_rng(number).permutation(len(texts))
        rows = [int(i) for c in range(task.num_classes) for i in order[labels[order] == c][:dpc]]
        sets.append(TrainingSet("random", dpc, number, [texts[i] for i in rows], labels[rows].tolist()))
    scores = {}
    for rate in rates:
        learner.config = dataclasses.replace(learner.config, learning_rate=rate)
        found = [learner.predict(one, dev, derived_seed("learning rate", one.number)) == dev.labels for one in sets]
        scores[f"{rate:g}"] = float(np.mean(found))
        tell(f"{learner.name}, learning rate {rate:g}: {scores[f'{rate:g}']:.3f} on dev")
    best = max(rates, key=lambda rate: scores[f"{rate:g}"])
    learner.config = dataclasses.replace(learner.config, learning_rate=best)
    return scores

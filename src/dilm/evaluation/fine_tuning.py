"""Fine-tuning: a learner with a fresh head trained on a small set, or on the full data."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from ..config import EvaluationConfig, OptimizationConfig
from ..models.learner import Learner
from ..task import Task, TextInput
from ..training.minibatches import RealBatches


def shuffled_batches(
    texts: list[TextInput], labels: list[int], batch_size: int, seed: int
) -> Iterator[tuple[list[TextInput], list[int]]]:
    """Endless epochs over a small set, each in a new order; a set that fits into one batch is one batch."""
    random = np.random.default_rng(seed)
    while True:
        order = random.permutation(len(texts))
        for start in range(0, len(texts), batch_size):
            rows = order[start : start + batch_size].tolist()
            yield [texts[i] for i in rows], [labels[i] for i in rows]


def fine_tune(
    learner: Learner, texts: list[TextInput], labels: list[int], config: OptimizationConfig, seed: int
) -> None:
    """The paper's recipe (section 4.1): the pretrained encoder with a fresh head, trained on the set."""
    learner.reinitialize(seed)
    batches = shuffled_batches(texts, labels, config.batch_size, seed)
    for _ in learner.train(batches, config, seed=seed):
        pass


def full_data_steps(task: Task, config: EvaluationConfig) -> int:
    """Steps of training on the full data: full_data_epochs or full_data_steps, whichever comes first."""
    per_epoch = len(task.train) / min(config.batch_size, len(task.train))
    return min(config.full_data_steps, math.ceil(config.full_data_epochs * per_epoch))


def train_on_full_data(learner: Learner, task: Task, config: EvaluationConfig, seed: int) -> Iterator[float]:
    """Fine-tune on the whole training split; yields each step's loss."""
    learner.reinitialize(seed)
    steps = OptimizationConfig(
        learning_rate=config.full_data_learning_rate,
        max_steps=full_data_steps(task, config),
        batch_size=config.batch_size,
        lr_scheduler_type=config.lr_scheduler_type,
        warmup_steps=0.1,
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
    )
    return learner.train(iter(RealBatches(task, config.batch_size, seed)), steps, seed=seed)

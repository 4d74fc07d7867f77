"""Fine-tuning: an encoder with a fresh head trained on a small set, or on the full data."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from jaxtyping import Int

from ..config import OptimizationConfig, RecipeConfig
from ..errors import InputError
from ..models.compact_embedding import compact_embedding
from ..models.learner import Batch, Encoded, Learner
from ..task import Task
from ..training.embedding_distillation import EmbeddedSet
from ..training.minibatches import RealBatches, training_steps
from .training_sets import HeldOut, TrainingSet


class FineTuning:
    """The paper's recipe (section 4.1): the pretrained encoder with a fresh head, trained on the set."""

    seeded = True

    def __init__(self, name: str, learner: Learner, config: OptimizationConfig):
        self.name, self.learner, self.config = name, learner, config
        self._encoded: WeakKeyDictionary[HeldOut, Encoded] = WeakKeyDictionary()

    @property
    def recipe(self) -> dict[str, Any]:
        return {"model": self.learner.fingerprint, **optimization(self.config)}

    def check(self, training_set: TrainingSet) -> None:
        """InputError for learned embeddings of another width or with other token types than the learner's."""
        if training_set.embeddings is not None:
            learned, own = EmbeddedSet.load(training_set.embeddings), self.learner.word_embeddings()
            found = learned.embeddings.shape[2]
            if learned.labels.tolist() != training_set.labels:
                raise InputError(f"{training_set.embeddings} has other labels than the jsonl file beside it")
            if found != own.shape[1]:
                raise InputError(
                    f"{training_set.embeddings} holds embeddings of width {found}, {self.name} has {own.shape[1]}: "
                    "learned embeddings fit only the learner they were made with"
                )
            types, known = learned.token_types, getattr(self.learner.model.config, "type_vocab_size", None)
            if types is not None and known is not None and not (0 <= int(types.min()) <= int(types.max()) < known):
                raise InputError(
                    f"{training_set.embeddings} has token types from {int(types.min())} to {int(types.max())}, "
                    f"{self.name} knows {known}: learned embeddings fit only the learner they were made with"
                )

    def predict(self, training_set: TrainingSet, held_out: HeldOut, seed: int) -> Int[np.ndarray, " m"]:
        self.fit(training_set, seed)
        return self.test(held_out)

    def fit(self, training_set: TrainingSet, seed: int) -> None:
        """Leave the learner trained on the set."""
        learner = self.learner
        learner.reinitialize(seed)
        if training_set.embeddings is not None:
            learned = EmbeddedSet.load(training_set.embeddings)
            batches = shuffled_batches(
                lambda rows: [learned.batch(rows, learner.device)], len(learned.labels), self.config.batch_size, seed
            )
            for _ in learner.train(batches, self.config, seed=seed):
                pass
            return
        encoded, targets = learner.encode(training_set.texts), training_set.targets
        ids = {i for text in encoded for i in text["input_ids"]} | {int(learner.model.config.pad_token_id or 0)}
        with compact_embedding(learner.model, torch.tensor(sorted(ids), device=learner.device)) as decay:
            batches = shuffled_batches(
                lambda rows: learner.batch([encoded[i] for i in rows], [targets[i] for i in rows]),
                len(encoded),
                self.config.batch_size,
                seed,
            )
            for _ in learner.train(batches, self.config, seed=seed, after_step=decay.after_step):
                pass

    def test(self, held_out: HeldOut) -> Int[np.ndarray, " m"]:
        """Classes that the learner as it is now gives the texts; they are tokenised once."""
        if held_out not in self._encoded:
            self._encoded[held_out] = self.learner.encode(held_out.texts)
        return self.learner.predict(self._encoded[held_out]).argmax(1)


def optimization(config: OptimizationConfig) -> dict[str, Any]:
    """The settings of the optimiser, without those of a dataclass that extends them."""
    return {field.name: getattr(config, field.name) for field in dataclasses.fields(OptimizationConfig)}


def shuffled_batches(make: Callable[[list[int]], Batch], count: int, batch_size: int, seed: int) -> Iterator[Batch]:
    """Endless epochs over the rows of a small set, each in a new order; one that fits into one batch is that always."""
    random = np.random.default_rng(seed)
    if count <= batch_size:
        whole = make(list(range(count)))
        while True:
            yield whole
    while True:
        order = random.permutation(count)
        for start in range(0, count, batch_size):
            yield make(order[start : start + batch_size].tolist())


MIN_FULL_DATA_STEPS = 50
"""One pass over some hundred texts is a handful of steps: too few for the ceiling and for the judge of labels."""


def full_data_steps(task: Task, config: RecipeConfig) -> int:
    """Steps on the full data: full_data_epochs or full_data_steps, whichever comes first; 50 on a small dataset."""
    return training_steps(task, config.batch_size, config.full_data_epochs, MIN_FULL_DATA_STEPS, config.full_data_steps)


def train_on_full_data(learner: Learner, task: Task, config: RecipeConfig, seed: int) -> Iterator[float]:
    """Fine-tune on the whole training split; yields each step's loss."""
    learner.reinitialize(seed)
    steps = OptimizationConfig(
        **optimization(config)
        | {
            "learning_rate": config.full_data_learning_rate,
            "max_steps": full_data_steps(task, config),
            "warmup_steps": 0.1,
        }
    )
    batches = (learner.batch(*batch) for batch in RealBatches(task, config.batch_size, seed))
    return learner.train(batches, steps, seed=seed)

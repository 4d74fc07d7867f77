"""Mini-batches: real texts in seeded random order, synthetic texts diverse by clusters (section 3.4)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Int

from ..selection.clustering import cluster
from ..task import Task, TextInput


def training_steps(task: Task, batch_size: int, epochs: float, min_steps: int, max_steps: int) -> int:
    """Steps of `epochs` passes over the training split, but `min_steps` where it is small; never over `max_steps`."""
    per_epoch = len(task.train) / min(batch_size, len(task.train))
    return min(max_steps, max(min_steps, math.ceil(epochs * per_epoch)))


class RealBatches:
    """Endless batches of training texts, in an order that the seed and the step alone decide.

    Every epoch is a permutation; within a chunk of batches texts of similar length come together, so that little
    is computed on padding. Memory is one permutation (8 bytes a text), whatever the size of the dataset.
    """

    CHUNK = 16
    """Batches whose texts are sorted by length together."""

    def __init__(self, task: Task, batch_size: int, seed: int):
        self.task, self.seed = task, seed
        self.labels = task.labels("train")
        self.batch_size = min(batch_size, len(self.labels))

    def __iter__(self) -> Iterator[tuple[list[TextInput], list[int]]]:
        return self.after(0)

    def after(self, steps: int) -> Iterator[tuple[list[TextInput], list[int]]]:
        """The batches that come after so many, without reading the texts of those."""
        batches_per_epoch = len(self.labels) // self.batch_size
        first, skipped = divmod(steps, batches_per_epoch)
        for epoch in itertools.count(first):
            random = np.random.default_rng([self.seed, epoch])
            order = random.permutation(len(self.labels))[: batches_per_epoch * self.batch_size]
            for start in range(0, len(order), self.CHUNK * self.batch_size):
                rows = order[start : start + self.CHUNK * self.batch_size]
                size = len(rows) // self.batch_size
                if skipped >= size:
                    random.permutation(size)
                else:
                    yield from itertools.islice(self._chunk(rows, random), skipped, None)
                skipped = max(0, skipped - size)

    def _chunk(
        self, rows: Int[np.ndarray, " n"], random: np.random.Generator
    ) -> Iterator[tuple[list[TextInput], list[int]]]:
        texts, labels = self.task.texts("train", rows), self.labels[rows]
        by_length = sorted(range(len(texts)), key=lambda i: sum(map(len, texts[i])))
        starts = range(0, len(texts), self.batch_size)
        for number in random.permutation(len(starts)):
            places = by_length[starts[number] : starts[number] + self.batch_size]
            yield [texts[i] for i in places], [int(labels[i]) for i in places]


class DiverseBatches:
    """Batches of n places such that each takes one member of every cluster; without features, plain random ones."""

    def __init__(self, count: int, batch_size: int, seed: int, features: Float[np.ndarray, "n d"] | None):
        self.size = min(batch_size, count)
        self.random = np.random.default_rng(seed)
        groups = np.zeros(count, int) if features is None else cluster(features, self.size, seed)
        self.groups = [np.flatnonzero(groups == g) for g in np.unique(groups)]
        self.queues: list[list[int]] = [[] for _ in self.groups]

    def draw(self) -> Int[np.ndarray, " b"]:
        """The next batch: round-robin over the clusters, each without replacement until it is used up."""
        batch: list[int] = []
        while len(batch) < self.size:
            for group, queue in zip(self.groups, self.queues, strict=True):
                if len(batch) == self.size:
                    break
                if not queue:
                    queue.extend(self.random.permutation(group).tolist())
                batch.append(queue.pop())
        return np.array(batch)

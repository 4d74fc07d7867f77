"""Teacher texts: the real texts of each class whose gradient the synthetic ones must match (section 3.4)."""

from __future__ import annotations

import numpy as np

from ..config import GradientMatchingConfig
from ..models.compute import derived_seed
from ..models.learner import Learner
from ..selection.clustering import nearest_to_centers
from ..task import Task, TextInput


class Teachers:
    """Several teacher sets per class. Only a bounded sample of a class is looked at, so the cost has a ceiling."""

    def __init__(self, task: Task, learner: Learner, config: GradientMatchingConfig, seed: int):
        """Picks the texts by the features of the pretrained encoder: leaves the learner fresh."""
        learner.reinitialize(seed)
        labels = task.labels("train")
        self._sets = [
            self._pick(task, learner, config, np.flatnonzero(labels == c), derived_seed(seed, "teachers", c))
            for c in range(task.num_classes)
        ]

    def texts(self, class_index: int, set_index: int) -> list[TextInput]:
        """The real texts of one class in one teacher set."""
        return self._sets[class_index][set_index]

    @staticmethod
    def _pick(
        task: Task, learner: Learner, config: GradientMatchingConfig, rows: np.ndarray, seed: int
    ) -> list[list[TextInput]]:
        random = np.random.default_rng(seed)
        size = min(config.teacher_size, len(rows))
        candidates = random.permutation(rows)[: max(size, config.teacher_candidates)]
        texts = task.texts("train", candidates)
        if config.teacher == "random":
            picks = [random.permutation(len(texts))[:size] for _ in range(config.teacher_sets)]
        else:
            features = learner.features(texts)
            picks = [nearest_to_centers(features, size, derived_seed(seed, s)) for s in range(config.teacher_sets)]
        return [[texts[i] for i in pick] for pick in picks]

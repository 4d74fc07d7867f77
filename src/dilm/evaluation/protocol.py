"""The protocol: each set trains fresh learners, each learner is tested once on the test split (section 4.1)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.metrics import f1_score

from ..config import EvaluationConfig
from ..models.compute import derived_seed
from ..models.learner import Learner
from ..task import Task, TextInput
from .fine_tuning import fine_tune
from .probing import probe
from .statistics import Row


@dataclass(frozen=True)
class TrainingSet:
    """A small labelled set under test: distilled texts, or a coreset of real ones."""

    method: str
    dpc: int
    number: int
    texts: list[TextInput]
    labels: list[int]


Key = tuple[str, int, int, str, int]


def row_key(row: Row) -> Key:
    """What identifies a run: method, dpc, set, learner, seed."""
    return row["method"], row["dpc"], row["set"], row["learner"], row["seed"]


def planned_runs(sets: list[TrainingSet], config: EvaluationConfig) -> list[tuple[TrainingSet, str, int]]:
    """Every run of the protocol, cheap learners first."""
    runs = []
    for kind in sorted(config.learners, key=("probe", "finetune").index):
        for training_set in sets:
            if kind == "probe":
                runs.append((training_set, kind, 0))
            elif training_set.number < config.fine_tuned_sets:
                runs += [(training_set, kind, seed) for seed in range(config.seeds)]
    return runs


class Evaluator:
    """Trains and tests learners on sets; the test texts are read and encoded once."""

    def __init__(self, task: Task, learner: Learner, learner_name: str, config: EvaluationConfig, seed: int):
        self.task, self.learner, self.config, self.seed = task, learner, config, seed
        self.learner_name = learner_name
        labels = task.labels("test")
        rows = np.random.default_rng(derived_seed("test sample")).permutation(len(labels))[: config.max_texts]
        rows.sort()
        self.test_texts, self.test_labels = task.texts("test", rows), labels[rows]
        self._test_features: np.ndarray | None = None

    def named(self, kind: str) -> str:
        """The learner's name in the results, such as `finetune:offline`."""
        return f"{kind}:{self.learner_name}"

    def key(self, training_set: TrainingSet, kind: str, seed: int) -> Key:
        """The key of one planned run."""
        return training_set.method, training_set.dpc, training_set.number, self.named(kind), seed

    def runs(self, sets: list[TrainingSet], finished: set[Key]) -> Iterator[Row]:
        """Yield the row of every planned run that is not finished yet."""
        for training_set, kind, seed in planned_runs(sets, self.config):
            key = self.key(training_set, kind, seed)
            if key not in finished:
                predict: Callable = self._probed if kind == "probe" else self._fine_tuned
                yield self.row(key, predict(training_set, seed))

    def row(self, key: Key, predictions: np.ndarray) -> Row:
        """One line of results.json."""
        method, dpc, number, learner, seed = key
        row: dict[str, Any] = {"task": self.task.name, "method": method, "dpc": dpc, "set": number}
        row |= {"learner": learner, "seed": seed, "accuracy": float((predictions == self.test_labels).mean())}
        if self.task.has_pairs and self.task.num_classes == 2:
            row["f1"] = float(f1_score(self.test_labels, predictions))
        return row | {"collapsed": bool(len(np.unique(predictions)) == 1)}

    def predictions(self) -> np.ndarray:
        """Classes that the learner as it is now gives the test texts."""
        return self.learner.predict(self.test_texts).argmax(1)

    def _fine_tuned(self, training_set: TrainingSet, seed: int) -> np.ndarray:
        run_seed = derived_seed(self.seed, "evaluation", seed)
        fine_tune(self.learner, training_set.texts, training_set.labels, self.config, run_seed)
        return self.predictions()

    def _probed(self, training_set: TrainingSet, seed: int) -> np.ndarray:
        self.learner.reinitialize(self.seed)
        features = self.learner.features(training_set.texts)
        return self.probe(features, np.array(training_set.labels))

    def probe(self, features: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Predictions of logistic regression on features of the pretrained encoder."""
        if self._test_features is None:
            self.learner.reinitialize(self.seed)
            self._test_features = self.learner.features(self.test_texts)
        return probe(features, labels, self._test_features)

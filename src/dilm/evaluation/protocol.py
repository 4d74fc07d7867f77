"""The protocol: each set trains fresh learners, each learner is tested once on the test split (section 4.1)."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.metrics import f1_score

from ..config import RecipeConfig
from ..models.compute import derived_seed
from ..task import Task
from .coresets import real_sample
from .fine_tuning import FineTuning, full_data_steps, train_on_full_data
from .in_context import InContext
from .learners import EvaluationLearner
from .scratch import Scratch
from .statistics import FULL, Row
from .training_sets import HeldOut, TrainingSet


@dataclass(frozen=True)
class PlannedRun:
    """One training: a set, a learner, a seed. `key` tells it from all others, also after a change of text or recipe."""

    training_set: TrainingSet
    learner: EvaluationLearner
    seed: int
    recipe: str
    full_data: str = ""
    """How a learner is trained on the full data, where that is the set."""

    @property
    def key(self) -> tuple:
        chosen = self.training_set
        return (
            chosen.method,
            chosen.dpc,
            chosen.number,
            self.learner.name,
            self.seed,
            self.recipe,
            chosen.content + self.full_data,
        )


def short_hash(settings: dict[str, Any]) -> str:
    """8 hex digits of settings."""
    return hashlib.blake2b(json.dumps(settings, sort_keys=True).encode(), digest_size=4).hexdigest()


def in_words(row: Row) -> str:
    """A row for people: `dilm dpc 10 set 0 finetune:offline: 0.812`."""
    name = row["method"] if row["method"] == FULL else f"{row['method']} dpc {row['dpc']} set {row['set']}"
    return f"{name} {row['learner']}: {row['accuracy']:.3f}" + (" (collapsed)" if row["collapsed"] else "")


def held_out(task: Task, split: str, max_texts: int) -> HeldOut:
    """The texts of a split, or a fixed random sample of it; in the order of the split."""
    labels = task.labels(split)
    rows = np.random.default_rng(derived_seed(f"{split} sample")).permutation(len(labels))[:max_texts]
    rows.sort()
    return HeldOut(task.texts(split, rows), labels[rows])


def check_runs(runs: Iterable[PlannedRun]) -> None:
    """InputError for the first set that its learner cannot be trained on; each pair is looked at once."""
    for learner, training_set in dict.fromkeys((run.learner, run.training_set) for run in runs):
        learner.check(training_set)


class Evaluator:
    """Trains learners on sets and tests them; what is tested is read once.

    For another `split` than test the learners are drawn from other seeds: a set that was chosen for what a learner did
    on dev is tested with learners that had no part in the choice, or their luck would count as the set's merit.
    """

    def __init__(self, task: Task, learners: Sequence[EvaluationLearner], config: RecipeConfig, split: str = "test"):
        self.task, self.learners, self.config = task, learners, config
        self.held_out = held_out(task, split, config.max_texts)
        self._seed_names = ("evaluation",) if split == "test" else ("evaluation", split)
        self._common = {"task": task.fingerprint, "split": split, "max_texts": config.max_texts}
        if split != "test":
            self._common["seeds"] = "of the split"  # tells rows from those of before; rows on test are what they were

    def plan(self, sets: Sequence[TrainingSet], fine_tuned_sets: int | None = None) -> list[PlannedRun]:
        """Every run: learner by learner, cheap ones first; then by seed and set, so that any beginning is balanced.

        Sets of learned embeddings are for fine-tuning only; a prompt takes no soft labels.
        The first `fine_tuned_sets` sets of a method and size are fine-tuned on, all if None.
        """
        runs = []
        for learner in self.learners:
            chosen = list(sets)
            if not isinstance(learner, FineTuning):
                chosen = [s for s in sets if s.embeddings is None]
            elif fine_tuned_sets is not None:
                chosen = [s for s in sets if s.number < fine_tuned_sets]
            if isinstance(learner, InContext):
                chosen = [s for s in chosen if s.label_probs is None]
            chosen.sort(key=lambda s: (s.number, s.dpc))
            recipe = self._recipe(learner)
            for seed in range(self.config.seeds if learner.seeded else 1):
                runs += [PlannedRun(s, learner, seed, recipe) for s in chosen]
        return runs

    def plan_full_data(self) -> list[PlannedRun]:
        """A run on all training texts (a sample of them where there are very many) for every learner that can."""
        texts, labels = real_sample(self.task, 1, derived_seed("full data"))
        everything = TrainingSet(FULL, 0, 0, texts, labels.tolist())
        longer = ("full_data_epochs", "full_data_steps", "full_data_learning_rate")
        settings = {name: getattr(self.config, name) for name in longer}

        def settings_of(learner: EvaluationLearner) -> str:
            # Rows from scratch that are stored without the rate were made at ten times the recipe's.
            rate = {"learning_rate": learner.config.learning_rate} if isinstance(learner, Scratch) else {}
            return short_hash(settings | rate) if learner.seeded else ""

        return [
            PlannedRun(everything, learner, 0, self._recipe(learner), settings_of(learner))
            for learner in self.learners
            if not isinstance(learner, InContext)
        ]

    def run(self, planned: Sequence[PlannedRun]) -> Iterator[Row]:
        """Train, test, yield a row for each."""
        for run in planned:
            seed = derived_seed(*self._seed_names, run.seed)
            train_and_test = self._on_full_data if run.training_set.method == FULL else type(run.learner).predict
            yield self.row(run, train_and_test(run.learner, run.training_set, self.held_out, seed))

    def row(self, run: PlannedRun, predictions: np.ndarray) -> Row:
        """One line of results.json; `collapsed`: the learner gives every text the same class."""
        method, dpc, number, learner, seed, recipe, content = run.key
        row: dict[str, Any] = {"task": self.task.name, "method": method, "dpc": dpc, "set": number}
        labels = self.held_out.labels
        row |= {"learner": learner, "seed": seed, "accuracy": float((predictions == labels).mean())}
        if self.task.has_pairs and self.task.num_classes == 2:
            row["f1"] = float(f1_score(labels, predictions))
        collapsed = bool(len(np.unique(predictions)) == 1)
        return row | {"collapsed": collapsed, "recipe": recipe, "content": content}

    @property
    def recipes(self) -> dict[str, dict[str, Any]]:
        """What the recipes of the rows stand for: all that decides a run besides the set and the number of the seed."""
        return {self._recipe(learner): {**learner.recipe, **self._common} for learner in self.learners}

    def _recipe(self, learner: EvaluationLearner) -> str:
        """8 hex digits of a recipe."""
        return short_hash({"learner": learner.recipe, **self._common})

    def _on_full_data(
        self, learner: EvaluationLearner, training_set: TrainingSet, texts: HeldOut, seed: int
    ) -> np.ndarray:
        if isinstance(learner, FineTuning):
            for _ in train_on_full_data(learner.learner, self.task, self.config, seed):
                pass
            return learner.test(texts)
        if isinstance(learner, Scratch):
            longer = dataclasses.replace(self.config, max_steps=full_data_steps(self.task, self.config))
            learner = Scratch(learner.name, learner.learner, longer)
        return learner.predict(training_set, texts, seed)

"""Logistic regression, on features of a frozen encoder or on TF-IDF: deterministic, so one run a set."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from ..models.feature_cache import pretrained_features
from ..models.learner import Learner, Targets
from ..task import TextInput
from .training_sets import HeldOut, TrainingSet

REGULARIZATION = 10.0
"""C of the logistic regression, the same for every set: features have unit length, and 1 would be strong for them."""
NEGLIGIBLE = 1e-4
"""Probability of a class in a soft label below which it is left out."""


def logistic_regression(features: Any, targets: Targets | np.ndarray, test_features: Any) -> Int[np.ndarray, " m"]:
    """Predicted classes of the rows of `test_features` [m, d] after fitting on `features` [n, d] and their labels.

    A soft label is all classes, each with its probability as weight: the same cross-entropy, but for probabilities
    below NEGLIGIBLE, with which every class of every text would be a row.
    """
    labels, weights = np.array(targets), None
    if labels.ndim == 2:
        probs = labels
        rows, labels = np.nonzero(probs >= NEGLIGIBLE)
        features, weights = features[rows], probs[rows, labels]
    if len(np.unique(labels)) == 1:
        return np.full(test_features.shape[0], labels[0])
    model = LogisticRegression(C=REGULARIZATION, max_iter=2000)
    return model.fit(features, labels, weights).predict(test_features)


class Probe:
    """A frozen encoder with logistic regression on its mean-pooled features."""

    seeded = False

    def __init__(self, name: str, learner: Learner):
        self.name, self.learner = name, learner
        self._features: tuple[HeldOut, Float[np.ndarray, "m d"]] | None = None

    @property
    def recipe(self) -> dict[str, Any]:
        return {"model": self.learner.fingerprint, "C": REGULARIZATION}

    def check(self, training_set: TrainingSet) -> None:
        """Any set will do."""

    def predict(self, training_set: TrainingSet, held_out: HeldOut, seed: int) -> Int[np.ndarray, " m"]:
        if self._features is None or self._features[0] is not held_out:
            self._features = held_out, pretrained_features(self.learner, held_out.texts)
        features = pretrained_features(self.learner, training_set.texts)
        return logistic_regression(features, training_set.targets, self._features[1])


class TfIdf:
    """Words and word pairs of the set with logistic regression: a learner that knows no other text."""

    seeded = False
    name = "tfidf"

    @property
    def recipe(self) -> dict[str, Any]:
        return {"C": REGULARIZATION}

    def check(self, training_set: TrainingSet) -> None:
        """Any set will do."""

    def predict(self, training_set: TrainingSet, held_out: HeldOut, seed: int) -> Int[np.ndarray, " m"]:
        vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\w+|[^\w\s]")
        vectorizer.fit(_sides(training_set.texts, 0) + _sides(training_set.texts, 1))
        features, test = (_tfidf(vectorizer, texts) for texts in (training_set.texts, held_out.texts))
        return logistic_regression(features, training_set.targets, test)


def _sides(texts: list[TextInput], side: int) -> list[str]:
    """First or second texts; single texts have no second."""
    return [text if isinstance(text, str) else text[side] for text in texts if side == 0 or not isinstance(text, str)]


def _tfidf(vectorizer: TfidfVectorizer, texts: list[TextInput]) -> Any:
    """[n, v]; for pairs both sides, what they share and what they do not, so that a linear model can compare them."""
    first: Any = vectorizer.transform(_sides(texts, 0))
    if isinstance(texts[0], str):
        return first
    second: Any = vectorizer.transform(_sides(texts, 1))
    return sparse.hstack([first, second, first.multiply(second), abs(first - second)]).tocsr()

"""What all selection methods share: their signature, and choosing class by class."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
from jaxtyping import Float, Int

from ..errors import InputError


class Reference(NamedTuple):
    """The texts that the chosen ones are to stand for, where they are not the candidates themselves."""

    features: Float[np.ndarray, "m d"]
    labels: Int[np.ndarray, " m"]


class Selector(Protocol):
    """k texts of every class from features [n, d] and labels [n]; returns places [classes * k], class by class.

    The same seed gives the same places. `reference`: real texts that texts from a pool are to stand for; methods that
    look at the candidates alone ignore it. Raises InputError if a class has fewer than k candidates.
    """

    def __call__(
        self,
        features: Float[np.ndarray, "n d"],
        labels: Int[np.ndarray, " n"],
        k: int,
        seed: int,
        reference: Reference | None = None,
    ) -> Int[np.ndarray, " c*k"]: ...


def per_class(
    labels: np.ndarray, k: int, choose: Callable[[Int[np.ndarray, " r"]], Int[np.ndarray, " k"]]
) -> Int[np.ndarray, " c*k"]:
    """`choose` maps the rows of one class to k places among them; InputError if a class has fewer than k rows."""
    return np.concatenate([rows[choose(rows)] for rows in class_rows(labels, k)])


def class_rows(labels: np.ndarray, k: int) -> list[Int[np.ndarray, " r"]]:
    """The rows of every class, in the order of the labels; InputError if a class has fewer than k."""
    rows = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    for members in rows:
        if len(members) < k:
            label = labels[members[0]]
            raise InputError(f"class {label} has {len(members)} texts to choose from, {k} are asked for; lower --dpc")
    return rows


def random_half(count: int, k: int, seed: int) -> Int[np.ndarray, " h"]:
    """Half of `count` places (k at least), in order: methods without chance of their own differ by set through this."""
    return np.sort(np.random.default_rng(seed).permutation(count)[: max(k, (count + 1) // 2)])


def standardised(
    features: Float[np.ndarray, "n d"], reference: Reference
) -> tuple[Float[np.ndarray, "n d"], Reference]:
    """Features less the reference's mean, in units of its spread (so its squared length is 1 on average), both over
    classes, however many texts each has.

    For the middle layers of an encoder: more than half of what they tell is the same for all texts.
    """
    classes = [reference.features[reference.labels == label] for label in np.unique(reference.labels)]
    center = np.mean([members.mean(0) for members in classes], axis=0)
    spread = np.sqrt(np.mean([((members - center) ** 2).sum(1).mean() for members in classes])) or 1.0
    return (features - center) / spread, Reference((reference.features - center) / spread, reference.labels)


def with_bias(features: np.ndarray) -> Float[np.ndarray, "n d+1"]:
    """Features with a constant 1 beside them, in double precision."""
    return np.hstack([features, np.ones((len(features), 1))]).astype(np.float64, copy=False)

"""What a person should know about a dataset that is sound but odd: repeats, contradictions, imbalance, scarce classes.

Pure functions from labels and hashes of texts to notes, one line each.
"""

from collections.abc import Sequence

import numpy as np

from .files import listed

IMBALANCE = 10
"""Times that the largest class has to be as large as the smallest to be worth a note."""


def repeated(split: str, hashes: np.ndarray, labels: np.ndarray) -> list[str]:
    """How many rows repeat a text, and how many texts have labels that differ.

    hashes: uint64 [n], of the texts; labels: int64 [n].
    """
    order = np.argsort(hashes, kind="stable")
    sorted_hashes, sorted_labels = hashes[order], labels[order]
    same = sorted_hashes[1:] == sorted_hashes[:-1]
    if not same.any():
        return []
    starts = np.flatnonzero(np.concatenate([[True], ~same]))
    mixed = np.maximum.reduceat(sorted_labels, starts) != np.minimum.reduceat(sorted_labels, starts)
    notes = [f"{split}: {same.sum():,} of {len(hashes):,} rows repeat the text of another"]
    if count := int(mixed.sum()):
        what = "text has" if count == 1 else "texts have"
        notes.append(f"warning: {count:,} {what} different labels in {split}; no classifier can be right on all rows")
    return notes


def balance(classes: Sequence[str], train: np.ndarray, dev: np.ndarray, test: np.ndarray) -> list[str]:
    """Whether classes differ much in size, and which have nothing to be checked or tested on; labels of the splits."""
    sizes = {name: np.bincount(labels, minlength=len(classes)) for name, labels in _named(train, dev, test)}
    notes, counts = [], sizes["train"]
    large, small = int(counts.argmax()), int(counts.argmin())
    if counts[large] >= IMBALANCE * counts[small]:
        share = sizes["test"][large] / max(sizes["test"].sum(), 1)
        notes.append(
            f"imbalanced: {listed([classes[large]])} has {counts[large]:,} training texts, {listed([classes[small]])} "
            f"{counts[small]:,}; sets hold as many of each, and always saying the first is right on {share:.1%} of test"
        )
    for split in ("dev", "test"):
        lacking = [name for name, count in zip(classes, sizes[split], strict=True) if not count]
        if lacking and len(lacking) < len(classes):
            notes.append(f"{split} has no text of {listed(lacking)}: it says nothing about {_those(lacking)}")
    return notes


def _named(*labels: np.ndarray) -> list[tuple[str, np.ndarray]]:
    return list(zip(("train", "dev", "test"), labels, strict=True))


def _those(classes: Sequence[str]) -> str:
    return "this class" if len(classes) == 1 else "these classes"

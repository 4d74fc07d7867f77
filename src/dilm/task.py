"""A text-classification dataset: `load_task` checks what the user brings and gives a `Task`.

Contract: texts are never empty, labels run from 0 and each class has training texts; test is what the source
gives or a part of train; dev is always carved from train; no training text occurs in dev or test. Texts
stay in memory-mapped Arrow files; in memory are labels, indices and hashes, some 50 bytes a row while loading.
Every problem with the input is an InputError; what is sound but odd is counted in the notes.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias

import datasets
import numpy as np
import pyarrow as pa
from datasets import ClassLabel, Dataset, Value

from .columns import (
    check_labels,
    choose_columns,
    concatenate,
    count_values,
    declared_names,
    encode,
    find_classes,
    has_text,
    hash_texts,
    is_text,
    name_values,
    read_chunks,
)
from .errors import InputError
from .files import listed
from .remarks import balance, repeated
from .sources import Source, read_source

TextInput: TypeAlias = str | tuple[str, str]
TEST_SHARE, TEST_CAP = 0.2, 5_000  # of a test split that has to be carved from train
DEV_SHARE, DEV_CAP = 0.1, 2_000


@dataclass(frozen=True, eq=False)
class Task:
    """A text-classification dataset: one text or a pair of texts, a label, label names, splits."""

    name: str
    """Safe for a folder name: "reviews", "sst2"."""
    source: str
    """What `load_task` was given."""
    train: Dataset
    """Columns: text (string), text_pair (string; only for pairs), label (ClassLabel); so in all splits."""
    dev: Dataset
    """Always carved from train, stratified and seeded; empty only if no class has two different texts."""
    test: Dataset
    test_split: str
    """Where test came from: "test", "validation" or "carved"."""
    notes: tuple[str, ...] = ()
    """What a person should know about the loading: "train: dropped 3 rows with an empty text"."""
    columns: Mapping[str, str | None] = field(default_factory=dict)
    """text, text_pair and label as `load_task` was given them: with `source`, what loads the task again."""
    _labels: dict[str, np.ndarray] = field(default_factory=dict, init=False, repr=False)
    _hashes: dict[str, np.ndarray] = field(default_factory=dict, init=False, repr=False)

    @property
    def label_names(self) -> tuple[str, ...]:
        """The names of the classes; a label is an index into them."""
        return tuple(self.train.features["label"].names)

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self.label_names)

    @property
    def has_pairs(self) -> bool:
        """Whether an input is a pair of texts."""
        return "text_pair" in self.train.column_names

    def labels(self, split: str) -> np.ndarray:
        """The labels of "train", "dev" or "test": int64 [n], read-only."""
        if split not in self._labels:
            chunks = read_chunks(self._split(split), "label")
            self._labels[split] = concatenate((chunk.to_numpy() for chunk in chunks), np.int64)
        labels = self._labels[split].view()
        labels.flags.writeable = False
        return labels

    def texts(self, split: str, indices: Sequence[int] | np.ndarray | None = None) -> list[TextInput]:
        """The texts of a split, all or those at `indices`, in that order; tuples for pairs."""
        dataset = self._split(split)
        rows = dataset[:] if indices is None else dataset[np.asarray(indices, np.int64)]
        return list(zip(rows["text"], rows["text_pair"], strict=True)) if self.has_pairs else rows["text"]

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits of the content: label names, and texts and labels of all splits, in order."""
        digest = hashlib.blake2b(repr(self.label_names).encode(), digest_size=8)
        for split in ("train", "dev", "test"):
            digest.update(f"{split} {len(self._split(split))}".encode())
            hashes = self._hashes.get(split)
            digest.update((hash_texts(self._split(split)) if hashes is None else hashes).tobytes())
            digest.update(self.labels(split).tobytes())
        return digest.hexdigest()

    def _split(self, split: str) -> Dataset:
        if split not in ("train", "dev", "test"):
            raise InputError(f"no split '{split}'; expected train, dev or test")
        return getattr(self, split)


def load_task(
    source: Any,
    *,
    text: str | None = None,
    text_pair: str | None = None,
    label: str | None = None,
    seed: int = 0,
) -> Task:
    """Load a text-classification dataset, check it and split it.

    source: an embedded name (`reviews`), a Hub id (`nyu-mll/glue:sst2`), a file (.csv, .tsv, .jsonl, .json,
    also with .gz, or .parquet), a folder of such files named train, validation and test, with a
    `label_names.json` if it likes, a folder laid out as on the Hub, a Dataset or DatasetDict in memory, or a
    Task, which is returned as it is.
    text, text_pair, label: the columns, where their names do not tell; naming only `text` makes it a task of
    single texts, unless there is a column `text_pair`.
    seed: draws the carved splits.

    Raises InputError, with a message in one line, for whatever is wrong with the source.
    """
    if isinstance(source, Task):
        return source
    with _without_progress_bars():
        try:
            return _build(read_source(source), _describe(source), (text, text_pair, label), seed)
        except pa.ArrowException as error:  # say, bytes that are not UTF-8 in a table the user built
            raise InputError(f"cannot read {_describe(source)}: {' '.join(str(error).split())}") from error


def check_dpc(task: Task, dpc: int) -> None:
    """Raise InputError unless every class has at least `dpc` training texts."""
    if dpc < 1:
        raise InputError(f"dpc is {dpc}; expected at least 1 text per class")
    counts = np.bincount(task.labels("train"), minlength=task.num_classes)
    scarce = [f"'{task.label_names[c]}' has {counts[c]}" for c in np.argsort(counts, kind="stable") if counts[c] < dpc]
    if scarce:
        more = f" and {len(scarce) - 5} more classes" if len(scarce) > 5 else ""
        raise InputError(
            f"dpc {dpc} needs {dpc} training texts in every class of {task.name}, but "
            f"{', '.join(scarce[:5])}{more}; the largest dpc possible is {counts.min()}"
        )


def _describe(source: Any) -> str:
    return os.fspath(source) if isinstance(source, str | os.PathLike) else f"a {type(source).__name__}"


@contextmanager
def _without_progress_bars() -> Iterator[None]:
    shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            datasets.enable_progress_bars()


def _build(source: Source, given: str, asked: tuple[str | None, str | None, str | None], seed: int) -> Task:
    """Columns -> classes -> sound rows -> splits. Rows are index arrays; texts are not copied."""
    notes = list(source.notes)
    columns = choose_columns(source.splits["train"].features, source.where, *asked)
    classes = find_classes(source, columns[-1], notes)
    train = _sound_rows(source, "train", columns, classes, notes)
    notes += repeated("train", train.hashes, train.labels)

    given_splits = [split for split in ("test", "validation") if split in source.splits]
    test_split = next((split for split in given_splits if _labelled(source, split, columns[-1], notes)), "carved")
    if test_split == "carved":
        train, test = _hold_out(train, TEST_SHARE, TEST_CAP, np.random.default_rng([seed, 0]))
        if not len(test.labels):
            raise InputError(
                f"{source.where} has no two different texts in any class, too few to carve a test split from; add texts"
            )
        notes.append(f"no labelled test split: carved {len(test.labels)} texts from train")
    else:
        test = _sound_rows(source, test_split, columns, classes, notes)
        notes += repeated(test_split, test.hashes, test.labels)

    seen = np.isin(train.hashes, test.hashes)
    if seen.any():
        what = "text that also occurs" if seen.sum() == 1 else "texts that also occur"
        notes.append(f"warning: removed {seen.sum()} training {what} in test")
        train = train.where(~seen)
    train, dev = _hold_out(train, DEV_SHARE, DEV_CAP, np.random.default_rng([seed, 1]))
    emptied = np.flatnonzero(np.bincount(train.labels, minlength=len(classes)) == 0)
    if len(emptied):
        raise InputError(
            f"no training text is left in {source.where} for {listed(classes[c] for c in emptied)} "
            "once empty texts and texts of the test split are removed; add texts or drop the class"
        )
    if not len(dev.labels):
        notes.append("the dev split is empty: no class has two different training texts")
    notes += balance(classes, train.labels, dev.labels, test.labels)
    splits = {"train": train, "dev": dev, "test": test}
    chosen = {split: rows.table.select(rows.indices) for split, rows in splits.items()}
    told: dict[str, str | None] = {"text": asked[0], "text_pair": asked[1], "label": asked[2]}
    task = Task(source.name, given, **chosen, test_split=test_split, notes=tuple(notes), columns=told)
    task._labels.update({split: rows.labels for split, rows in splits.items()})
    task._hashes.update({split: rows.hashes for split, rows in splits.items()})
    return task


# Rows


class _Rows(NamedTuple):
    table: Dataset  # with the columns of a Task
    indices: np.ndarray  # int64 [n], into table
    labels: np.ndarray  # int64 [n]
    hashes: np.ndarray  # uint64 [n], of the texts

    def where(self, mask: np.ndarray) -> "_Rows":
        """Those that a mask, or indices, choose."""
        return _Rows(self.table, self.indices[mask], self.labels[mask], self.hashes[mask])


def _labelled(source: Source, split: str, column: str, notes: list[str]) -> bool:
    """Whether a split can be tested on: published test splits often hold no labels, or -1 only."""
    dataset = source.splits[split]
    if column in dataset.column_names and dataset.features[column] != Value("null"):
        check_labels(dataset.features[column], column, f"split '{split}' of {source.where}")
        if set(count_values(dataset, column, source.where)) - {None, "", -1, "-1"}:
            return True
    notes.append(f"the {split} split has no labels and is left out")
    return False


def _sound_rows(
    source: Source, split: str, columns: tuple[str, str | None, str], classes: list[str], notes: list[str]
) -> _Rows:
    """The rows of a split that have both a text and a label; what is dropped goes into the notes."""
    text, text_pair, label = columns
    raw, where = source.splits[split], f"split '{split}' of {source.where}"
    chosen = {text: "text"} | ({text_pair: "text_pair"} if text_pair else {})
    for column in chosen:
        if column not in raw.column_names or not is_text(raw.features[column]):
            raise InputError(f"no text column '{column}' in {where} (columns: {listed(raw.column_names)})")
    names = name_values(count_values(raw, label, where), declared_names(source, split, label), where)
    unknown = {name for name in names.values() if name is not None} - set(classes)
    if unknown:
        raise InputError(f"labels in {where} that train does not have: {listed(unknown)} (train: {listed(classes)})")
    ids = {value: classes.index(name) for value, name in names.items() if name is not None}
    labels = concatenate((encode(chunk, ids) for chunk in read_chunks(raw, label)), np.int64)
    full = np.ones(len(raw), bool)
    for column in chosen:
        full &= concatenate((has_text(chunk) for chunk in read_chunks(raw, column)), np.bool_)
    for dropped, what in ((labels < 0, "without a label"), ((labels >= 0) & ~full, "with an empty text")):
        if count := int(dropped.sum()):
            notes.append(f"{split}: dropped {count} {'row' if count == 1 else 'rows'} {what}")
    rows = np.flatnonzero(full & (labels >= 0))
    if not len(rows):
        raise InputError(f"{where} has no row with both a text and a label")
    dataset = raw.with_format(None).select_columns(list(chosen)).rename_columns(chosen)
    for column in chosen.values():
        if dataset.features[column].dtype != "string":
            dataset = dataset.cast_column(column, Value("string"))
    table = dataset.add_column("label", labels, feature=ClassLabel(names=classes))
    return _Rows(table, rows, labels[rows], hash_texts(table)[rows])


def _hold_out(rows: _Rows, share: float, cap: int, rng: np.random.Generator) -> tuple[_Rows, _Rows]:
    """What stays and what is held out, each text once; no text is on both sides, however often it occurs."""
    first = np.sort(np.unique(rows.hashes, return_index=True)[1])
    different = rows.where(first)
    held_out = different.where(carve(different.labels, share, cap, rng))
    return rows.where(~np.isin(rows.hashes, held_out.hashes)), held_out


def carve(labels: np.ndarray, share: float, cap: int, rng: np.random.Generator) -> np.ndarray:
    """Which rows to hold out: bool [n], about `share` of each class and `cap` rows in all.

    labels: int [n]. Every class keeps at least one row, and gives at least one if it has two.
    """
    counts = np.bincount(labels)
    take = np.rint(counts * min(share, cap / max(len(labels), 1))).astype(np.int64)
    take = np.minimum(np.maximum(take, 1), np.maximum(counts - 1, 0))
    shuffled = rng.permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    rank = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)  # of a row within its class
    held_out = np.zeros(len(labels), bool)
    held_out[by_class[rank < np.repeat(take, counts)]] = True
    return held_out

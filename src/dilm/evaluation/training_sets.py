"""Small training sets under test: ours, coresets, or anyone's jsonl files."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import reprlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ..errors import InputError, suggest
from ..files import valid_text
from ..models.feature_cache import fingerprint
from ..models.learner import Targets
from ..run_folder import PROBS, row_text
from ..task import Task, TextInput
from .statistics import FULL

TDD = "tdd"
"""Method of sets of learned embeddings; their nearest words are sets of method tdd-text."""
SETTINGS = "config.yaml"
"""File that a run or a selection leaves beside its sets; it says by which method they were made."""


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """A small labelled set: distilled texts, or a coreset of real ones. `number` tells sets of one method apart."""

    method: str
    dpc: int
    number: int
    texts: list[TextInput]
    labels: list[int]
    embeddings: Path | None = None
    """Learned embeddings that take the place of the texts (embedding-level distillation)."""
    label_probs: list[list[float]] | None = None
    """Soft labels [n, c] that take the place of the labels in training."""

    @property
    def targets(self) -> Targets:
        """What a learner is trained towards: the soft labels, if these are to be used, else the labels."""
        return self.labels if self.label_probs is None else self.label_probs

    @cached_property
    def content(self) -> str:
        """12 hex digits of texts and labels, in order: a changed file is another set."""
        learned = "" if self.embeddings is None else hashlib.sha256(self.embeddings.read_bytes()).hexdigest()
        soft = "" if self.label_probs is None else json.dumps(self.label_probs)
        return fingerprint([*self.texts, " ".join(map(str, self.labels)) + learned + soft])[:12]


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Texts on which learners are tested, and their classes [n]."""

    texts: list[TextInput]
    labels: np.ndarray


def read_sets(sources: Sequence[str | Path], task: Task, soft_labels: bool = False) -> list[TrainingSet]:
    """The sets in files and folders, ordered by method, DPC and number.

    A source is a jsonl file or a folder of them at any depth, or NAME=PATH to name the method; of a folder with a part
    named like the task only that part is taken. Without a name the method is that of the run or selection that made
    the sets, else the name of the file or folder. With `soft_labels` a set that has them ("label_probs"; sets of
    learned embeddings have none) is there twice, the second time with them, as method NAME-soft. Raises InputError for
    a source without sets, a set that does not fit the task, two sets of one method, DPC and number, and if no set has
    the soft labels that are wanted.
    """
    sets: dict[tuple[str, int, int], TrainingSet] = {}
    for source in map(str, sources):
        name, equals, path = source.partition("=")
        if not equals or Path(source).exists():
            name, path = "", source
        for training_set in _twins(_read_source(Path(path), name, task, soft_labels)):
            if training_set.method == FULL:
                raise InputError(
                    f"method '{FULL}' stands for all training texts; give the source another name, as in ours={path}"
                )
            key = training_set.method, training_set.dpc, training_set.number
            if key in sets:
                raise InputError(
                    f"two sets are number {key[2]} of method '{key[0]}' with {key[1]} texts per class (the second in "
                    f"{path}); give one of the sources a name of its own, as in better={path}"
                )
            sets[key] = training_set
    if soft_labels and all(one.label_probs is None for one in sets.values()):
        raise InputError(
            f"no set has soft labels, an object's {PROBS}: [one probability per class]; leave --soft-labels out"
        )
    return [sets[key] for key in sorted(sets)]


def _twins(sets: Iterable[TrainingSet]) -> Iterator[TrainingSet]:
    """Each set with its labels, and once more with its soft labels if it has them."""
    for one in sets:
        yield dataclasses.replace(one, label_probs=None)
        if one.label_probs is not None:
            yield dataclasses.replace(one, method=f"{one.method}-soft")


def _read_source(path: Path, name: str, task: Task, soft: bool) -> Iterator[TrainingSet]:
    if not path.exists():
        raise InputError(f"no file or folder '{path}' with sets")
    if path.is_file():
        yield from _read_sets_of(path, name or made_by(path.parent) or path.stem, None, task, soft)
        return
    folder = path / task.name if (path / task.name).is_dir() else path
    files = [f for f in folder.rglob("*.jsonl") if not _is_of_a_run(f.relative_to(folder))]
    if not files:
        raise InputError(f"no jsonl files in {folder}")
    groups: dict[Path, list[Path]] = {}
    for file in sorted(files, key=lambda f: (f.parent, _number(f) or 0, f.name)):
        groups.setdefault(file.parent, []).append(file)
    for parent, members in groups.items():
        method = name or made_by(parent) or path.resolve().name
        numbers = [_number(file) for file in members]
        if None in numbers or len(set(numbers)) < len(numbers):
            numbers = list(range(len(members)))
        for file, number in zip(members, numbers, strict=True):
            yield from _read_sets_of(file, method, number, task, soft)


def _read_sets_of(file: Path, method: str, number: int | None, task: Task, soft: bool) -> Iterator[TrainingSet]:
    """The set of a file; with learned embeddings beside it, these and the words nearest to them."""
    if embeddings_path(file).exists():
        words = _read_file(file, f"{method}-text", number, task, soft=False)
        yield dataclasses.replace(words, method=method, embeddings=embeddings_path(file))
        yield words
    else:
        yield _read_file(file, method, number, task, soft)


def _is_of_a_run(path: Path) -> bool:
    """Whether it is no set but what a run goes on from, or the finished runs of an evaluation or ablation."""
    store = path.parent.name == "evaluation" or path.parent.name.endswith(".runs")
    return "checkpoints" in path.parts or (store and re.fullmatch(r"rows-[0-9]+\.jsonl", path.name) is not None)


def embeddings_path(path: Path) -> Path:
    """Where the learned embeddings of a jsonl set lie."""
    return path.with_suffix(".safetensors")


def _number(path: Path) -> int | None:
    digits = re.findall(r"\d+", path.stem)
    return int(digits[-1]) if digits else None


def made_by(folder: Path) -> str | None:
    """The method that made the sets below a run's or selection's folder; None for anyone else's."""
    for place in (folder, *folder.resolve().parents[:2]):
        if (place / SETTINGS).is_file():
            try:
                settings = yaml.safe_load((place / SETTINGS).read_text(encoding="utf-8"))
            except (OSError, ValueError, RecursionError, yaml.YAMLError):
                return None
            return method_name(settings) if isinstance(settings, dict) else None
    return None


def method_name(settings: dict[str, Any]) -> str | None:
    """`dilm`, or `vanilla-lm` where stage 2 was left out; a selection names its method."""
    stage_2, method = settings.get("gradient_matching"), settings.get("method")
    if isinstance(stage_2, dict):
        return "dilm" if stage_2.get("max_steps") else "vanilla-lm"
    return method if isinstance(method, str) else None


def _read_file(path: Path, method: str, number: int | None, task: Task, soft: bool) -> TrainingSet:
    texts: list[TextInput] = []
    labels: list[int] = []
    probs: list[list[float] | None] = []
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {' '.join(str(error).split())}") from None
    for place, line in enumerate(lines, start=1):
        if line.strip():
            where = f"{path}, line {place}"
            row = _read_line(line, where)
            text, label = check_row(row, where, task)
            if not all(part.strip() for part in ([text] if isinstance(text, str) else text)):
                raise InputError(f"{where}: an empty text")
            texts.append(text)
            labels.append(label)
            probs.append(_probs(row, where, task) if soft else None)
    if not texts:
        raise InputError(f"{path} holds no texts")
    named = re.fullmatch(r"dpc_(\d+)", path.parent.name)
    dpc = int(named[1]) if named else max(Counter(labels).values())
    if None in probs and any(probs):
        raise InputError(f"{path}, line {probs.index(None) + 1}: has no {PROBS}, others of the set have")
    number = _number(path) or 0 if number is None else number
    return TrainingSet(method, dpc, number, texts, labels, label_probs=[own for own in probs if own] or None)


def _read_line(line: str, where: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: not JSON ({error})") from None


def _probs(row: dict[str, Any], where: str, task: Task) -> list[float] | None:
    """The soft label of a row, if it has one; InputError if it is none for the task."""
    probs = row.get(PROBS)
    if probs is None:
        return None
    numbers = isinstance(probs, list) and all(type(p) in (int, float) and 0 <= p <= 1 for p in probs)
    if not numbers or len(probs) != task.num_classes or abs(sum(probs) - 1) > 0.01:
        raise InputError(
            f"{where}: {PROBS} {reprlib.repr(probs)} are no probabilities of the {task.num_classes} classes of task "
            f"{task.name}"
        )
    return [float(p) for p in probs]


def check_row(row: Any, where: str, task: Task) -> tuple[TextInput, int]:
    """Text and label of a row; InputError if it does not fit the task."""
    wanted = ("text", "text_pair") if task.has_pairs else ("text",)
    if not isinstance(row, dict) or not all(isinstance(row.get(key), str) for key in wanted):
        raise InputError(f"{where}: expected an object with {' and '.join(wanted)}, as task {task.name} has them")
    if not task.has_pairs and row.get("text_pair") is not None:
        raise InputError(f"{where}: holds a pair, task {task.name} has single texts")
    label, name = _label(row.get("label"), where, task), row.get("label_name")
    if isinstance(name, str) and name in task.label_names and name != task.label_names[label]:
        raise InputError(
            f"{where}: label {label} is '{task.label_names[label]}' in task {task.name}, label_name says '{name}': the "
            "classes have another order there; pass the data that the set was made from as --task"
        )
    return row_text({key: valid_text(row[key]) for key in wanted}), label


def _label(label: Any, where: str, task: Task) -> int:
    names = task.label_names
    if isinstance(label, str) and label in names:
        return names.index(label)
    if isinstance(label, int) and not isinstance(label, bool) and 0 <= label < len(names):
        return label
    hint = suggest(label, names) if isinstance(label, str) else ""
    raise InputError(
        f"{where}: label {reprlib.repr(label)} is none of task {task.name}{hint} (0 to {len(names) - 1}, or a name)"
    )

"""The run folder: what is written where, atomically, and how it is read back (the formats are a contract)."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import platform
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from datasets import ClassLabel, Dataset, Features, List, Value
from jaxtyping import Float

from .config import RECORD, DistillConfig, flatten
from .durable import sweep, whole_file, write_text
from .errors import InputError
from .locks import locked
from .places import check_run
from .task import Task, TextInput

PROBS = "label_probs"
"""Key of a row's soft label, the probability of every class, beside its "label"."""


def set_path(folder: Path, dpc: int, number: int) -> Path:
    """Where a distilled set lies in a run folder."""
    return folder / f"dpc_{dpc}" / f"dataset_{number}.jsonl"


def set_files(folder: Path) -> dict[int, list[Path]]:
    """The jsonl files of the sets in a folder, by DPC and in the order of their numbers."""
    found: dict[int, list[Path]] = {}
    for size in (path for path in folder.glob("dpc_*") if path.is_dir()):
        numbers = {path: re.fullmatch(r"dataset_([0-9]+)\.jsonl", path.name) for path in size.iterdir()}
        files = sorted((path for path, name in numbers.items() if name), key=lambda path: int(path.stem[8:]))
        if files and re.fullmatch("[0-9]+", size.name[4:]):
            found[int(size.name[4:])] = files
    return dict(sorted(found.items()))


def text_row(text: TextInput) -> dict[str, str]:
    """{"text": ...} or {"text": ..., "text_pair": ...}."""
    return {"text": text} if isinstance(text, str) else {"text": text[0], "text_pair": text[1]}


def row_text(row: dict[str, Any]) -> TextInput:
    """The text, or the pair, of a row."""
    return row["text"] if row.get("text_pair") is None else (row["text"], row["text_pair"])


def write_pool(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Pool rows {"text", "text_pair"?, "label", "set", "predicted_label", "confidence", "nll"} as parquet."""
    with whole_file(path) as partial:
        pq.write_table(pa.Table.from_pylist(list(rows)), partial)


def read_pool(path: Path) -> list[dict[str, Any]]:
    """The rows of `write_pool`."""
    return pq.read_table(path).to_pylist()


def write_set(path: Path, texts: Sequence[TextInput], labels: Sequence[int], names: Sequence[str]) -> None:
    """A set as jsonl: {"text", "text_pair"?, "label", "label_name"}; see `add_label_probs`."""
    lines = [
        json.dumps(text_row(text) | {"label": int(label), "label_name": names[label]}, ensure_ascii=False)
        for text, label in zip(texts, labels, strict=True)
    ]
    write_text(path, "".join(line + "\n" for line in lines))


def add_label_probs(path: Path, probs: Float[np.ndarray, "n c"]) -> None:
    """Write "label_probs", what a classifier of the full data gives each class, beside the labels of a jsonl set."""
    lines = [
        json.dumps(row | {PROBS: [float(f"{p:.6g}") for p in own]}, ensure_ascii=False)
        for row, own in zip(read_rows(path), probs, strict=True)
    ]
    write_text(path, "".join(line + "\n" for line in lines))


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a jsonl set."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]


def read_set(path: Path) -> tuple[list[TextInput], list[int]]:
    """Texts and labels of a jsonl set."""
    rows = read_rows(path)
    return [row_text(row) for row in rows], [row["label"] for row in rows]


MAY_DIFFER = (
    *("gradient_matching.micro_batch_size", "save_steps", "save_total_limit", "report_to", "logging_steps"),
    *(
        f"evaluation.{name}"
        for name in (
            *("learners", "baselines", "seeds", "fine_tuned_sets"),
            *("learning_rate", "max_steps", "warmup_steps", "max_texts", "icl_calibrated"),
        )
    ),
)
"""Settings that a run may go on with other values of: they change no set, and evaluation runs what is missing."""

JUDGES = {f"evaluation.{name}" for name in ("learning_rate", "max_steps", "warmup_steps", "seeds")}
"""Those of them that do change the sets where several tries are judged (pool.tries)."""

MADE = ("generator", "pool.parquet", "dpc_*", "overlap.json", "results.json")
"""What the stages of a run leave beside its checkpoints."""


@contextlib.contextmanager
def open_run_folder(task: Task, config: DistillConfig, preset: str, resume: bool) -> Iterator[Path]:
    """Make the run folder and its config.yaml, or find the one to go on with; inside, it is locked.

    Raises InputError if it is in use by another process, holds another run or anything else, or cannot be written.
    """
    record = {"preset": preset, **plain(dataclasses.asdict(config)), "task_fingerprint": task.fingerprint}
    del record["output_dir"]
    folder = Path(config.output_dir or "runs")
    with contextlib.ExitStack() as stack:
        try:
            folder = folder if config.output_dir else _default_folder(task, resume)
            _check_place(folder, resume and bool(config.output_dir))
            (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(folder / "checkpoints", folder))
            _write_record(folder, record, resume)
            sweep(folder)
        except OSError as error:
            raise InputError(f"{folder} cannot be written: {error.strerror}; pass another --output-dir") from None
        yield folder


def _check_place(folder: Path, must_hold_run: bool) -> None:
    """InputError if the folder is not one for a run."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; pass another --output-dir")
    check_links(folder)
    if _record(folder) is not None:
        made = next((path for name in MADE for path in folder.glob(name)), None)
        if made and not _is_begun(folder):
            raise InputError(
                f"{folder} holds {made.name} of a run without its checkpoints/, and no run can go on without them; put "
                "them back, or pass another --output-dir"
            )
        return
    if must_hold_run:
        raise InputError(f"{folder} holds no run to go on with; leave --resume out to start one there")
    if any(path.is_file() for path in folder.rglob("[!.]*")):
        raise InputError(f"{folder} is not empty and holds no run of dilm; pass another --output-dir")


def _record(folder: Path) -> dict[str, Any] | None:
    """What the folder's config.yaml holds, if a run wrote it: many a project has a file of that name."""
    known = folder / "config.yaml"
    there = read_record(known) if known.exists() else None
    return there if isinstance(there, dict) and there.keys() >= RECORD else None


def _is_begun(folder: Path) -> bool:
    """Whether a stage has left anything to go on from."""
    return any((folder / "checkpoints").glob("[!.]*"))


def _write_record(folder: Path, record: dict[str, Any], resume: bool) -> None:
    """Write config.yaml; InputError if the folder holds a run that is another one, or not to be gone on with."""
    there, record = _record(folder), record | {"versions": versions()}
    if there is not None and _is_begun(folder):
        if not resume:
            raise InputError(f"{folder} holds a run already; pass --resume to go on with it, or another --output-dir")
        record["versions"] = there.get("versions")
        _check_same_run(folder, flatten(there), flatten(record))
    write_text(folder / "config.yaml", as_yaml(record))


def check_links(folder: Path) -> None:
    """InputError for a link inside a folder that is written to or uploaded: nothing is to land elsewhere."""
    link = next((path for path in folder.rglob("*") if path.is_symlink()), None)
    if link is not None:
        raise InputError(
            f"{link} is a link (to {link.resolve()}); nothing is written through links inside {folder}, "
            "nor uploaded: put what it points to in its place"
        )


def read_record(path: Path) -> Any:
    """A YAML or JSON file that a run or a selection left; InputError if it is damaged."""
    try:
        text = path.read_text(encoding="utf-8")
        return json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise InputError(f"{path} cannot be read: {' '.join(str(error).split())[:300]}") from None


def versions() -> dict[str, str]:
    """Of Python and of the packages that figures depend on."""
    packages = ("dilm", "torch", "transformers", "datasets", "scikit-learn")
    return {"python": platform.python_version(), **{p: metadata.version(p) for p in packages}}


def _check_same_run(folder: Path, there: dict[str, Any], now: dict[str, Any]) -> None:
    # A preset is a name for settings, and these are compared one by one.
    may_differ = {*MAY_DIFFER, "preset", *(key for key in there if key.startswith("versions."))}
    # A setting that did not exist when the run began had, in effect, its default.
    there = flatten(plain(dataclasses.asdict(DistillConfig()))) | there
    may_differ -= JUDGES if there["pool.tries"] != 1 else set()
    differing = [key for key in {**there, **now} if there.get(key) != now.get(key) and key not in may_differ]
    if differing:
        shown = "; ".join(f"{key}: {there.get(key)} there, {now.get(key)} now" for key in differing[:5])
        raise InputError(f"{folder} belongs to another run ({shown}); give the same settings, or another --output-dir")


def _default_folder(task: Task, resume: bool) -> Path:
    """runs/NAME, or the next free runs/NAME-2, -3, ..., made here; with resume the last one that is there, of this very
    task if there is such: runs/mine-2024 may be of a task called mine-2024."""
    name, number = task.name, 1
    if resume:
        pattern = re.compile(rf"{re.escape(name)}(?:-([1-9][0-9]*))?")
        there = {int(found[1] or 1): path for path in Path("runs").glob("*") if (found := pattern.fullmatch(path.name))}
        own = [n for n, path in there.items() if (_record(path) or {}).get("task_fingerprint") == task.fingerprint]
        if there:
            return there[max(own or there)]
    while True:
        folder = Path("runs") / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir(parents=True)  # of two processes one makes it
            return folder
        except FileExistsError:
            if not os.path.lexists(folder):  # it is `runs` itself: a file, or a link to nowhere
                raise
            number += 1


def as_yaml(record: dict[str, Any]) -> str:
    """YAML in the order of the record, in its own characters."""
    return yaml.safe_dump(record, sort_keys=False, allow_unicode=True)


def plain(value: Any) -> Any:
    """Dataclass dicts as YAML has them: lists for tuples."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return list(value) if isinstance(value, tuple) else value


@dataclass(frozen=True)
class Run:
    """A finished run: what `dilm.distill` returns, or `Run(folder)` finds on disk."""

    output_dir: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "output_dir", Path(self.output_dir))
        check_run(self.output_dir)

    @cached_property
    def results(self) -> dict[str, Any]:
        """results.json: rows, summary, diagnostics, warnings."""
        return read_record(self.output_dir / "results.json")

    @cached_property
    def config(self) -> dict[str, Any]:
        """The resolved configuration."""
        return read_record(self.output_dir / "config.yaml")

    @cached_property
    def datasets(self) -> dict[int, list[Dataset]]:
        """The distilled sets by DPC: {20: [set 0, set 1, ...]}; columns text, (text_pair,) label, (label_probs)."""
        return {dpc: [self._dataset(path) for path in paths] for dpc, paths in self.set_files().items()}

    def set_files(self) -> dict[int, list[Path]]:
        """The jsonl files by DPC, in the order of their numbers."""
        return set_files(self.output_dir)

    def generator(self, **kwargs: Any) -> Any:
        """The trained Generator."""
        from .models.generator import Generator

        length = {"max_length": self.config["generator_max_length"]}
        return Generator.from_pretrained(str(self.output_dir / "generator"), **{**length, **kwargs})

    def _dataset(self, path: Path) -> Dataset:
        rows = read_rows(path)
        kinds: dict[str, Any] = {
            "text": Value("string"),
            "text_pair": Value("string"),
            "label": ClassLabel(names=self.results["label_names"]),
            PROBS: List(Value("float32")),
        }
        features = Features({key: kind for key, kind in kinds.items() if all(row.get(key) is not None for row in rows)})
        return Dataset.from_list([{key: row[key] for key in features} for row in rows], features=features)

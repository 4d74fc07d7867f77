"""What the name of a source tells, without reading anything or importing anything heavy."""

from __future__ import annotations

import contextlib
from pathlib import Path

import yaml

from .config import RECORD
from .errors import InputError, suggest

EMBEDDED = ("reviews",)
FORMATS = ("csv", "tsv", "jsonl", "json", "parquet")


def check_place(source: str) -> None:
    """InputError for the name of a file or folder that is not there; anything else may be a Hub id."""
    if not source:
        raise InputError("the task's name is empty; pass a file, a folder, a Hub id or an embedded task")
    path = Path(source)
    if source in EMBEDDED or is_there(path) or (":" in source and is_there(Path(source.rpartition(":")[0]))):
        return
    if format_of(path) or source.startswith((".", "/", "~")) or source.count("/") > 1:
        siblings = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        known = f"embedded tasks: {', '.join(EMBEDDED)}{suggest(source, EMBEDDED)}"
        raise InputError(f"no file or folder '{source}'{suggest(path.name, siblings)} ({known})")


def is_there(path: Path) -> bool:
    """Whether there is a file or folder; InputError where nobody may look."""
    try:
        return path.exists()
    except OSError as error:
        raise InputError(f"'{path}' cannot be looked up: {error.strerror}") from None


def check_run(folder: str | Path) -> None:
    """InputError for a folder that holds no finished run."""
    for name in ("results.json", "config.yaml"):
        if not (Path(folder) / name).exists():
            raise InputError(f"{folder} holds no finished run (no {name})")


RUN_FILES = {"config.yaml", "results.json", "overlap.json", "report.html", "report.md", "report.json", "README.md"}


def check_free(path: Path) -> None:
    """InputError for the name of a file that belongs to the run in its folder."""
    record = path.parent / "config.yaml"
    if path.name not in RUN_FILES or not record.is_file():
        return
    there = None
    with contextlib.suppress(OSError, ValueError, RecursionError, yaml.YAMLError):  # of somebody else
        there = yaml.safe_load(record.read_text(encoding="utf-8"))
    if isinstance(there, dict) and there.keys() >= RECORD:
        raise InputError(f"{path} belongs to the run in {path.parent.resolve()}; pass another --output")


def format_of(path: Path) -> str | None:
    """The format that a file's name tells, "csv" also for "a.csv.gz"; None if it is none of FORMATS."""
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    packed = bool(suffixes) and suffixes[-1] == ".gz"
    kind = suffixes[-2 if packed else -1] if len(suffixes) > packed else ""
    return kind[1:] if kind[1:] in FORMATS and not (packed and kind == ".parquet") else None


def stem_of(path: Path) -> str:
    """The file's name without its format: "train" for "train.csv.gz"."""
    name = path.name[:-3] if path.name.lower().endswith(".gz") else path.name
    return Path(name).stem

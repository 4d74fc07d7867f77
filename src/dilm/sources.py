"""Where texts come from: `read_source` gives the raw splits of an embedded task, file, folder or Hub id.

What is in a file, `files` reads; what the columns mean, `columns` knows.
"""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
from datasets import Dataset

from .errors import InputError, suggest
from .files import listed, read_file, valid_text
from .places import EMBEDDED, check_place, format_of, stem_of

SPLIT_NAMES = {
    "train": ("train", "training"),
    "validation": ("validation", "dev", "val", "valid", "validation_matched"),
    "test": ("test", "test_matched"),
}


@dataclass(frozen=True)
class Source:
    """The raw splits of a dataset: "train" always, "validation" and "test" where there are any."""

    name: str
    where: str  # how error messages call it
    splits: dict[str, Dataset]
    label_names: tuple[str, ...] | None = None  # where they come separately from the label column


def read_source(source: Any) -> Source:
    """Find out what `source` is and read it; raises InputError for anything that cannot be read."""
    if isinstance(source, Mapping | Dataset):  # a DatasetDict is a mapping
        return Source("dataset", "the dataset", _name_splits(source, "the dataset"))
    if not isinstance(source, str | os.PathLike):
        raise InputError(f"expected a name, a path or a datasets.Dataset, found {type(source).__name__}")
    source = os.fspath(source)
    if source in EMBEDDED:
        from . import reviews

        splits = {split: Dataset.from_list(rows) for split, rows in reviews.splits().items()}
        return Source(source, source, splits, tuple(reviews.LABEL_NAMES))
    path, config = Path(source), None
    if not path.exists() and ":" in source:
        place, _, config = source.rpartition(":")
        path = Path(place)
    if path.is_dir():
        return _read_folder(path, config)
    if path.is_file() and config is None:
        return Source(_safe_name(stem_of(path)), path.name, {"train": read_file(path)})
    return _read_hub(source)


def _safe_name(text: str) -> str:
    return re.sub(r"[^\w.-]+", "_", text).strip("._-") or "task"


# Hub ids, folders, datasets in memory


def _read_hub(source: str) -> Source:
    check_place(source)
    path, _, config = source.partition(":")
    embedded = f"embedded tasks: {', '.join(EMBEDDED)}{suggest(source, EMBEDDED)}"
    name = _safe_name(config or path.rpartition("/")[2])
    problem = f"no file or folder '{source}', and no dataset of that name could be reached on the Hugging Face Hub"
    return Source(name, source, _load(path, config or None, source, problem, f"; {embedded}"))


def _load(path: str, config: str | None, where: str, problem: str, way_out: str = "") -> dict[str, Dataset]:
    try:
        loaded = datasets.load_dataset(path, config)
    except Exception as error:  # the Hub client and the loaders raise errors of many families
        said = " ".join(str(error.__cause__ or error).split())[:300]  # the cause tells more than "an error"
        hint = f" (a configuration goes after a colon, as in {path}:NAME)" if "config" in said.lower() else ""
        raise InputError(f"{problem}: {said}{hint}{way_out}") from error
    return _name_splits(loaded, where)


def _name_splits(loaded: Any, where: str) -> dict[str, Dataset]:
    splits = dict(loaded) if isinstance(loaded, Mapping) else {"train": loaded}
    for split, dataset in splits.items():
        if not isinstance(dataset, Dataset):
            raise InputError(f"split '{split}' of {where} is a {type(dataset).__name__}, not a datasets.Dataset")
    named = {
        ours: splits[theirs[0]]
        for ours, names in SPLIT_NAMES.items()
        if (theirs := [name for name in names if name in splits])
    }
    if "train" not in named and len(splits) == 1:
        return {"train": next(iter(splits.values()))}
    if "train" not in named:
        raise InputError(f"no split 'train' in {where} (splits: {listed(splits)}); rename one of them to train")
    return named


def _read_folder(folder: Path, config: str | None) -> Source:
    name = _safe_name(config or folder.resolve().name)
    files = _split_files(folder)
    if "train" in files and config is None:
        splits = {split: read_file(file) for split, file in files.items()}
        return Source(name, folder.name or str(folder), splits, _read_label_names(folder / "label_names.json"))
    if (folder / "README.md").exists() or any(folder.glob("*/*.parquet")) or (folder / "data").is_dir():
        where = f"{folder}:{config}" if config else str(folder)
        return Source(name, where, _load(str(folder), config, where, f"cannot load the dataset in {where}"))
    there = sorted(entry.name for entry in folder.iterdir())
    raise InputError(
        f"no training file in {folder} (files: {listed(there)}){suggest('train.jsonl', there)} "
        "expected train.csv, .tsv, .jsonl, .json or .parquet"
    )


def _split_files(folder: Path) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        for split, names in SPLIT_NAMES.items():
            if path.is_file() and format_of(path) and stem_of(path).lower() in names:
                if split in files:
                    raise InputError(
                        f"two {split} files in {folder}: '{files[split].name}' and '{path.name}'; keep one"
                    )
                files[split] = path
    return files


def _read_label_names(path: Path) -> tuple[str, ...] | None:
    if not path.exists():
        return None
    try:
        names = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path.name} is not valid JSON: {error}") from error
    valid = isinstance(names, list) and all(isinstance(name, str) and name.strip() for name in names)
    if not valid or len(set(names)) != len(names):
        raise InputError(f'{path.name}: expected a list of different names, like ["negative", "positive"]')
    return tuple(valid_text(name) for name in names)

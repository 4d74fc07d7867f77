"""Where texts come from: `read_source` gives the raw splits of an embedded task, file, folder or Hub id.

What is in a file, `files` reads; what the columns mean, `columns` knows.
"""

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import datasets
from datasets import Dataset, DatasetDict
from datasets import config as datasets_config

from .errors import InputError, suggest
from .files import listed, read_file, valid_text
from .places import EMBEDDED, check_place, format_of, stem_of

SPLIT_NAMES = {
    "train": ("train", "training"),
    "validation": ("validation", "dev", "val", "valid", "validation_matched"),
    "test": ("test", "test_matched"),
}
LABEL_NAMES = "label_names.json"


@dataclass(frozen=True)
class Source:
    """The raw splits of a dataset: "train" always, "validation" and "test" where there are any."""

    name: str
    where: str  # how error messages call it
    splits: dict[str, Dataset]
    label_names: tuple[str, ...] | None = None  # where they come separately from the label column
    notes: tuple[str, ...] = ()  # what a person should know about the reading


def read_source(source: Any) -> Source:
    """Find out what `source` is and read it; raises InputError for anything that cannot be read."""
    if isinstance(source, Mapping | Dataset):  # a DatasetDict is a mapping
        splits, notes = _name_splits(source, "the dataset")
        return Source("dataset", "the dataset", splits, notes=notes)
    if not isinstance(source, str | os.PathLike):
        raise InputError(f"expected a name, a path or a datasets.Dataset, found {_kind(source)}")
    source = os.fspath(source)
    check_place(source)
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
        return Source(_safe_name(stem_of(path)), path.name, {"train": read_file(path)}, notes=_links([path]))
    return _read_hub(source)


def _safe_name(text: str) -> str:
    return re.sub(r"[^\w.-]+", "_", text).strip("._-")[:80] or "task"


# Hub ids, folders, datasets in memory


def _read_hub(source: str) -> Source:
    path, _, config = source.partition(":")
    embedded = f"embedded tasks: {', '.join(EMBEDDED)}{suggest(source, EMBEDDED)}"
    name = _safe_name(config or path.rpartition("/")[2])
    problem = f"no file or folder '{source}', and no dataset of that name could be reached on the Hugging Face Hub"
    splits, notes = _load(path, config or None, source, problem, f"; {embedded}")
    return Source(name, source, splits, notes=notes)


WORDS_OF_CSV = {"keep_default_na": False, "na_values": [""]}
"""Only an empty field is no value: a class may be called None, and a text say null."""
Splits: TypeAlias = tuple[dict[str, Dataset], tuple[str, ...]]
"""Datasets by our names of splits, and notes."""


def _load(path: str, config: str | None, where: str, problem: str, way_out: str = "") -> Splits:
    try:
        with _uncounted():
            builder = datasets.load_dataset_builder(path, config)
            loaded = datasets.load_dataset(path, config, **(WORDS_OF_CSV if builder.name == "csv" else {}))
    except Exception as error:  # the Hub client and the loaders raise errors of many families
        said = " ".join(str(error.__cause__ or error).split())[:300]  # the cause tells more than "an error"
        hint = f" (a configuration goes after a colon, as in {path}:NAME)" if "config" in said.lower() else ""
        raise InputError(f"{problem}: {said}{hint}{way_out}") from error
    return _name_splits(loaded, where)


@contextmanager
def _uncounted() -> Iterator[None]:
    """Inside, datasets tells nobody what is loaded."""
    counted = datasets_config.HF_UPDATE_DOWNLOAD_COUNTS
    datasets_config.HF_UPDATE_DOWNLOAD_COUNTS = False
    try:
        yield
    finally:
        datasets_config.HF_UPDATE_DOWNLOAD_COUNTS = counted


def _name_splits(loaded: Any, where: str) -> Splits:
    splits = dict(loaded) if isinstance(loaded, Mapping) else {"train": loaded}
    if splits and all(isinstance(values, list) for values in splits.values()):
        raise InputError(f"expected splits, found columns ({listed(splits)}); pass datasets.Dataset.from_dict(...)")
    for split, dataset in splits.items():
        if isinstance(dataset, DatasetDict):
            raise InputError(f"'{split}' of {where} is a DatasetDict itself; take one of them, as in data['{split}']")
        if not isinstance(dataset, Dataset):
            raise InputError(f"expected a datasets.Dataset as '{split}' of {where}, found {_kind(dataset)}")
    named = {
        ours: splits[theirs[0]]
        for ours, names in SPLIT_NAMES.items()
        if (theirs := [name for name in names if name in splits])
    }
    if "train" not in named and len(splits) == 1:
        return {"train": next(iter(splits.values()))}, ()
    if "train" not in named:
        nearest = suggest("train", splits)
        raise InputError(
            f"no split 'train' in {where} (splits: {listed(splits)}{nearest}); rename one of them to train"
        )
    known = {name for names in SPLIT_NAMES.values() for name in names}
    return named, _unused([split for split in splits if split not in known])


def _unused(names: Sequence[str]) -> tuple[str, ...]:
    """A note on what is not read, for it may be misspelt."""
    if not names:
        return ()
    meant = next((hint for name in names if (hint := suggest(name.partition(".")[0], SPLIT_NAMES))), "")
    return (f"not read: {listed(names)}{meant or '; splits are named train, validation and test'}",)


def _kind(found: Any) -> str:
    """What a person brought instead of a Dataset, with the way to make one of it."""
    kind = type(found).__name__
    ways = {"DataFrame": "from_pandas", "list": "from_list"}
    if kind in ways:
        return f"{kind}; pass datasets.Dataset.{ways[kind]}(...)"
    return f"{kind}; load it without streaming" if kind.startswith("Iterable") else kind


def _read_folder(folder: Path, config: str | None) -> Source:
    name = _safe_name(config or folder.resolve().name)
    files = _split_files(folder)
    if "train" in files and config is None:
        splits = {split: read_file(file) for split, file in files.items()}
        others = [path for path in sorted(folder.iterdir()) if format_of(path) and path not in files.values()]
        notes = _unused([path.name for path in others if path.name != LABEL_NAMES]) + _links(files.values())
        return Source(name, folder.name or str(folder), splits, _read_label_names(folder / LABEL_NAMES), notes)
    if (folder / "README.md").exists() or any(folder.glob("*/*.parquet")) or (folder / "data").is_dir():
        where = f"{folder}:{config}" if config else str(folder)
        splits, notes = _load(str(folder), config, where, f"cannot load the dataset in {where}")
        return Source(name, where, splits, notes=notes)
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


def _links(paths: Iterable[Path]) -> tuple[str, ...]:
    """A note on every file that is a link: a folder that was handed over may name other files of this machine."""
    return tuple(f"{path.name} is a link to {path.resolve()}" for path in paths if path.is_symlink())


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

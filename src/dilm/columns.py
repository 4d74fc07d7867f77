"""What the columns of a raw dataset mean: which hold texts and labels, what classes the labels name, their values.

Contract: `choose_columns` finds the columns, `find_classes` and `name_values` name the classes; what is
ambiguous or cannot serve is an InputError. Columns are read in batches, never a whole dataset at once.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from datasets import ClassLabel, Dataset, Features, Value

from .errors import InputError, suggest
from .files import listed
from .sources import Source

PAIRS = (
    ("sentence1", "sentence2"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("question", "sentence"),
)
LABEL_COLUMNS = ("label", "labels", "class", "category", "intent")
NOT_TEXT = {"idx", "id", "index", "uid", "guid", "label_name", "label_text", *LABEL_COLUMNS}
LABEL_TYPES = r"u?int|bool|float|string|large_string"
MAX_CLASSES = 10_000
BATCH = 10_000
# A label missing among numbers; among words each of these is a name.
MISSING_NUMBERS = {"nan", "na", "n/a", "<na>", "null", "none"}
WHOLE = re.compile(r"(0|-?[1-9][0-9]{0,17})(\.0+)?")
REAL = re.compile(r"[+-]?[0-9]*\.?[0-9]+(e[+-]?[0-9]+)?", re.IGNORECASE)


# Columns


def choose_columns(
    features: Features, where: str, text: str | None, text_pair: str | None, label: str | None
) -> tuple[str, str | None, str]:
    """The names of the text, text_pair (or None) and label columns, where the user did not give all of them.

    Raises InputError, listing the columns, if one is missing, ambiguous or of a type that cannot serve.
    """
    names = list(features)
    for option, name in (("text", text), ("text-pair", text_pair), ("label", label)):
        if name is not None and name not in names:
            raise _no_column(name, option, names, where)
    label = label or next((name for name in LABEL_COLUMNS if name in names), None)
    if label is None:
        raise _no_column("label", "label", [name for name in names if name not in (text, text_pair)], where)
    strings = [name for name in names if is_text(features[name]) and name != label]
    if text is None and "text" not in strings:
        free = [name for name in strings if name != text_pair and name not in NOT_TEXT]
        known = [pair for pair in PAIRS if set(pair) <= set(names)]
        if len(free) == 1:
            text = free[0]
        elif known and text_pair in (None, known[0][1]):
            text, text_pair = known[0]
        elif "text" in names and label != "text":
            text = "text"  # it is there, but holds none
        else:
            raise _no_column("text", "text", free or names, where)
    text = text or "text"
    check_labels(features[label], label, where)
    if text_pair is None and "text_pair" in names and text != "text_pair":
        text_pair = "text_pair"
    for name in (text, text_pair):
        if name is not None and not is_text(features[name]):
            raise InputError(f"column '{name}' in {where} holds {_kind(features[name])}; expected text")
    if len({text, text_pair, label}) < 3:
        raise InputError(
            f"text, text pair and label of {where} must be three columns; found {text}, {text_pair}, {label}"
        )
    return text, text_pair, label


def _no_column(name: str, option: str, names: list[str], where: str) -> InputError:
    nearest = suggest(name, names)
    way_out = names[0] if len(names) == 1 else "COLUMN"
    return InputError(
        f"no column '{name}' in {where} (columns: {listed(names)}){nearest or f'; pass --{option} {way_out}'}"
    )


def check_labels(feature: Any, column: str, where: str) -> None:
    """InputError for a column of a type that holds no class names or numbers."""
    if not isinstance(feature, ClassLabel) and not re.match(LABEL_TYPES, _kind(feature)):
        raise InputError(f"column '{column}' in {where} holds {_kind(feature)}; expected class names or numbers")


def is_text(feature: Any) -> bool:
    """Whether a column holds strings."""
    return isinstance(feature, Value) and feature.dtype in ("string", "large_string")


def _kind(feature: Any) -> str:
    dtype = getattr(feature, "dtype", type(feature).__name__)
    return {"null": "nothing", "binary": "nested or mixed values"}.get(dtype, str(dtype))


# Labels


def find_classes(source: Source, column: str, notes: list[str]) -> list[str]:
    """The class names in order: as declared, else sorted (numbers by value); only those in train."""
    where, declared = source.where, declared_names(source, "train", column)
    counts = count_values(source.splits["train"], column, where)
    names = name_values(counts, declared, f"column '{column}' of {where}")
    missing = sum(rows for value, rows in counts.items() if names[value] is None)
    used = {name for name in names.values() if name is not None}
    if 2 * missing > counts.total() or not used:
        raise InputError(
            f"{missing} of {counts.total()} labels are missing in column '{column}' of {where}; "
            "pass --label COLUMN if the labels stand elsewhere"
        )
    if declared:
        classes = [name for name in declared if name in used]
        if len(classes) < len(declared):
            notes.append(f"left out classes without training text: {listed(set(declared) - used)}")
    else:
        classes = sorted(used, key=int if all(WHOLE.fullmatch(name) for name in used) else None)
        if 2 * len(classes) > counts.total() - missing:
            raise _not_classes(column, where, len(classes))
    if len(classes) < 2:
        raise InputError(f"column '{column}' of {where} has one class only ({listed(classes)}); expected two or more")
    return classes


def name_values(values: Iterable[Any], declared: Sequence[str] | None, where: str) -> dict[Any, str | None]:
    """The class name of every distinct value of a label column; None stands for a missing label.

    Whole numbers are named by themselves ("1.0" and 1 are "1"; "01" is a word), or index `declared`, where -1
    is a missing label. Raises InputError for fractions and for what `declared` does not know.
    """
    as_label = int if declared else str
    tidy = {v: v.strip() if isinstance(v, str) else as_label(v) if isinstance(v, bool) else v for v in values}
    present = set(tidy.values()) - {None, ""}
    numbers = None if present <= set(declared or ()) else _whole_numbers(present, where)
    names: dict[Any, Any]
    if numbers is None:
        names = {value: str(value) for value in present}
    elif not declared:
        names = {value: str(number) for value, number in numbers.items()}
    else:
        known = {-1: None, **dict(enumerate(declared))}
        names = {value: known.get(number, number) for value, number in numbers.items()}
    unknown = set(names.values()) - {*declared, None} if declared else None
    if declared and unknown:
        raise InputError(
            f"{where} has labels that are not declared: {listed(unknown)}; "
            f"expected 0 to {len(declared) - 1} or one of {listed(declared)}"
        )
    return {value: names.get(tidy[value]) for value in tidy}


def _whole_numbers(present: set[Any], where: str) -> dict[Any, int] | None:
    """The labels as whole numbers, without the missing ones; None if they are words."""
    written = {value: str(value) for value in present if str(value).lower() not in MISSING_NUMBERS}
    written |= {value: f"{value:.0f}" for value in present if isinstance(value, float) and value.is_integer()}
    if written and all(WHOLE.fullmatch(text) for text in written.values()):
        return {value: int(text.partition(".")[0]) for value, text in written.items()}
    if written and all(isinstance(value, float) or REAL.fullmatch(text) for value, text in written.items()):
        fraction = next((value for value in written if not float(value).is_integer()), None)
        if fraction is not None:
            raise InputError(
                f"{where} holds {fraction}, which looks like a regression target; "
                "expected classes: names or whole numbers"
            )
    return None


def declared_names(source: Source, split: str, column: str) -> Sequence[str] | None:
    """The class names that come with the data, in order: of the split, else of train; None if there are none."""
    for features in (source.splits[split].features, source.splits["train"].features):
        if source.label_names is None and isinstance(features[column], ClassLabel):
            return features[column].names
    return source.label_names


def count_values(dataset: Dataset, column: str, where: str) -> Counter[Any]:
    """How often each value of a label column occurs; InputError if there are too many for classes."""
    counts: Counter[Any] = Counter()
    for chunk in read_chunks(dataset, column):
        for entry in chunk.value_counts().to_pylist():
            value = entry["values"]
            counts[None if value != value else value] += entry["counts"]  # every NaN is a key of its own
        if len(counts) > MAX_CLASSES:
            raise _not_classes(column, where, len(counts))
    return counts


def _not_classes(column: str, where: str, found: int) -> InputError:
    return InputError(
        f"column '{column}' of {where} has {found} different labels, too many for its rows; "
        "it looks like free text or an id column; pass --label COLUMN"
    )


# Values


def read_chunks(dataset: Dataset, column: str) -> Iterator[pa.Array]:
    """A column as Arrow arrays of up to BATCH rows, each in one piece."""
    batches = dataset.select_columns([column]).with_format("arrow").iter(BATCH)
    for batch in cast(Iterator[pa.Table], batches):
        yield batch.column(column).combine_chunks()  # chosen rows come as a chunk each


def concatenate(arrays: Iterable[np.ndarray], dtype: Any) -> np.ndarray:
    """One array of all; an empty one of `dtype` if there are none."""
    return np.concatenate([np.empty(0, dtype), *arrays])


def encode(chunk: pa.Array, ids: dict[Any, int]) -> np.ndarray:
    """The id of every value: int64 [n]; -1 where it has none."""
    encoded: Any = chunk.dictionary_encode()
    labels = [ids.get(value, -1) for value in encoded.dictionary.to_pylist()]
    return np.array([*labels, -1], np.int64)[encoded.indices.fill_null(-1).to_numpy()]  # place -1 is the last


def has_text(chunk: pa.Array) -> np.ndarray:
    """Which strings hold more than white space: bool [n]."""
    trimmed = pc.utf8_trim_whitespace(chunk)  # pyright: ignore[reportAttributeAccessIssue]
    return np.asarray(pc.binary_length(trimmed).fill_null(0)) > 0  # pyright: ignore[reportAttributeAccessIssue]


def hash_texts(dataset: Dataset) -> np.ndarray:
    """One 64-bit hash for each text or pair of texts: uint64 [n]."""
    hashes = np.zeros(len(dataset), np.uint64)
    for column in dataset.column_names:
        if column != "label":
            texts = (
                text or b"" for chunk in read_chunks(dataset, column) for text in chunk.cast(pa.binary()).to_pylist()
            )
            # The hash of the first text seeds that of the second: ("a", "bc") is not ("ab", "c").
            hashes = np.fromiter(map(xxhash.xxh3_64_intdigest, texts, hashes.tolist()), np.uint64, len(dataset))
    return hashes

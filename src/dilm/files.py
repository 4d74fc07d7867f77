"""Read a text file: `read_file` gives the rows of a csv, tsv, jsonl, json or parquet file as a Dataset.

Contract: files are streamed, a few thousand rows at a time, into Arrow files in the datasets cache, which are
then memory-mapped: a file of any length needs little memory. Whatever is wrong with a file is an InputError.
"""

import csv
import gzip
import json
import os
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq
import xxhash
from datasets import ClassLabel, Dataset, Features, config

from .errors import InputError
from .places import format_of

ROWS = 5_000  # rows held in memory while a file is converted
CACHE_VERSION = 4  # raise it when the conversion changes
OPAQUE = pa.binary()  # stands for columns that are neither text nor a label: nested, mixed, images...; all null
JSON_TYPES = {str: pa.string(), bool: pa.bool_(), int: pa.int64(), float: pa.float64()}
Kinds = dict[str, pa.DataType]


def read_file(path: Path) -> Dataset:
    """The rows of a csv, tsv, jsonl, json or parquet file, memory-mapped; csv and tsv give strings.

    A `.json` file that is one list is parsed whole, all others are streamed. Raises InputError for a file
    that is broken, empty, not UTF-8 or of another format.
    """
    kind = format_of(path)
    if kind is None:
        raise InputError(f"'{path.name}' has no known format; expected .csv, .tsv, .jsonl, .json (or .gz), .parquet")
    cache = Path(config.HF_DATASETS_CACHE) / "dilm"
    try:
        # The key is the content, not the time of change: a stale cache cannot be read.
        with path.open("rb") as file:
            digest = xxhash.xxh3_128()
            while block := file.read(1 << 20):
                digest.update(block)
        arrow = cache / f"{digest.hexdigest()}-{kind}-{CACHE_VERSION}.arrow"
        if not arrow.exists():
            cache.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=cache) as folder:
                _convert(path, READERS[kind], Path(folder) / "rows.arrow")
                os.replace(Path(folder) / "rows.arrow", arrow)  # never a half-written file in the cache
        return Dataset.from_file(str(arrow))
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        encoding = "utf-16" if error.start == 0 and byte in (0xFE, 0xFF) else "latin1"  # its byte-order mark
        raise InputError(
            f"{path.name} is not UTF-8 (byte 0x{byte:02x}); "
            f"save it as UTF-8, for example: iconv -f {encoding} -t utf-8 {path.name}"
        ) from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{path.name} is not a whole gzip file: {error}") from error
    except pa.ArrowException as error:
        raise InputError(f"cannot read {path.name}: {' '.join(str(error).split())}") from error
    except OSError as error:
        raise InputError(f"cannot read {path.name} through the cache folder {cache}: {error}") from error


def listed(names: Iterable[Any], most: int = 12) -> str:
    """Quoted names for an error message, in one line: not too many or too long; a set's in order."""
    names = sorted(names, key=str) if isinstance(names, set) else list(names)
    plain = ("".join(c if c.isprintable() else " " for c in str(name)[:60]) for name in names[:most])
    return ", ".join(f"'{name}'" for name in plain) + (", ..." if len(names) > most else "") or "none"


def _convert(path: Path, tables: Callable[[Path, Kinds], Iterator[pa.Table]], target: Path) -> None:
    """Stream `tables` into an Arrow file; again while a column's type turned out wider, which ends: none narrows."""
    kinds: Kinds = {}
    while True:
        schema, fits = None, True
        with pa.OSFile(str(target), "wb") as sink:
            writer = None
            for table in tables(path, kinds):
                if writer is None:
                    schema = table.schema
                    writer = pa.ipc.new_stream(sink, schema)
                fits = fits and table.schema == schema
                if fits:
                    writer.write_table(table)
            if writer is None:
                raise InputError(f"{path.name} has no rows")
            writer.close()
        if fits:
            return


def _open(path: Path) -> IO[str]:
    packed = path.suffix.lower() == ".gz"
    return (gzip.open if packed else open)(path, "rt", encoding="utf-8-sig", newline="")  # type: ignore[return-value]


def _in_batches(rows: Iterator[Any]) -> Iterator[list[Any]]:
    while batch := list(islice(rows, ROWS)):
        yield batch


def _csv_rows(path: Path, delimiter: str, quoting: int) -> Iterator[list[str]]:
    """The header, then the rows. Strict: a forgotten quotation mark must not swallow the rows after it."""
    limit = csv.field_size_limit(2**31 - 1)  # the module's limit for one text is 131,072 characters
    try:
        with _open(path) as lines:
            reader = csv.reader(lines, delimiter=delimiter, quoting=quoting, strict=quoting != csv.QUOTE_NONE)  # type: ignore[arg-type]
            try:
                width = 0
                for row in filter(None, reader):
                    width = width or len(row)
                    if len(row) != width:
                        raise csv.Error(f"{len(row)} fields where the header has {width}")
                    yield row
            except csv.Error as error:
                raise InputError(
                    f"{path.name}, line {reader.line_num}: {error}; "
                    'put texts in double quotes and write quotation marks inside them twice ("")'
                ) from error
    finally:
        csv.field_size_limit(limit)


def _csv_tables(path: Path, _: Kinds, delimiter: str = ",", quoting: int = csv.QUOTE_MINIMAL) -> Iterator[pa.Table]:
    rows = _csv_rows(path, delimiter, quoting)
    header = [name.strip() or f"column_{i}" for i, name in enumerate(next(rows, []), 1)]
    _check_names(path, header)
    for batch in _in_batches(rows):
        columns = [pa.array(column, pa.string()) for column in zip(*batch, strict=True)]
        yield pa.table(columns, names=header)


def _check_names(path: Path, names: list[str]) -> None:
    if len(set(names)) != len(names):
        raise InputError(f"{path.name} has two columns of the same name (columns: {listed(names)})")


def _tsv_tables(path: Path, kinds: Kinds) -> Iterator[pa.Table]:
    """Many tsv files have bare quotation marks: they are syntax only if the whole file parses so, and not where rows
    would be swallowed: where texts of several lines are whole rows, line by line, without them."""
    several = _several_lines(path, csv.QUOTE_MINIMAL)
    bare = several is None or (several and _several_lines(path, csv.QUOTE_NONE) is not None)
    yield from _csv_tables(path, kinds, "\t", csv.QUOTE_NONE if bare else csv.QUOTE_MINIMAL)


def _several_lines(path: Path, quoting: int) -> bool | None:
    """Whether a field of a tsv file has several lines; None if the file does not parse so."""
    try:
        return sum("\n" in field for row in _csv_rows(path, "\t", quoting) for field in row) > 0
    except InputError:
        return None


def _json_rows(path: Path) -> Iterator[dict[str, Any]]:
    with _open(path) as lines:
        for number, line in enumerate(lines, 1):
            if number == 1 and line.lstrip().startswith("["):
                line += lines.read()
            try:
                rows = json.loads(line) if line.strip() else []
            except (ValueError, RecursionError) as error:
                raise InputError(
                    f"{path.name}, line {number} is not valid JSON ({error}); expected one object a line"
                ) from error
            for row in rows if isinstance(rows, list) else [rows]:
                if not isinstance(row, dict):
                    raise InputError(
                        f"{path.name}, line {number}: expected an object like "
                        f'{{"text": "...", "label": 1}}, found {type(row).__name__}'
                    )
                yield row


def _json_tables(path: Path, kinds: Kinds) -> Iterator[pa.Table]:
    for rows in _in_batches(_json_rows(path)):
        for name in dict.fromkeys(key for row in rows for key in row):
            kinds[name] = _widened(kinds.get(name, pa.null()), {type(row.get(name)) for row in rows})
        yield pa.table({valid_text(name): _json_column([row.get(name) for row in rows], kinds, name) for name in kinds})


def _widened(known: pa.DataType, found: set[type]) -> pa.DataType:
    kinds = {JSON_TYPES.get(kind, OPAQUE) for kind in found if kind is not type(None)} | {known} - {pa.null()}
    if kinds == {pa.int64(), pa.float64()}:
        return pa.float64()
    return OPAQUE if len(kinds) > 1 else next(iter(kinds), pa.null())


def _json_column(values: list[Any], kinds: Kinds, name: str) -> pa.Array:
    try:
        return pa.nulls(len(values), OPAQUE) if kinds[name] == OPAQUE else pa.array(values, kinds[name])
    except UnicodeEncodeError:
        return pa.array([value and valid_text(value) for value in values], pa.string())
    except (OverflowError, pa.ArrowInvalid):  # an integer of more than 64 bits
        kinds[name] = OPAQUE
        return pa.nulls(len(values), OPAQUE)


def valid_text(text: str) -> str:
    """Join escaped surrogate pairs; a lone half, which UTF-8 cannot hold, becomes U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _parquet_tables(path: Path, _: Kinds) -> Iterator[pa.Table]:
    with pq.ParquetFile(path) as file:
        _check_names(path, file.schema_arrow.names)
        class_labels = _class_labels(file.schema_arrow)
        for batch in file.iter_batches(batch_size=ROWS):
            batch.validate(full=True)  # text that is not UTF-8
            table = pa.table({name: _plain(batch.column(name)) for name in batch.schema.names})
            if class_labels:
                known = Features({**Features.from_arrow_schema(table.schema), **class_labels})
                table = table.cast(known.arrow_schema)
            yield table


def _class_labels(schema: pa.Schema) -> dict[str, ClassLabel]:
    """The columns with named classes; none if any column is of a kind that `datasets` does not know (a map, say)."""
    try:
        features = Features.from_arrow_schema(schema)
    except (ValueError, TypeError, NotImplementedError):
        return {}
    return {name: feature for name, feature in features.items() if isinstance(feature, ClassLabel)}


PLAIN = (pa.types.is_string, pa.types.is_integer, pa.types.is_boolean, pa.types.is_null)


def _plain(column: pa.Array) -> pa.Array:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()  # type: ignore[attr-defined]
    kind = column.type
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return column.cast(pa.string())
    plain = any(is_kind(kind) for is_kind in PLAIN)
    return column if plain or kind in (pa.float32(), pa.float64()) else pa.nulls(len(column), OPAQUE)


READERS: dict[str, Callable[[Path, Kinds], Iterator[pa.Table]]] = {
    "csv": _csv_tables,
    "tsv": _tsv_tables,
    "jsonl": _json_tables,
    "json": _json_tables,
    "parquet": _parquet_tables,
}

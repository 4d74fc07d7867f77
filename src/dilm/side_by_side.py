"""compare(): results side by side. Imports nothing heavy: it only reads what is measured."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .durable import write_json, write_text
from .errors import InputError
from .evaluation.comparison import compare as compare_rows
from .evaluation.statistics import FULL, row_key
from .places import check_free
from .report.comparison import comparison_csv, comparison_markdown

SUFFIXES = (".md", ".csv", ".json")


def compare(
    results: Sequence[str | Path] | str | Path,
    *,
    metric: str = "accuracy",
    against: str = "random",
    output: str | Path | None = None,
) -> dict[str, Any]:
    """The rows of result files and run folders, or of one, as a comparison (`evaluation.comparison.compare`).

    output: NAME writes NAME.md, NAME.csv and NAME.json. A run that stands in several files counts once. Raises
    InputError where two files have different sets under one name: they would become one method.
    """
    results = [results] if isinstance(results, (str, Path)) else results
    written = [] if output is None else _written(Path(output))
    for source in results:
        if _results_file(Path(source)).resolve() in [path.resolve() for path in written]:
            raise InputError(f"the comparison would be written over {source}, which it reads; pass another --output")
    for path in written:
        check_free(path)
    rows: dict[tuple, dict[str, Any]] = {}
    recipes: dict[str, dict[str, Any]] = {}
    contents: dict[tuple, tuple[str, Any]] = {}
    for number, source in enumerate(results):
        found, settings = _read_results(Path(source))
        recipes |= settings
        for row in found:
            content = row.get("content")
            place = row["set"] if content else f"{number}:{row['set']}"
            rows[row["task"], place, *row_key(row)] = row | {"set": place}
            name = f"{row['method']}, {row['dpc']} per class, set {row['set']}"
            own = row["learner"] if row["method"] == FULL else None
            first, known = contents.setdefault((row["task"], name, own), (str(source), content))
            if content and known and content != known:
                what = f"different texts under one name ({name})"
                way_out = "evaluate them under names of their own: dilm evaluate one=FOLDER other=FOLDER --task TASK"
                if own:
                    what = f"{own} trained on the full data in different ways"
                    way_out = (
                        "evaluate both with the same --full-data-steps, --full-data-epochs, --full-data-learning-rate"
                    )
                raise InputError(f"{first} and {source} have {what}; {way_out}")
    comparison = compare_rows(rows.values(), metric, against, recipes)
    if written:
        write_text(written[0], comparison_markdown(comparison))
        write_text(written[1], comparison_csv(comparison))
        write_json(written[2], comparison)
    return comparison


def _written(output: Path) -> list[Path]:
    """The files of a comparison: Markdown, csv, JSON."""
    if not output.name:
        raise InputError(f"--output '{output}' names no file; pass a NAME for NAME.md, NAME.csv and NAME.json")
    stem = output.with_suffix("") if output.suffix in SUFFIXES else output
    return [stem.with_name(stem.name + suffix) for suffix in SUFFIXES]


def _results_file(source: Path) -> Path:
    return source / "results.json" if source.is_dir() else source


def _read_results(path: Path) -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]:
    """The rows of a file, and the settings behind their recipes."""
    file = _results_file(path)
    try:
        results = json.loads(file.read_text(encoding="utf-8"))
        rows = results["rows"]
        for row in rows:
            if not all(isinstance(row[key], str) for key in ("task", "method", "learner")):
                raise TypeError("task, method and learner must be strings")
            if not isinstance(row["accuracy"], float) or {"set", "seed", "dpc"} - set(row):
                raise TypeError("accuracy must be a number; set, seed and dpc must be there")
    except FileNotFoundError:
        raise InputError(f"no results in {path}; expected a file of dilm evaluate or a finished run") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{file} is no results file ({type(error).__name__}: {error}); expected 'rows' with task, method, dpc, "
            "set, learner, seed and accuracy"
        ) from None
    return rows, results.get("recipes", {})

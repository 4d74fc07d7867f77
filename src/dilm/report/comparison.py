"""A comparison of methods as Markdown and csv; as JSON it is itself."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from ..plain_text import in_csv
from ..plain_text import in_markdown as escape

Facts = dict[str, Any]
FEW = 5  # sets; a spread of fewer is itself mostly chance
COLUMNS = (
    "task",
    "learner",
    "dpc",
    "method",
    "mean",
    "sd",
    "sd_seeds",
    "sets",
    "runs",
    "collapsed",
    "gain",
    "low",
    "high",
    "closed",
    "p",
    "p_corrected",
)


def comparison_csv(comparison: Facts) -> str:
    """One line per task, learner, DPC and method; empty where there is no value."""
    file = io.StringIO()
    writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: in_csv(value) for key, value in line.items()} for line in comparison["lines"])
    return file.getvalue()


def comparison_markdown(comparison: Facts, brief: bool = False) -> str:
    """Per task and learner a table method x DPC; unless `brief` then every figure, and the pairs that differ."""
    lines, against = comparison["lines"], comparison["against"]
    intro = f"Mean {comparison['metric']} ± sd over all runs, in percent."
    if any(line["method"] == against for line in lines):
        intro += f" Marks: other than {escape(against)} at the same size, \\* p < 0.05, \\*\\* p < 0.01."
    else:
        intro += f" No set of the method {escape(against)} is there, so there are no gains."
    few = sorted({line["method"] for line in lines if line["dpc"] and line["sets"] < FEW})
    if few:
        intro += f" Fewer than {FEW} sets, so that spread and p are rough: {escape(', '.join(few))}."
    parts = [f"{intro}\n{comparison['test']}."]
    for task, learner in dict.fromkeys((line["task"], line["learner"]) for line in lines):
        here = [line for line in lines if (line["task"], line["learner"]) == (task, learner)]
        parts.append(f"## {escape(task)}, {escape(learner)}\n\n{overview_table(here)}")
        if brief:
            continue
        parts.append(_details([line for line in here if line["dpc"]], against))
        pairs = [p for p in comparison["pairs"] if (p["task"], p["learner"]) == (task, learner)]
        parts.append(_differing(pairs))
    return "\n\n".join(part for part in parts if part) + "\n"


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; the first column is aligned left, the others right."""
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, rule, *rows))


def percent(value: float | None, signed: bool = False) -> str:
    """`12.3`, of a share; a dash for None."""
    return "-" if value is None else f"{100 * value:{'+' if signed else ''}.1f}"


def p_value(value: float | None) -> str:
    """A p-value for people."""
    return "-" if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"


def overview_table(lines: Sequence[Facts]) -> str:
    """Methods x DPC of one task and learner: mean ± sd and marks of significance."""
    sizes = sorted({line["dpc"] for line in lines if line["dpc"]})
    cells = {(line["method"], line["dpc"]): line for line in lines}
    methods = list(dict.fromkeys(line["method"] for line in lines if line["dpc"]))
    rows = [[escape(m), *(_cell(cells.get((m, dpc))) for dpc in sizes)] for m in methods]
    full = next((line for line in lines if not line["dpc"]), None)
    if full:
        rows.append(["all training texts", *[_cell(full)] * len(sizes)])
    return markdown_table(["method", *(f"{dpc} per class" for dpc in sizes)], rows)


def _cell(line: Facts | None) -> str:
    if line is None:
        return "-"
    p = line.get("p_corrected")
    mark = "" if p is None or p >= 0.05 else " \\*\\*" if p < 0.01 else " \\*"
    return percent(line["mean"]) + ("" if line["sd"] is None else f" ± {percent(line['sd'])}") + mark


def _details(lines: Sequence[Facts], against: str) -> str:
    header = ["method", "per class", "sets", "runs", "sd within a set", "collapsed"]
    header += [f"gain over {escape(against)}", "95% interval", "gap closed", "p", "p corrected"]
    rows = [
        [
            escape(line["method"]),
            str(line["dpc"]),
            str(line["sets"]),
            str(line["runs"]),
            percent(line["sd_seeds"]),
            str(line["collapsed"]),
            percent(line.get("gain"), signed=True),
            _interval(line),
            "-" if line.get("closed") is None else f"{line['closed']:.0%}",
            p_value(line.get("p")),
            p_value(line.get("p_corrected")),
        ]
        for line in lines
    ]
    return markdown_table(header, rows) if rows else ""


def _interval(line: Facts) -> str:
    if line.get("low") is None:
        return "-"
    return f"{percent(line['low'], signed=True)} to {percent(line['high'], signed=True)}"


def _differing(pairs: Sequence[Facts]) -> str:
    found = sorted(
        (p for p in pairs if p["p_corrected"] is not None and p["p_corrected"] < 0.05),
        key=lambda p: (p["dpc"], p["p_corrected"]),
    )
    if not found:
        return "No two methods differ significantly." if pairs else ""
    rows = []
    for p in found:
        better, worse = (p["method"], p["other"]) if p["difference"] > 0 else (p["other"], p["method"])
        gain = percent(abs(p["difference"]), signed=True)
        rows.append([f"{escape(better)} over {escape(worse)}", str(p["dpc"]), gain, p_value(p["p_corrected"])])
    return markdown_table(["pairs that differ", "per class", "points", "p corrected"], rows)

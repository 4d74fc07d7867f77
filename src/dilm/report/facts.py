"""Everything that a report says, as one dict: the renderers only lay it out."""

from __future__ import annotations

import json
from typing import Any

from ..run_folder import Run, read_set, text_row
from .source import source_card

Facts = dict[str, Any]

METHOD_NAMES = {
    "dilm": "distilled (DiLM)",
    "random": "random real texts",
    "k-centers": "K-centers of real texts",
    "full": "all training texts",
}
SHOWN_PER_CLASS = 50


def run_facts(run: Run) -> Facts:
    """Facts of a finished run: what was distilled, how well, the texts themselves, diagnostics, costs, settings."""
    results, config = run.results, run.config
    return {
        "task": results["task"],
        "source": config["task"],
        "source_card": source_card(config["task"], run.output_dir),
        "overlap": _overlap(run),
        "label_names": results["label_names"],
        "split_sizes": results["split_sizes"],
        "test_split": "held-out test" if results["test_split"] == "carved" else results["test_split"],
        "notes": results["notes"],
        "dpc": config["dpc"],
        "sets": config["sets"],
        "preset": config["preset"],
        "seed": config["seed"],
        "generator": config["generator"],
        "learner": config["learner"],
        "summary": results["summary"],
        "tables": summary_tables(results["summary"]),
        "warnings": results["warnings"],
        "diagnostics": results["diagnostics"],
        "samples": results["samples"],
        "seconds": results["seconds"],
        "versions": config["versions"],
        "folder": str(run.output_dir),
        "texts": first_set_texts(run),
        "has_pairs": any("text_pair" in row for rows in first_set_texts(run).values() for row in rows),
    }


def _overlap(run: Run) -> Facts | None:
    """overlap.json, or None: it holds training texts, so it may have been taken out of the folder."""
    path = run.output_dir / "overlap.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def summary_tables(summary: list[Facts]) -> list[Facts]:
    """One table per learner: its columns are the sizes, its rows the methods, the full data last."""
    tables = []
    for learner in dict.fromkeys(line["learner"] for line in summary):
        lines = [line for line in summary if line["learner"] == learner]
        sizes = sorted({line["dpc"] for line in lines if line["method"] != "full"})
        methods = list(dict.fromkeys(line["method"] for line in lines if line["method"] != "full"))
        full = next((line for line in lines if line["method"] == "full"), None)
        cells = {(line["method"], line["dpc"]): line for line in lines}
        tables.append({"learner": learner, "sizes": sizes, "methods": methods, "full": full, "cells": cells})
    return tables


def cell_text(line: Facts | None) -> str:
    """`81.2 ± 1.4`: mean and sd in percent."""
    if line is None:
        return "-"
    spread = "" if line["sd"] is None else f" ± {100 * line['sd']:.1f}"
    return f"{100 * line['mean']:.1f}{spread}"


def p_text(p: float | None) -> str:
    """A p-value for people."""
    return "p n/a" if p is None else "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def gains(summary: list[Facts]) -> list[str]:
    """Sentences: how the distilled sets stand beside each baseline, with the test of significance."""
    sentences = []
    for line in summary:
        if line["method"] != "dilm":
            continue
        parts = [
            f"{100 * line[f'gain_{other}']:+.1f} points against {METHOD_NAMES[other]} ({p_text(line[f'p_{other}'])})"
            for other in ("random", "k-centers")
            if f"gain_{other}" in line
        ]
        if parts:
            sentences.append(f"{line['learner']}, {line['dpc']} per class: {', '.join(parts)}")
    return sentences


def first_set_texts(run: Run) -> dict[str, list[Facts]]:
    """The texts of the first set of the largest size, by class name (at most SHOWN_PER_CLASS a class)."""
    files = run.set_files()
    texts, labels = read_set(files[max(files)][0])
    shown: dict[str, list[Facts]] = {name: [] for name in run.results["label_names"]}
    for text, label in zip(texts, labels, strict=True):
        members = shown[run.results["label_names"][label]]
        if len(members) < SHOWN_PER_CLASS:
            members.append(text_row(text))
    return shown

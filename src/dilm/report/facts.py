"""Everything that a report says, as one dict: the renderers only lay it out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ..diagnostics import words
from ..errors import InputError
from ..evaluation.statistics import set_means
from ..progress import clock
from ..run_folder import PROBS, Run, read_rows, read_set, text_row
from ..task import TextInput
from .command import command
from .source import source_card

Facts = dict[str, Any]

METHOD_NAMES = {
    "dilm": "distilled (DiLM)",
    "vanilla-lm": "vanilla LM",
    "random": "random real texts",
    "k-centers": "K-centers of real texts",
    "full": "all training texts",
}
OURS = ("dilm", "vanilla-lm")
"""Methods of a run's own sets: vanilla LM without stage 2."""
SHOWN_PER_CLASS = 50
NEAREST_SHOWN = 10
UNKNOWN_LICENCE = "unknown to dilm; it applies to the texts as far as it reaches"
KEPT = ("seconds", "diagnostics", "warnings", "samples", "notes", "label_names", "split_sizes", "task")
ADDED = ("learning_curves", "map", "peak_memory", "machine")
"""Keys of results.json that runs of earlier versions do not have."""


def run_facts(run: Run) -> Facts:
    """Facts of a finished run: what was distilled, how well, the texts themselves, diagnostics, costs, settings.

    Made from results.json, config.yaml, the sets, and overlap.json where it is there.
    """
    results, config = run.results, run.config
    if {*KEPT} - {*results}:
        raise InputError(
            f"{run.output_dir / 'results.json'} is not that of a run: it has no {min({*KEPT} - {*results})}"
        )
    if not run.set_files():
        raise InputError(f"{run.output_dir} holds no distilled sets; put its folders dpc_* back")
    overlap, summary = _overlap(run), _with_set_means(results["summary"], results["rows"])
    texts, card = first_set_texts(run, overlap), source_card(config["task"], run.output_dir)
    return {
        **{key: results[key] for key in KEPT},
        **{key: results.get(key, {}) for key in ADDED},
        "source": config["task"],
        "source_card": card,
        "licence": licence(card),
        "test_split": "held-out test" if results["test_split"] == "carved" else results["test_split"],
        "shown": shown_texts(max(config["dpc"])),
        "generator_max_length": config.get("generator_max_length", 64),
        **{key: config[key] for key in ("dpc", "sets", "preset", "seed", "generator", "learner", "versions")},
        "summary": summary,
        "tables": summary_tables(summary),
        "folder": str(run.output_dir),
        "texts": texts,
        "has_pairs": any("text_pair" in row for rows in texts.values() for row in rows),
        "has_soft_labels": all(PROBS in row for paths in run.set_files().values() for row in read_rows(paths[0])),
        "overlap": overlap and {**overlap, "nearest": nearest_pairs(texts)},
        "tries": config["pool"].get("tries", 1),
        "matched": "mean feature" if config["gradient_matching"].get("objective") == "distribution" else "gradient",
        "command": command(config),
        "configuration": (run.output_dir / "config.yaml").read_text(encoding="utf-8"),
    }


def licence(card: Facts) -> str | None:
    """The licence that a source's card names, or None."""
    name = card.get("license_name") or card.get("license")
    return name and (", ".join(map(str, name)) if isinstance(name, list) else str(name))


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


def _with_set_means(summary: list[Facts], rows: list[Facts]) -> list[Facts]:
    def of(line: Facts) -> list[float]:
        return set_means(
            [row for row in rows if all(row[key] == line[key] for key in ("learner", "dpc", "method"))]
        ).tolist()

    return [{**line, "set_means": of(line)} for line in summary]


def method_name(method: str) -> str:
    """A method for people."""
    return METHOD_NAMES.get(method, method)


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
        if line["method"] not in OURS:
            continue
        parts = [
            f"{100 * line[f'gain_{other}']:+.1f} points against {METHOD_NAMES[other]} ({p_text(line[f'p_{other}'])})"
            for other in ("random", "k-centers")
            if f"gain_{other}" in line
        ]
        if parts:
            sentences.append(f"{line['learner']}, {line['dpc']} per class: {', '.join(parts)}")
    return sentences


def headline(facts: Facts) -> list[tuple[str, str]]:
    """The figures that come first, each with its words: how few texts, how well learners do on them, how long."""
    largest, classes = max(facts["dpc"]), len(facts["label_names"])
    found = [(f"{largest * classes:,}", f"texts that stand in for {facts['split_sizes']['train']:,}")]
    for part in facts["tables"]:
        own, full = part["cells"].get((part["methods"][0], largest)), part["full"]
        if own:
            ceiling = f", on all training texts {100 * full['mean']:.1f}" if full else ""
            found.append((f"{100 * own['mean']:.1f} %", f"accuracy of {part['learner']} trained on them{ceiling}"))
    peak = max((stage.get("ram", 0) for stage in facts["peak_memory"].values()), default=0)
    on = "".join(f", {part}" for part in (facts["machine"], f"{memory_size(peak)} at most" if peak else "") if part)
    return [*found, (clock(sum(facts["seconds"].values())), f"from the data to this page{on}")]


def memory_size(number: int) -> str:
    """Bytes for people."""
    return f"{number / 1e9:.1f} GB" if number >= 1e9 else f"{number / 1e6:.0f} MB"


# The texts


def first_set_texts(run: Run, overlap: Facts | None = None) -> dict[str, list[Facts]]:
    """The texts of the first set of the largest size, by class name (at most SHOWN_PER_CLASS a class).

    Each is {"text", "text_pair"?, "words"}, and with the overlap {"nearest_text", "char_similarity", "shared_words",
    "exact"}.
    """
    files = run.set_files()
    texts, labels = read_set(files[max(files)][0])
    near = {} if overlap is None else {_key(row["text"]): row for row in overlap["distilled"]}
    shown: dict[str, list[Facts]] = {name: [] for name in run.results["label_names"]}
    for text, label in zip(texts, labels, strict=True):
        members = shown[run.results["label_names"][label]]
        if len(members) < SHOWN_PER_CLASS:
            found = near.get(_key(text), {})
            known = {key: found[key] for key in ("nearest_text", "char_similarity", "shared_words", "exact") if found}
            members.append(text_row(text) | {"words": len(words(text))} | known)
    return shown


def shown_texts(dpc: int) -> str:
    """Which texts `first_set_texts` gives, in words."""
    return f"set 0 of {dpc} per class" + (f", the first {SHOWN_PER_CLASS} of each" if dpc > SHOWN_PER_CLASS else "")


def _key(text: Any) -> Any:
    return text if isinstance(text, str) else tuple(text)


def nearest_pairs(texts: dict[str, list[Facts]]) -> list[Facts]:
    """Of the texts shown, those nearest to a training text: the longest shared runs of words first."""
    rows = [{"label_name": name, **row} for name, members in texts.items() for row in members if "nearest_text" in row]
    rows.sort(key=lambda row: (-row["exact"], -row["shared_words"], -row["char_similarity"]))
    return rows[:NEAREST_SHOWN]


def in_one_line(text: TextInput | Sequence[str]) -> str:
    """A text, or both of a pair, in one line."""
    return " | ".join(" ".join(part.split()) for part in ([text] if isinstance(text, str) else text))

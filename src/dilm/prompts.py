"""Few-shot prompts: the layout in which in-context learning is measured, and prompt(), which fills it from a run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from .errors import InputError
from .run_folder import read_rows, row_text, set_files, text_row
from .task import TextInput

PLACEHOLDERS = ("{text}", "{text_pair}")
"""Where the text in question goes, in a prompt that is made without one."""
Row = dict[str, Any]


def layout(text: TextInput) -> str:
    """A text, or a pair, up to where its label belongs."""
    flat = [" ".join(part.split()) for part in ((text,) if isinstance(text, str) else text)]
    return f"Text: {flat[0]}\nLabel:" if len(flat) == 1 else f"Text 1: {flat[0]}\nText 2: {flat[1]}\nLabel:"


def example(text: TextInput, label_name: str) -> str:
    """A text with its label."""
    return f"{layout(text)} {label_name}\n\n"


def shuffled(number: int, seed: int) -> list[int]:
    """The order of that many examples."""
    return np.random.default_rng(seed).permutation(number).tolist()


def prompt(
    folder: str | Path,
    *,
    dpc: int | None = None,
    set: int = 0,
    format: Literal["plain", "chat"] = "plain",
    template: str | None = None,
    query: Sequence[str] = (),
    seed: int = 0,
) -> str:
    """A few-shot prompt from a distilled set of a run folder, or from a coreset of `select`.

    dpc: size of the set, by default the smallest there is. set: its number. seed: draws the order of the examples.
    format: `plain`, to the character what learners `icl:ID` read; or `chat`, a JSON list of messages with role and
    content. template: a Jinja template (a string with {{ or {%, or a file) in place of a format; it is given
    `examples` and `query`, with the fields text, text_pair (of pairs), and of examples label, label_name and what else
    a row has, and `label_names`. query: the text in question, or both texts of a pair; by default {text} and
    {text_pair} stand there.

    Raises InputError where there is no such set, for a query of another kind, and for a template that fails.
    """
    rows = _chosen_rows(Path(folder), dpc, set)
    rows = [rows[i] for i in shuffled(len(rows), seed)]
    asked = _query(query, isinstance(row_text(rows[0]), tuple))
    names = [name for _, name in sorted({(row["label"], row["label_name"]) for row in rows})]
    if template is not None:
        return _filled(template, examples=rows, query=text_row(asked), label_names=names)
    if format == "chat":
        return json.dumps(_messages(rows, asked, names), ensure_ascii=False, indent=1)
    return "".join(example(row_text(row), row["label_name"]) for row in rows) + layout(asked)


def _chosen_rows(folder: Path, dpc: int | None, number: int) -> list[Row]:
    sizes = set_files(folder)
    if not sizes:
        raise InputError(f"no sets in {folder}; expected a folder of dilm distill or dilm select, with dpc_*/*.jsonl")
    if dpc is not None and dpc not in sizes:
        raise InputError(f"no sets with {dpc} texts per class in {folder}; sizes: {', '.join(map(str, sizes))}")
    files = sizes[min(sizes) if dpc is None else dpc]
    if number not in range(len(files)):
        raise InputError(f"no set {number} in {files[0].parent}; sets: 0 to {len(files) - 1}")
    try:
        rows = read_rows(files[number])
        if not rows or not all(isinstance(row[key], str) for row in rows for key in ("text", "label_name")):
            raise ValueError("text and label_name must be strings")
        sorted(row["label"] for row in rows)
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{files[number]} is no set of dilm ({type(error).__name__}: {error})") from None
    return rows


def _query(query: Sequence[str], pairs: bool) -> TextInput:
    given = tuple(query) or PLACEHOLDERS[: 2 if pairs else 1]
    if len(given) != (2 if pairs else 1):
        expected = "two texts, as the examples are pairs" if pairs else "one text, in quotes"
        raise InputError(f"the query has {len(given)} texts; expected {expected}")
    return (given[0], given[-1]) if pairs else given[0]


def _messages(rows: Sequence[Row], asked: TextInput, names: Sequence[str]) -> list[Row]:
    told = f"Name the class of each text. Answer with one of these labels, and nothing else: {', '.join(names)}"
    messages = [{"role": "system", "content": told}]
    for row in rows:
        messages += [
            {"role": "user", "content": layout(row_text(row))},
            {"role": "assistant", "content": row["label_name"]},
        ]
    return [*messages, {"role": "user", "content": layout(asked)}]


def _filled(template: str, **variables: Any) -> str:
    from jinja2 import StrictUndefined, TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    if "{{" not in template and "{%" not in template:
        try:
            template = Path(template).read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            said = " ".join(str(error).split())
            raise InputError(f"the template is neither Jinja (with {{{{ or {{%) nor a file in UTF-8: {said}") from None
    environment = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    try:
        return environment.from_string(template).render(variables)
    except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError) as error:
        raise InputError(
            f"the template fails: {' '.join(str(error).split())}; it is given examples and query, each with text (and "
            "text_pair), examples with label and label_name, and label_names"
        ) from None

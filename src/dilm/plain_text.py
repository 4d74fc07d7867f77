"""Texts, label names and other people's words as plain text, wherever they are shown.

What a dataset, a folder or a file says is shown as it is, but never obeyed: not by a terminal, not by Markdown, not by
a spreadsheet. (HTML is escaped by the templates, YAML and JSON by their writers.)
"""

import re
import unicodedata
from typing import Any

JOINERS = "\u200c\u200d"  # within words of some scripts, and within emoji


def visible(text: str) -> str:
    r"""Text in one line without anything that a terminal acts on: control characters become \x1b and the like.

    So do characters that reorder others (right-to-left overrides), line separators and halves of surrogate pairs.
    """
    if text.isprintable():
        return text
    return "".join(c if _is_shown(c) else c.encode("unicode_escape").decode() for c in text)


def _is_shown(character: str) -> bool:
    return character.isprintable() or character in JOINERS or unicodedata.category(character) == "Zs"


def in_markdown(text: str) -> str:
    """Text in one line that is plain text in Markdown, also in a cell of a table: no markup, no HTML, no link."""
    escaped = re.sub(r"([\\`*_{}\[\]<>#|!~&$])", r"\\\1", visible(" ".join(text.split())))
    escaped = re.sub(r"^(?=[-+](?:[\s-]|$))|^(\d+)(?=[.)](?:\s|$))", r"\1\\", escaped)  # no item of a list, no rule
    return re.sub(r":(?=//)|(?<=www)\.", r"\\\g<0>", escaped, flags=re.IGNORECASE)


def from_markdown(markdown: str) -> str:
    """Markdown for a terminal: without the backslashes of `in_markdown`."""
    return re.sub(r"\\([^\sa-zA-Z0-9])", r"\1", markdown)


def in_csv(value: Any) -> Any:
    """A cell that no spreadsheet takes for a formula; numbers stay numbers."""
    if not isinstance(value, str):
        return value
    return visible(f"'{value}" if value[:1] in tuple("=+-@\t\r") else value)

"""What the pages need beyond Markdown: equations as MathML, and the docstrings' lists of arguments as lists."""

import re
from typing import Any

import griffe
from latex2mathml.converter import convert

EQUATION = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)
ARGUMENTS = re.compile(r"^([a-z_]+(?:, [a-z_]+)*): ", re.MULTILINE)


def on_page_content(html: str, **_: Any) -> str:
    """Equations, in TeX between dollars, as MathML, which browsers draw by themselves."""

    def drawn(found: re.Match) -> str:
        tex = found[3].replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">")
        return convert(tex.strip(), display="block" if found[2] == "[" else "inline")

    return EQUATION.sub(drawn, html)


class ArgumentLists(griffe.Extension):
    """Lines like `text, label: the columns` become items of a list."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called for every object that is documented."""
        if obj.docstring and ARGUMENTS.search(obj.docstring.value):
            obj.docstring.value = "\n\n".join(map(as_list, obj.docstring.value.split("\n\n")))


def as_list(paragraph: str) -> str:
    """A paragraph of which every item begins with the names of arguments as a list; any other as it is."""
    if not ARGUMENTS.match(paragraph):
        return paragraph
    return ARGUMENTS.sub(r"- **`\1`**: ", re.sub(r"\n(?![a-z_, ]+: )", "\n    ", paragraph))

"""The HTML page: self-contained, no script, no external resource, every text escaped."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined

from ..progress import clock
from .facts import METHOD_NAMES, Facts, cell_text, gains


def html_page(facts: Facts) -> str:
    """Render the page from the facts."""
    environment = Environment(
        loader=PackageLoader("dilm.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters |= {"cell": cell_text, "clock": clock, "percent": lambda share: f"{100 * share:.1f}%"}
    template = environment.get_template("report.html")
    pairs = zip(facts["samples"]["before"], facts["samples"]["after"], strict=True)
    return template.render(
        facts, pairs_of_samples=list(pairs), method_names=METHOD_NAMES, gains=gains(facts["summary"])
    )

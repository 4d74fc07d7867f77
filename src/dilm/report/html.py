"""The HTML page: one file, no external resource, every text escaped, complete without its small script."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ..progress import clock
from .facts import UNKNOWN_LICENCE, Facts, cell_text, gains, headline, in_one_line, memory_size, method_name
from .figures import figures


def html_page(facts: Facts) -> str:
    """Render the page from the facts."""
    environment = Environment(
        loader=PackageLoader("dilm.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "cell": cell_text,
        "clock": clock,
        "method": method_name,
        "one_line": in_one_line,
        "percent": lambda share: f"{100 * share:.1f}%",
        "size": memory_size,
    }
    script, plots = asset("report.js"), figures(facts)
    return environment.get_template("report.html").render(
        facts,
        css=Markup(asset("report.css")),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        has_plots=bool(plots),
        plots={kind: [plot for plot in plots if plot.name.startswith(kind)] for kind in ("accuracy", "stage", "map")},
        pairs_of_samples=list(zip(facts["samples"]["before"], facts["samples"]["after"], strict=True)),
        gains=gains(facts["summary"]),
        headline=headline(facts),
        unknown_licence=UNKNOWN_LICENCE,
    )


def asset(name: str) -> str:
    """A file of the templates' folder, as it is."""
    return (resources.files("dilm.report") / "templates" / name).read_text(encoding="utf-8")

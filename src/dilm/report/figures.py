"""The plots of a report: matplotlib's SVG, made to stand in a page, in its colours (light or dark) and its font.

What is told by colour is told by shape or by words too. The same facts give the same bytes.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from html import escape
from typing import TYPE_CHECKING, Any

from .facts import Facts, cell_text, method_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 4.4  # inches: a column of the page, so that a narrow screen shows letters at about their own size
SERIES = 6
MARKERS = ("o", "s", "^", "D", "v", "P")
INK, SOFT, GRID = "#010101", "#020202", "#030303"
COLOURS = tuple(f"#0a0b0{number}" for number in range(SERIES))
PAINTS = {INK: "var(--ink)", SOFT: "var(--soft)", GRID: "var(--line)"}
PAINTS |= {colour: f"var(--series-{number})" for number, colour in enumerate(COLOURS)}
"""Colours that stand for the page's; a stylesheet gives them, for light and for dark."""
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "dilm",
    "text.parse_math": False,
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.labelsize": 9,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "lines.linewidth": 1.6,
    **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.labelcolor", "ytick.labelcolor"), INK),
    **dict.fromkeys(("axes.edgecolor", "xtick.color", "ytick.color"), SOFT),
    "grid.color": GRID,
    "grid.linewidth": 0.8,
}
ABOVE: Facts = {
    "loc": "lower center",
    "bbox_to_anchor": (0.5, 1),
    "ncols": 3,
    "borderaxespad": 0,
    "handletextpad": 0.3,
    "columnspacing": 1,
}
"""Where legends stand."""


@dataclass(frozen=True)
class Plot:
    """A figure of the page: heading, inline SVG, and the caption below it."""

    name: str
    title: str
    svg: str
    caption: str


def figures(facts: Facts) -> list[Plot]:
    """All plots of a report; none if matplotlib is not installed."""
    try:
        import matplotlib
    except ImportError:
        return []
    with matplotlib.rc_context(STYLE):
        return [*accuracy_plots(facts), *curve_plots(facts), *map_plots(facts)]


def drawn(name: str, title: str, caption: str, height: float, draw: Callable[[Axes], Any]) -> Plot:
    """A plot of one pair of axes, so many inches high."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    draw(figure.add_subplot())
    with warnings.catch_warnings():  # letters that matplotlib's font lacks: the page's font draws them
        warnings.filterwarnings("ignore", message="Glyph")
        return Plot(name, title, inline_svg(figure, name, title, caption), caption)


def inline_svg(figure: Figure, name: str, title: str, description: str) -> str:
    """The figure's SVG for a page: no size, no metadata, ids of its own, the page's colours, title and description."""
    file = io.StringIO()
    figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    text = file.getvalue()
    view = re.search(r'viewBox="[^"]+"', text)
    body = re.sub(r"<metadata>.*?</metadata>\s*", "", text[text.index(">", text.index("<svg")) + 1 :], flags=re.DOTALL)
    body = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", body)
    for colour, paint in PAINTS.items():
        body = body.replace(colour, paint)
    label = f"<title>{escape(title)}</title><desc>{escape(description)}</desc>"
    return f'<svg role="img" aria-label="{escape(title)}" {view.group() if view else ""}>{label}{body}'


# How well


def accuracy_plots(facts: Facts) -> list[Plot]:
    """For each learner a dot plot: sizes, in them methods, against the line of the full data."""
    plots = []
    for number, part in enumerate(facts["tables"]):
        cells = [part["cells"].get((method, size)) for size in part["sizes"] for method in part["methods"]]
        lines = [line for line in cells if line]
        caption = (
            f"Accuracy in percent on the {facts['test_split']} split. Large marks: mean over all runs; bars: one "
            "standard deviation to either side; small dots below: means of single sets"
            + ("; dashed: the same learner trained on all training texts." if part["full"] else ".")
        )
        height = 0.8 + 0.26 * len(lines) + 0.35 * len(part["sizes"])
        draw = partial(_dots, lines=lines, methods=part["methods"], full=part["full"])
        plots.append(drawn(f"accuracy-{number}", part["learner"], caption, height, draw))
    return plots


def _dots(axes: Axes, lines: Sequence[Facts], methods: Sequence[str], full: Facts | None) -> None:
    """`lines` are those of the summary, by size; each takes a row, each size a heading."""
    place, ticks, left, above = 0.0, [], axes.get_yaxis_transform(), axes.get_xaxis_transform()
    for number, line in enumerate(lines):
        if not number or line["dpc"] != lines[number - 1]["dpc"]:
            place += 1.3
            axes.text(0, place - 0.85, f"{line['dpc']} per class", transform=left, weight="bold", va="center")
        index = methods.index(line["method"]) % SERIES
        style: Facts = {"color": COLOURS[index], "marker": MARKERS[index]}
        axes.errorbar(100 * line["mean"], place, xerr=100 * (line["sd"] or 0), markersize=6.5, linewidth=1.5, **style)
        below = [place + 0.3] * len(line["set_means"])
        axes.plot([100 * mean for mean in line["set_means"]], below, ".", markersize=4, color=COLOURS[index], alpha=0.6)
        axes.text(1.02, place, cell_text(line), transform=left, va="center", size=9)
        ticks.append(place)
        place += 1
    if full:
        axes.axvline(100 * full["mean"], color=SOFT, linestyle="--", linewidth=1.2)
        axes.text(
            100 * full["mean"], 1, f"all data {cell_text(full)}", transform=above, ha="right", va="bottom", size=9
        )
    names = [method_name(line["method"]).removesuffix("real texts").removesuffix(" of ").strip() for line in lines]
    axes.set_yticks(ticks, names)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_ylim(place - 0.3, 0)
    axes.set_xlabel("accuracy, %")
    axes.grid(axis="x")


# Training


def curve_plots(facts: Facts) -> list[Plot]:
    """Loss of stage 1, cosine of stage 2."""
    curves, plots = facts["learning_curves"], []
    if curves.get("stage_1"):
        caption = (
            "Loss of the generator on training texts in nats per token, by step. At the end it needs "
            f"{facts['diagnostics']['bits_per_character']:.2f} bits per character of held-out text."
        )
        draw = partial(_line, points=curves["stage_1"], key="loss", ylabel="loss, nats per token")
        plots.append(drawn("stage-1", "Stage 1, language modelling", caption, 2.5, draw))
    if any("cosine" in point for point in curves.get("stage_2", ())):
        caption = (
            f"Cosine between the {facts['matched']}s of written and of real texts, by step; 1 is the same direction. "
            "Dashed, with squares: held-out real texts in place of the written ones. Each step meets a learner at "
            "another point of its training, and the cosine depends on it."
        )
        draw = partial(_cosines, points=curves["stage_2"], ylabel=f"{facts['matched']} cosine")
        plots.append(drawn("stage-2", "Stage 2, gradient matching", caption, 2.5, draw))
    return plots


def _line(axes: Axes, points: Sequence[Facts], key: str, ylabel: str, index: int = 0, **style: Any) -> None:
    known = [point for point in points if key in point]
    if len(known) <= 40:
        style |= {"marker": MARKERS[index], "markersize": 4}
    axes.plot([point["step"] for point in known], [point[key] for point in known], color=COLOURS[index], **style)
    axes.set(xlabel="step", ylabel=ylabel)
    axes.locator_params("x", integer=True)
    axes.grid(axis="y")


def _cosines(axes: Axes, points: Sequence[Facts], ylabel: str) -> None:
    _line(axes, points, "cosine", ylabel, label="written texts")
    if any("real_cosine" in point for point in points):
        _line(axes, points, "real_cosine", ylabel, 1, label="real texts", linestyle="--")
        axes.legend(**ABOVE)


# Map


def map_plots(facts: Facts) -> list[Plot]:
    """Pool and distilled texts, each over the real texts, in one projection."""
    places, names = facts["map"], facts["label_names"]
    if not places:
        return []
    more = "" if len(names) <= SERIES else f" Shown are the first {SERIES} of {len(names)} classes."
    of_set = f"Distilled texts: set 0 of {max(facts['dpc'])} per class"
    return [
        drawn(
            f"map-{group}",
            title,
            "Marks, over real training texts (dots). Both maps have the same axes, the first two principal components "
            f"of the learner's features of real texts.{more}",
            3.5,
            partial(_map, places=places, group=group, names=names),
        )
        for group, title in (("pool", "Pool: texts as they were written"), ("distilled", of_set))
    ]


def _map(axes: Axes, places: Facts, group: str, names: Sequence[str]) -> None:
    marks = []
    for index, colour in enumerate(COLOURS[: len(names)]):
        axes.plot(*_of_class(places["real"], index), ".", markersize=4, alpha=0.3, color=colour)
    for index, colour in enumerate(COLOURS[: len(names)]):
        style: Facts = {"color": colour, "marker": MARKERS[index], "linestyle": "none", "markeredgewidth": 0.8}
        style |= (
            {"markersize": 7.5, "markeredgecolor": INK}
            if group == "distilled"
            else {"markersize": 4, "markerfacecolor": "none"}
        )
        marks += axes.plot(*_of_class(places[group], index), **style)
    for axis, setter in (("x", axes.set_xlim), ("y", axes.set_ylim)):  # the same whatever is marked
        values = [value for part in ("real", "pool", "distilled") for value in places[part][axis]]
        room = 0.05 * (max(values) - min(values)) or 1
        setter(min(values) - room, max(values) + room)
    first, second = (f"{share:.0%}" for share in places["explained"])
    axes.set(xlabel=f"first component ({first} of variance)", ylabel=f"second ({second})", xticks=(), yticks=())
    axes.legend(marks, [short_name(name) for name in names[: len(marks)]], **ABOVE)


def short_name(name: str) -> str:
    """A name of a class in at most 20 characters."""
    name = " ".join(name.split())
    return name if len(name) <= 20 else name[:19].rstrip() + "…"


def _of_class(places: Facts, index: int) -> tuple[list[float], list[float]]:
    rows = [row for row, label in enumerate(places["label"]) if label == index]
    return [places["x"][row] for row in rows], [places["y"][row] for row in rows]

"""The report of a run: one dict of facts, then a terminal table, an HTML page and a dataset card made from it."""

from __future__ import annotations

from pathlib import Path

from ..durable import write_text
from ..progress import Reporter
from ..run_folder import Run
from .card import dataset_card
from .facts import run_facts
from .html import html_page
from .table import print_summary


def write_report(run: Run, reporter: Reporter) -> Path:
    """Write report.html and README.md into the run folder and print the summary; returns the page's path."""
    facts = run_facts(run)
    page = run.output_dir / "report.html"
    write_text(page, html_page(facts))
    write_text(run.output_dir / "README.md", dataset_card(facts))
    if reporter.json:
        told = {key: facts[key] for key in ("folder", "summary", "warnings")}
        reporter.event("results", **told, seconds_by_stage=facts["seconds"])
    else:
        print_summary(facts, reporter)
    return page

"""The report of a run: one dict of facts, then a page, Markdown, JSON, a dataset card and a table made from it."""

from __future__ import annotations

from pathlib import Path

from ..durable import write_json, write_text
from ..progress import Reporter
from ..run_folder import Run
from .card import dataset_card
from .facts import Facts, run_facts
from .html import html_page
from .markdown import markdown_report
from .table import print_summary


def write_report(run: Run, reporter: Reporter) -> Path:
    """Write the report and README.md into the run folder and print the summary; returns the page's path."""
    facts = run_facts(run)
    page = write_files(facts, run.output_dir)
    if reporter.json:
        told = {"folder": facts["folder"], "summary": run.results["summary"], "warnings": facts["warnings"]}
        reporter.event("results", **told, seconds_by_stage=facts["seconds"])
    else:
        print_summary(facts, reporter)
    return page


def remake_report(folder: str | Path, reporter: Reporter) -> Path:
    """Write them again for a finished run, from what lies in its folder (checkpoints may be gone)."""
    run = Run(Path(folder))
    page = write_files(run_facts(run), run.output_dir)
    reporter.say(f"report: {page}, and beside it report.md, report.json and README.md")
    return page


def write_files(facts: Facts, folder: Path) -> Path:
    """Write report.html, report.md, report.json and README.md; returns the page's path."""
    page = folder / "report.html"
    write_text(page, html_page(facts))
    write_text(folder / "report.md", markdown_report(facts))
    # The tables are the summary in another order, with keys that JSON has not.
    write_json(folder / "report.json", {key: value for key, value in facts.items() if key != "tables"})
    write_text(folder / "README.md", dataset_card(facts))
    return page

"""The summary on the terminal."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from ..progress import Reporter, clock
from ..run_folder import row_text
from .facts import METHOD_NAMES, Facts, cell_text, gains, in_one_line, method_name

TEXTS_SHOWN = 3
CLASSES_SHOWN = 4


def print_summary(facts: Facts, reporter: Reporter) -> None:
    """Some of the texts, the table of accuracies, tests of significance, warnings, and where everything lies."""
    say = reporter.say
    say()
    say(f"distilled texts of set 0, {max(facts['dpc'])} per class, some of them:")
    for name, rows in list(facts["texts"].items())[:CLASSES_SHOWN]:
        for row in rows[:TEXTS_SHOWN]:
            say(f"  [{name}] {in_one_line(row_text(row))}")
    if len(facts["texts"]) > CLASSES_SHOWN:
        say(f"  ... and {len(facts['texts']) - CLASSES_SHOWN} more classes")
    say()
    reporter.console.print(summary_table(facts))
    for sentence in gains(facts["summary"]):
        say(sentence)
    say("mean and sd over all runs in percent of the test split; p from Welch's t-test on the means of the sets")
    for warning in facts["warnings"]:
        say(f"warning: {warning}")
    total = sum(facts["seconds"].values())
    say(f"time {clock(total)} ({', '.join(f'{stage} {clock(s)}' for stage, s in facts['seconds'].items())})")
    say(f"report: {facts['folder']}/report.html   texts: {facts['folder']}/dpc_{max(facts['dpc'])}/dataset_0.jsonl")


def summary_table(facts: Facts) -> Table:
    """Rows: learner and method. Columns: sizes, sets, runs."""
    sizes = sorted(facts["dpc"])
    table = Table(title=Text(f"accuracy on the {facts['test_split']} split of {facts['task']}"), title_justify="left")
    table.add_column("learner")
    table.add_column("trained on")
    for dpc in sizes:
        table.add_column(f"{dpc} per class", justify="right")
    table.add_column("sets", justify="right")
    table.add_column("runs", justify="right")
    for part in facts["tables"]:
        for method in part["methods"]:
            cells = [part["cells"].get((method, dpc)) for dpc in sizes]
            known = next(cell for cell in cells if cell)
            values = [Text(cell_text(cell)) for cell in cells]
            counts = [str(known["sets"]), str(known["runs"])]
            table.add_row(Text(part["learner"]), Text(method_name(method)), *values, *counts)
        if part["full"]:
            filler = [Text("") for _ in sizes[1:]]
            table.add_row(Text(part["learner"]), METHOD_NAMES["full"], Text(cell_text(part["full"])), *filler, "", "1")
        table.add_section()
    return table

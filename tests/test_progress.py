"""Progress lines: readable without a terminal, bars on one, nothing when quiet."""

import io

import pytest
from rich.console import Console

from dilm import progress
from dilm.progress import Reporter, clock


@pytest.mark.parametrize(("seconds", "shown"), [(0, "0:00"), (61, "1:01"), (3661, "1:01:01"), (59.6, "1:00")])
def test_clock(seconds, shown):
    assert clock(seconds) == shown


def test_plain_lines_tell_rate_and_time_left(capsys, monkeypatch):
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    reporter = Reporter()
    assert list(reporter.track(range(3), "stage", 3, lambda step: f"loss {step}")) == [0, 1, 2]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "stage: 3 to do" and "stage: 2/3" in lines[2] and "left  loss 1" in lines[2]
    assert lines[-1].startswith("stage: 3 done in 0:00  loss 2")


def test_a_terminal_gets_a_bar(monkeypatch):
    reporter = Reporter()
    reporter.console = Console(file=io.StringIO(), force_terminal=True, width=120)
    assert list(reporter.track(range(2), "[stage]", 2, lambda step: f"[red]{step}")) == [0, 1]
    shown = reporter.console.file.getvalue()
    assert "[stage]" in shown and "2/2" in shown and "/s" in shown


def test_quiet_says_nothing_and_markup_is_text(capsys):
    Reporter(quiet=True).say("x")
    assert capsys.readouterr().out == ""
    Reporter().say("a [red]b[/] [/]")
    assert capsys.readouterr().out == "a [red]b[/] [/]\n"

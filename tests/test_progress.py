"""Progress lines: readable without a terminal, bars on one, nothing when quiet."""

import io
import json

import pytest
from rich.console import Console

from dilm import progress
from dilm.cli import main
from dilm.progress import Reporter, clock, visible


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


HOSTILE = "[red]a[/] [/] :smile: \x1b[2Jb\rc\nd\u2028e\u202ef \ud800 ok é 字"


def test_no_text_can_move_the_cursor_break_its_line_or_turn_it_around(capsys):
    shown = r"[red]a[/] [/] :smile: \x1b[2Jb\rc\nd\u2028e\u202ef \ud800 ok é 字"
    assert visible(HOSTILE) == shown
    reporter = Reporter()
    reporter.say(HOSTILE)
    assert capsys.readouterr().out == shown + "\n"
    reporter.console = Console(file=io.StringIO(), force_terminal=True, width=200)
    assert list(reporter.track(["x"], HOSTILE, 1, lambda _: HOSTILE)) == ["x"]
    assert reporter.console.file.getvalue().count(shown) >= 2
    assert main([HOSTILE]) == 2 and shown in capsys.readouterr().err


def test_no_run_ends_over_a_character_that_the_console_does_not_know(monkeypatch):
    for encoding in ("ascii", "cp1252", "utf-8"):
        written = io.BytesIO()
        monkeypatch.setattr("sys.stdout", io.TextIOWrapper(written, encoding=encoding))
        reporter = Reporter()
        reporter.say("naïve \u65e5 \ud800")
        list(reporter.track(range(2), "\u65e5", 2, lambda _: "\U0001f600"))
        reporter.console.file.flush()
        said = written.getvalue().decode(encoding)
        assert ("\u65e5" if encoding == "utf-8" else "\\u65e5") in said and "\\ud800" in said


def test_a_closed_stdout_is_a_quiet_one(monkeypatch):
    monkeypatch.setattr("sys.stdout", None)
    reporter = Reporter()
    reporter.say("x")
    assert reporter.quiet and list(reporter.track(range(2), "stage", 2)) == [0, 1]


def test_time_left_is_told_from_the_latest_steps(capsys, monkeypatch):
    """A resumed stage passes on its earlier steps at once; the rate is that of the steps after them."""
    now = iter([0.0, *[1.0] * 500, *range(2, 102), 1000.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(now))
    reporter = Reporter.__new__(Reporter)
    reporter.json, reporter.quiet, reporter.console = False, False, Console(soft_wrap=True)
    list(reporter.track(range(600), "stage", 1600))
    _, first, *others, last = capsys.readouterr().out.splitlines()
    assert "stage: 514/1,600  34.3/s" in first and "stage: 589/1,600  1.0/s  16:51 left" in others[-1]
    assert all("1.0/s" in line for line in others) and last.startswith("stage: 600 done")


def test_every_line_of_the_json_log_is_an_object(capsys, monkeypatch):
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    reporter = Reporter(log_format="json")
    reporter.say(HOSTILE)
    reporter.say()
    steps = [{"loss": 0.5, "cosine": float("nan"), "texts": ["x"]}, {"loss": 0.25}]
    assert list(reporter.track(steps, "stage 1", 2, lambda _: "words")) == steps
    out = capsys.readouterr().out
    lines = [json.loads(line) for line in out.splitlines()]
    assert out.isascii() and lines[0]["message"] == HOSTILE
    assert [line["event"] for line in lines] == ["message", "message", "stage", "step", "step", "done"]
    assert all(line["seconds"] >= 0 for line in lines)
    assert lines[3].items() >= {"stage": "stage 1", "step": 1, "total": 2, "loss": 0.5, "cosine": None}.items()
    assert {"rate", "seconds_left"} <= set(lines[3]) and "texts" not in lines[3]
    assert lines[5].items() >= {"stage": "stage 1", "step": 2, "loss": 0.25}.items()


def test_quiet_silences_the_json_log_too(capsys):
    reporter = Reporter(quiet=True, log_format="json")
    reporter.say("x")
    assert list(reporter.track([1], "stage", 1)) == [1]
    assert capsys.readouterr().out == ""

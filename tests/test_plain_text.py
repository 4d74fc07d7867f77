"""What others wrote is shown, never obeyed: by a terminal, Markdown, a spreadsheet."""

import csv
import io
import json
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from dilm.cli import main
from dilm.plain_text import from_markdown, in_csv, in_markdown, visible
from dilm.report.comparison import comparison_csv, comparison_markdown

HOSTILE = [
    *("\x1b]0;title\x07\x1b[2J", "a\nb\r\x85c", "\u202edrowssap", "\ud800", "[red]x[/]", "a/../../b"),
    *("| a | b |", "# x", "`", "```", "\\", "\\|", "&lt;", "$x$", "*a* _b_ ~~c~~", "---", "1. x", "- x"),
    *("[x](javascript:1)", "![x](http://a.b/c.png)", "<script>alert(1)</script>", "<!--", "http://a.b/c", "www.a.b"),
    *("=cmd|' /C calc'!A0", "+1", "-1+1", "@SUM(1)", "\t=1"),
]
PARSER = MarkdownIt("gfm-like", {"html": True, "linkify": False})


@given(st.one_of(st.text(), st.sampled_from(HOSTILE)))
def test_a_terminal_is_given_no_control_characters(text):
    shown = visible(text)
    assert all(c.isprintable() or c in "\u200c\u200d" or c.isspace() for c in shown) and "\n" not in shown
    assert not set(shown) & set("\x1b\x07\r\x9b\u202e\u2028\u2066") and shown.encode() is not None
    assert visible(shown) == shown


@pytest.mark.parametrize("text", ["plain", "naïve 中文 🎬", "👩‍👩‍👧", "می‌خواهم", "a\u00a0b\u3000c", "שלום"])
def test_texts_of_any_script_are_shown_as_they_are(text):
    assert visible(text) == text


def kinds(markdown: str) -> list[str]:
    """What a Markdown reader makes of it: the kinds of all blocks and inline parts."""
    return [part.type for token in PARSER.parse(markdown) for part in (token, *(token.children or []))]


@settings(max_examples=60)
@given(st.one_of(st.text(), st.sampled_from(HOSTILE), st.lists(st.sampled_from(HOSTILE)).map("".join)))
def test_markdown_takes_a_text_for_text(text):
    escaped = in_markdown(text)
    assert kinds(f"x {escaped} x") in (kinds("x text x"), kinds("x \\* x"))
    row = f"| a | b |\n|---|---|\n| x{escaped} | y |"
    assert [k for k in kinds(row) if k != "text_special"] == kinds("| a | b |\n|---|---|\n| xtext | y |")
    content = "".join(part.content for part in PARSER.parse(f"x{escaped}")[1].children)
    assert content == f"x{visible(' '.join(text.split()))}".rstrip()
    assert from_markdown(escaped) == visible(" ".join(text.split()))


@given(st.text())
def test_no_cell_of_a_csv_is_a_formula(text):
    assert in_csv(text)[:1] not in tuple("=+-@\t\r") or not text
    assert in_csv(-0.5) == -0.5 and in_csv(None) is None and in_csv("k-centers") == "k-centers"


def line(name):
    figures = {
        "mean": 0.5,
        "sd": None,
        "sd_seeds": None,
        "sets": 1,
        "runs": 1,
        "collapsed": 0,
        "gain": -0.25,
        "p": None,
    }
    return {"task": name, "learner": name, "dpc": 2, "method": name, **figures}


def test_a_text_that_begins_like_an_item_of_a_list_stays_text():
    assert [in_markdown(text) for text in ("- a", "---", "2. b", "3) c", "+ d")] == [
        r"\- a",
        r"\---",
        r"2\. b",
        r"3\) c",
        r"\+ d",
    ]
    assert [in_markdown(text) for text in ("-1 degree", "2.5 stars", "a - b")] == ["-1 degree", "2.5 stars", "a - b"]


@pytest.mark.parametrize("name", HOSTILE)
def test_names_cannot_break_out_of_a_comparison(name):
    safe = {"metric": "accuracy", "against": "random", "test": "t", "pairs": [], "lines": [line("name")]}
    hostile = {**safe, "against": name, "lines": [line(name)]}
    markdown = comparison_markdown(hostile)
    assert [k for k in kinds(markdown) if k != "text_special"] == kinds(
        comparison_markdown({**safe, "against": "name"})
    )
    assert visible(markdown.replace("\n", "")) == markdown.replace("\n", "")
    (row,) = csv.DictReader(io.StringIO(comparison_csv(hostile)))
    assert row["method"][:1] not in tuple("=+-@\t\r") and row["gain"] == "-0.25"


def test_an_error_s_message_is_one_line_without_control_characters(tmp_path, capsys):
    bad = tmp_path / "\x1b[31mred\nline.csv"
    assert main(["select", str(bad)]) == 2
    told = capsys.readouterr().err
    assert "\x1b" not in told and told.count("\n") == 1 and r"\x1b[31mred" in told


def test_a_terminal_that_knows_few_characters_ends_no_run(tmp_path):
    results = tmp_path / "r.json"
    row = {"task": "t", "method": "中", "dpc": 1, "learner": "l", "seed": 0, "accuracy": 0.5}
    results.write_text(json.dumps({"rows": [row | {"set": 0}, row | {"set": 1}]}))
    environment = {"PYTHONIOENCODING": "ascii", "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, "-m", "dilm", "compare", str(results)], capture_output=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert b"\\u4e2d" in done.stdout

"""Progress a person can read: bars with rate and time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

T = TypeVar("T")
Figures = Callable[[Any], str]
LINE_SECONDS = 15.0
"""Plain lines come at most this often."""


class Reporter:
    """Prints what a run does; a quiet one prints nothing."""

    def __init__(self, quiet: bool = False):
        # A log has no width of its own; 80 columns would fold the tables.
        width = None if sys.stdout.isatty() else 120
        self.console = Console(quiet=quiet, highlight=False, file=sys.stdout, soft_wrap=True, width=width)

    def say(self, message: str = "") -> None:
        """One plain line: markup in it is text."""
        self.console.print(message, markup=False)

    def track(self, steps: Iterable[T], name: str, total: int, figures: Figures | None = None) -> Iterator[T]:
        """Pass the steps on, showing how far they are; `figures` makes words of the latest step."""
        describe = figures or (lambda _: "")
        bar = self._bar if self.console.is_terminal else self._lines
        return bar(steps, name, total, describe)

    def _bar(self, steps: Iterable[T], name: str, total: int, describe: Figures) -> Iterator[T]:
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            _Rate(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}", markup=False),
        )
        with Progress(*columns, console=self.console) as progress:
            task = progress.add_task(name, total=total, figures="")
            for step in steps:
                progress.update(task, advance=1, figures=describe(step))
                yield step

    def _lines(self, steps: Iterable[T], name: str, total: int, describe: Figures) -> Iterator[T]:
        start = said = time.monotonic()
        self.say(f"{name}: {total:,} to do")
        count, last = 0, ""
        for step in steps:
            count, last = count + 1, describe(step)
            now = time.monotonic()
            if now - said >= LINE_SECONDS:
                said, rate = now, count / (now - start)
                left = clock(max(total - count, 0) / rate)
                self.say(f"{name}: {count:,}/{total:,}  {rate:.1f}/s  {left} left  {last}".rstrip())
            yield step
        self.say(f"{name}: {count:,} done in {clock(time.monotonic() - start)}  {last}".rstrip())


class _Rate(ProgressColumn):
    """Steps per second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed or 0:.1f}/s")


def clock(seconds: float) -> str:
    """Seconds as m:ss or h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"

"""What a run says while it works: bars on a terminal, plain lines elsewhere, one JSON object per line for programs."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal, TypeAlias, TypeVar

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

from .durable import finite
from .plain_text import visible

T = TypeVar("T")
Figures = Callable[[Any], str]
LogFormat: TypeAlias = Literal["text", "json"]
LINE_SECONDS = 15.0
"""Lines of a stage, plain or JSON, come at most this often."""


class Reporter:
    """Prints what a run does, for people or as JSON lines; a quiet one prints nothing.

    Every line of the JSON log is an object with "event" (message, configuration, stage, step, done, samples, results)
    and "seconds" since the start; those about a stage have "stage", "step", "total", and the figures of the latest
    step.
    """

    def __init__(self, quiet: bool = False, log_format: LogFormat = "text"):
        quiet = quiet or sys.stdout is None  # it may be closed
        self.quiet, self.json = quiet, log_format == "json"
        self._start = time.monotonic()
        # A log has no width of its own; 80 columns would fold the tables.
        width = None if sys.stdout and sys.stdout.isatty() else 120
        self.console = Console(quiet=quiet, highlight=False, emoji=False, file=sys.stdout, soft_wrap=True, width=width)

    def say(self, message: str = "") -> None:
        """One line: markup in it is text, and control characters are made visible."""
        self.tell(message, "message", message=message)

    def tell(self, line: str, event: str, **facts: Any) -> None:
        """The same for people, as a line, and for programs, as an event with facts."""
        if self.json:
            self.event(event, **facts)
        else:
            self.console.print(self._shown(line), markup=False)

    def _shown(self, line: str) -> str:
        """The line with control characters made visible, and those that the console does not know: no run ends over
        one."""
        encoding = self.console.encoding
        return visible(line).encode(encoding, "backslashreplace").decode(encoding)

    def event(self, event: str, **facts: Any) -> None:
        """A line of the JSON log only. All of it is ASCII: no character in a text can break the line."""
        if self.json and not self.quiet:
            seconds = round(time.monotonic() - self._start, 3)
            print(json.dumps(finite({"event": event, "seconds": seconds, **facts}), allow_nan=False), flush=True)

    def track(self, steps: Iterable[T], name: str, total: int, figures: Figures | None = None) -> Iterator[T]:
        """Pass the steps on, showing how far they are.

        `figures` makes words of the latest step for people; the JSON log has its numbers and words if it is a dict.
        """
        describe = figures or (lambda _: "")
        bar = self._bar if self.console.is_terminal and not self.json else self._lines
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
            task = progress.add_task(self._shown(name), total=total, figures="")
            for step in steps:
                progress.update(task, advance=1, figures=self._shown(describe(step)))
                yield step

    def _lines(self, steps: Iterable[T], name: str, total: int, describe: Figures) -> Iterator[T]:
        begin = said = time.monotonic()
        self.tell(f"{name}: {total:,} to do", "stage", stage=name, total=total)
        count = counted = 0
        words, facts = "", {}
        for step in steps:
            count, now = count + 1, time.monotonic()
            words, facts = describe(step), scalars(step)
            if now - said >= LINE_SECONDS:
                # Since the last line: a resumed stage passes on its earlier steps in no time.
                rate = (count - counted) / max(now - said, 1e-9)
                left = max(total - count, 0) / rate
                line = f"{name}: {count:,}/{total:,}  {rate:.1f}/s  {clock(left)} left  {words}".rstrip()
                place = {"stage": name, "step": count, "total": total}
                self.tell(line, "step", **facts | place | {"rate": round(rate, 3), "seconds_left": round(left, 1)})
                said, counted = now, count
            yield step
        took = time.monotonic() - begin
        line = f"{name}: {count:,} done in {clock(took)}  {words}".rstrip()
        self.tell(line, "done", **facts | {"stage": name, "step": count, "total": total, "took": round(took, 3)})


class _Rate(ProgressColumn):
    """Steps per second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed or 0:.1f}/s")


def scalars(step: Any) -> dict[str, Any]:
    """What a step says in numbers and words: the plain values of a dict, nothing of anything else."""
    return {k: v for k, v in step.items() if isinstance(v, (int, float, str))} if isinstance(step, dict) else {}


def clock(seconds: float) -> str:
    """Seconds as m:ss or h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"

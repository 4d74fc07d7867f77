"""Finished runs on disk: a line each as soon as it is there, so that an interrupted evaluation goes on."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TextIO

from ..durable import naming
from .protocol import PlannedRun
from .statistics import Row, row_key


class RowStore:
    """Rows in `folder`: whoever writes has a file of his own, rows-0.jsonl, rows-1.jsonl, ..., and all read all.

    So any number of processes may write and read at once, and no row is lost or torn.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def rows(self) -> list[Row]:
        """Every finished run, whoever made it; a line that an interruption tore is left out."""
        return [row for file in sorted(self.folder.glob("rows-*.jsonl")) for row in _whole_rows(file)]

    def missing(self, planned: Sequence[PlannedRun]) -> list[PlannedRun]:
        """The runs that are not finished."""
        finished = {row_key(row) for row in self.rows()}
        return [run for run in planned if run.key not in finished]

    def finished(self, planned: Sequence[PlannedRun]) -> list[Row]:
        """The rows of these runs, in their order; rows of texts or recipes that are no more are left out."""
        rows = {row_key(row): row for row in self.rows()}
        return [rows[run.key] for run in planned if run.key in rows]

    def keep(self, rows: Iterable[Row]) -> Iterator[Row]:
        """Passes rows on, each once it is on disk for certain."""
        with naming(self.folder), contextlib.ExitStack() as stack:
            file = None
            for row in rows:
                file = file or stack.enter_context(self._new_file())
                file.write(json.dumps(row) + "\n")
                file.flush()
                os.fsync(file.fileno())
                yield row

    def _new_file(self) -> TextIO:
        """A file that is nobody else's."""
        number = 0
        while True:
            try:
                return open(self.folder / f"rows-{number}.jsonl", "x", encoding="utf-8")
            except FileExistsError:
                number += 1


def _whole_rows(path: Path) -> Iterator[Row]:
    for line in path.read_bytes().split(b"\n")[:-1]:
        with contextlib.suppress(ValueError):
            yield json.loads(line)

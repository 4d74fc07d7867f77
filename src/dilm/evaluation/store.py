"""Finished runs on disk: a line each as soon as it is there, so that an interrupted evaluation goes on."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ..durable import write_text
from .protocol import PlannedRun
from .statistics import Row, row_key


class RowStore:
    """Rows in `folder`, a file per process: each writes its own and reads all."""

    def __init__(self, folder: Path, process: int = 0):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._own = folder / f"rows-{process}.jsonl"
        if self._own.exists():  # a last line that an interruption tore goes
            write_text(self._own, "".join(line + "\n" for line in _whole_lines(self._own)))

    def rows(self) -> list[Row]:
        """Every finished run, of all processes."""
        files = sorted(self.folder.glob("rows-*.jsonl"))
        return [json.loads(line) for file in files for line in _whole_lines(file)]

    def missing(self, planned: Sequence[PlannedRun]) -> list[PlannedRun]:
        """The runs that are not finished."""
        finished = {row_key(row) for row in self.rows()}
        return [run for run in planned if run.key not in finished]

    def finished(self, planned: Sequence[PlannedRun]) -> list[Row]:
        """The rows of these runs, in their order; rows of texts or recipes that are no more are left out."""
        rows = {row_key(row): row for row in self.rows()}
        return [rows[run.key] for run in planned if run.key in rows]

    def keep(self, rows: Iterable[Row]) -> Iterator[Row]:
        """Passes rows on, each once it is written."""
        with open(self._own, "a", encoding="utf-8") as file:
            for row in rows:
                file.write(json.dumps(row) + "\n")
                file.flush()
                yield row


def _whole_lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").split("\n")[:-1]

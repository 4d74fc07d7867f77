"""A folder for one process at a time: a lock that goes with the process that holds it, however that ends."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from .errors import InputError


@contextlib.contextmanager
def locked(folder: Path, name: Path | None = None, wait: bool = False) -> Iterator[None]:
    """Inside, `folder`, which must be there, is locked; it is called `name` where it is in use: InputError, or `wait`.

    The file .lock stays behind and means nothing: what counts is whether a living process holds it.
    """
    lock = FileLock(folder / ".lock", timeout=-1 if wait else 0)
    try:
        lock.acquire()
    except Timeout:
        raise InputError(
            f"{name or folder} is in use by another process; wait until it ends, or pass another --output-dir"
        ) from None
    try:
        yield
    finally:
        lock.release()

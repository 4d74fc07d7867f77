"""Waiting for other processes, on a machine that is busy with other things."""

import contextlib
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

PATIENCE = 900
"""Seconds for what takes a few."""


def wait_for(path: Path, process: subprocess.Popen) -> None:
    """Until the process has written the path, and is still at work."""
    deadline = time.monotonic() + PATIENCE
    while not path.exists():
        assert process.poll() is None and time.monotonic() < deadline, f"{path} was not reached"
        time.sleep(0.05)


@contextlib.contextmanager
def patience() -> Iterator[None]:
    """TimeoutError in what takes longer than PATIENCE in this process."""

    def lost(*_) -> None:
        raise TimeoutError(f"not done after {PATIENCE} s")

    before = signal.signal(signal.SIGALRM, lost)
    signal.alarm(PATIENCE)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)

"""Waiting for other processes, on a machine that is busy with other things."""

import subprocess
import time
from pathlib import Path

PATIENCE = 900
"""Seconds for what takes a few."""


def wait_for(path: Path, process: subprocess.Popen) -> None:
    """Until the process has written the path, and is still at work."""
    deadline = time.monotonic() + PATIENCE
    while not path.exists():
        assert process.poll() is None and time.monotonic() < deadline, f"{path} was not reached"
        time.sleep(0.05)

"""One command in several processes of this machine.

They meet through a file and talk over the loopback interface, so that nothing of a run listens on a network: torchrun's
meeting place would listen on every interface.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from .interruption import Terminated

RENDEZVOUS = "DILM_RENDEZVOUS"
"""Variable that names the file through which the processes find each other."""
GRACE = 60.0
"""Seconds for the others to end by themselves once one has failed, and again once they were told to."""


def spread(processes: int, arguments: Sequence[str]) -> int:
    """`dilm ARGUMENTS` in so many processes; returns the exit code, that of the first that fails.

    An interruption is passed on to each once, and they are waited for, however long their step and what they keep of it
    take; a second one kills them.
    """
    threads = str(max(1, (os.cpu_count() or 1) // processes))
    loopback = "lo0" if sys.platform == "darwin" else "lo"
    with tempfile.TemporaryDirectory() as folder:
        shared = {
            "OMP_NUM_THREADS": threads,
            **os.environ,
            "GLOO_SOCKET_IFNAME": loopback,
            "NCCL_SOCKET_IFNAME": loopback,
            "MASTER_ADDR": "127.0.0.1",
            "WORLD_SIZE": str(processes),
            "LOCAL_WORLD_SIZE": str(processes),
            RENDEZVOUS: str(Path(folder) / "rendezvous"),
        }
        command = [sys.executable, "-m", "dilm", *arguments]
        started: list[subprocess.Popen[bytes]] = []
        try:
            for rank in map(str, range(processes)):
                own = shared | {"RANK": rank, "LOCAL_RANK": rank}
                # In a session of its own: Ctrl-C reaches it through us alone, and only once.
                started.append(subprocess.Popen(command, env=own, start_new_session=True))
            return _exit_code(started)
        except (KeyboardInterrupt, Terminated) as interruption:
            _tell(started, signal.SIGTERM if isinstance(interruption, Terminated) else signal.SIGINT)
            print("\nwaiting for the processes to keep what is finished; a second time kills them", file=sys.stderr)
            _wait(started)
            raise
        finally:
            _tell(started, signal.SIGKILL)
            _wait(started)


def _exit_code(started: Sequence[subprocess.Popen[bytes]]) -> int:
    """Of all when they are done, or of the first that failed; the others are then ended."""
    while True:
        codes = [process.poll() for process in started]
        failed = next((code for code in codes if code), None)
        if failed is None and None not in codes:
            return 0
        if failed is not None:
            _wait(started, GRACE)
            _tell(started, signal.SIGTERM)
            _wait(started, GRACE)
            return failed if failed > 0 else 128 - failed
        time.sleep(0.1)


def _tell(started: Sequence[subprocess.Popen[bytes]], number: int) -> None:
    for process in started:
        if process.poll() is None:
            process.send_signal(number)


def _wait(started: Sequence[subprocess.Popen[bytes]], seconds: float = math.inf) -> None:
    deadline = time.monotonic() + seconds
    for process in started:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, deadline - time.monotonic()) if deadline < math.inf else None)

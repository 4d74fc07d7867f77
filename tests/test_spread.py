"""Processes that are told to end: they are waited for, but not against the user's will."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from patience import wait_for

from dilm import spread

CHILD = """
import signal, sys, time
from pathlib import Path

def keep(*_):
    Path(sys.argv[1], "told").touch()
    time.sleep(float(sys.argv[2]))
    Path(sys.argv[1], "kept").touch()
    sys.exit(130)

signal.signal(signal.SIGINT, keep)
Path(sys.argv[1], "ready").touch()
while True:
    time.sleep(1)
"""


@pytest.fixture
def interrupted(tmp_path, monkeypatch):
    """A function: spread over one process that takes so long to keep what it has, interrupted once it is at work."""

    def interrupt(seconds):
        start = subprocess.Popen
        command = [sys.executable, "-c", CHILD, str(tmp_path), str(seconds)]
        monkeypatch.setattr(subprocess, "Popen", lambda _, **options: start(command, **options))
        monkeypatch.setattr(spread, "GRACE", 0.1)

        def at_work(started):
            wait_for(tmp_path / "ready", started[0])
            raise KeyboardInterrupt

        monkeypatch.setattr(spread, "_exit_code", at_work)
        with pytest.raises(KeyboardInterrupt):
            spread.spread(1, [])

    return interrupt


def test_an_interruption_waits_for_what_the_processes_keep(interrupted, tmp_path, capsys):
    interrupted(1)
    assert (tmp_path / "kept").exists() and "a second time kills" in capsys.readouterr().err


def test_a_second_interruption_does_not_wait(interrupted, tmp_path):
    def again():
        while not (tmp_path / "told").exists():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=again, daemon=True).start()
    interrupted(600)
    assert not (tmp_path / "kept").exists()

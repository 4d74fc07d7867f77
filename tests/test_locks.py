"""A folder is one process's at a time, and nobody's once that process is dead."""

import select
import subprocess
import sys

import pytest

from dilm import InputError
from dilm.locks import locked

HOLD = """
import sys
from pathlib import Path
from dilm.locks import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that has the folder for itself."""
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_folder_in_use_is_refused_until_its_process_ends_well(tmp_path, holder):
    for _ in range(2):  # being refused does not harm the one who holds it
        with pytest.raises(InputError, match="runs/mine is in use by another process"), locked(tmp_path, "runs/mine"):
            pytest.fail("two processes in one folder")
    holder.communicate("")
    with locked(tmp_path):
        pass


def test_a_killed_process_holds_nothing(tmp_path, holder):
    holder.kill()
    holder.wait()
    assert (tmp_path / ".lock").exists()
    with locked(tmp_path):
        pass


def test_who_waits_gets_the_folder_afterwards_and_not_before(tmp_path, holder):
    waits = HOLD.replace("with", 'print("waits", flush=True)\nwith').replace("sys.argv[1])", "sys.argv[1]), wait=True")
    command = [sys.executable, "-c", waits, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as waiting:
        assert waiting.stdout and waiting.stdout.readline() == b"waits\n"
        assert select.select([waiting.stdout], [], [], 0.5)[0] == [], "it has, or has given up, what another holds"
        holder.communicate("")
        assert waiting.stdout.readline() == b"held\n"
        waiting.kill()


def test_two_threads_of_one_process_are_two_as_well(tmp_path):
    with locked(tmp_path), pytest.raises(InputError, match="in use"), locked(tmp_path):
        pytest.fail("two in one folder")

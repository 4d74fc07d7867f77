"""`dilm ARGUMENTS` in a process that SIGKILLs itself once a point (a file or folder) is on disk.

Nothing that looks on from outside can be late, however busy the machine: all that a run keeps is synchronised to disk,
and it is there that the process looks. The processes are forked from one that has imported the libraries and done
nothing else, so that twenty of them do not import them twenty times.
"""

import multiprocessing
import os
import signal
import sys
from pathlib import Path

from patience import PATIENCE

from dilm.cli import main

PRELOADED = [
    "dilm.pipeline",
    "dilm.report.figures",
    "transformers.models.bert.modeling_bert",
    "transformers.models.gpt2.modeling_gpt2",
]


def killed_at(point: Path, arguments: list[str], told: Path) -> int | None:
    """The exit code, negative for a signal; what the process said is in `told`."""
    told.touch()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    process = context.Process(target=_run, args=(point, arguments, told))
    process.start()
    process.join(PATIENCE)
    code = process.exitcode
    process.kill()
    return code


def _run(point: Path, arguments: list[str], told: Path) -> None:
    with told.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    synchronise = os.fsync

    def synchronise_and_look(descriptor):
        synchronise(descriptor)
        if point.exists():
            os.kill(os.getpid(), signal.SIGKILL)

    os.fsync = synchronise_and_look
    sys.exit(main(arguments))

"""`python killed_at.py POINT ARGUMENTS`: dilm ARGUMENTS in a process that SIGKILLs itself once POINT is on disk.

Nothing that looks on from outside can be late, however busy the machine: all that a run keeps is synchronised to disk,
and it is there that the process looks.
"""

import os
import signal
import sys
from pathlib import Path

from dilm.cli import main

point, synchronise = Path(sys.argv[1]), os.fsync


def synchronise_and_look(descriptor):
    synchronise(descriptor)
    if point.exists():
        os.kill(os.getpid(), signal.SIGKILL)


os.fsync = synchronise_and_look
sys.exit(main(sys.argv[2:]))

"""python -m dilm: so the processes that share a run are started."""

import sys

from .cli import main

if __name__ == "__main__":
    try:
        code = main()
    finally:
        if processes := sys.modules.get("dilm.models.processes"):
            processes.leave()
    sys.exit(code)

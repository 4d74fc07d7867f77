"""The command line: dilm VERB. The verbs themselves are in verbs.py.

Exit codes: 0 done, 2 the user's input (one readable message), 1 anything else, 130 and 143 when interrupted.
"""

from __future__ import annotations

import io
import sys

from .errors import GenerationError, InputError
from .interruption import Terminated, heeded_interruptions
from .plain_text import visible
from .verbs import VERBS

USAGE = """\
usage: dilm VERB [OPTIONS]

Distil a labelled text dataset into a few readable texts that train any classifier.

  dilm distill [TASK]   learn to write, over-generate, select, evaluate, report
  dilm select TASK      pick coresets of real texts, or of a pool
  dilm evaluate SETS    train fresh learners on sets, ours or anyone's, and test them
  dilm ablate [TASK]    the parts of the method on and off, in one table
  dilm compare RESULTS  put results side by side, with tests of significance
  dilm prompt RUN       print a few-shot prompt made of distilled texts
  dilm push RUN         upload the sets and their card to the Hugging Face Hub
  dilm report RUN       make a run's report again: page, Markdown, JSON
  dilm audit RUN        what learners trained on the texts give away about the data
  dilm doctor           what is installed and can be reached; a self-test
  dilm completion SHELL print the completion script for bash, zsh or fish
  dilm --version        print the version

Example: dilm distill mine.csv --text review --label stars --dpc 20
Options: dilm VERB --help
"""


KEPT = "what was finished is kept: the same command goes on (dilm distill: with --resume)"


def main(arguments: list[str] | None = None) -> int:
    """Run a verb and return its exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if isinstance(sys.stdout, io.TextIOWrapper):  # a run must not end over a character that the terminal does not know
        sys.stdout.reconfigure(errors="backslashreplace")
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE, end="")
        return 0
    if arguments[0] == "--version":
        from . import __version__

        print(f"dilm {__version__}")
        return 0
    verb, rest = arguments[0], arguments[1:]
    if verb not in VERBS:
        print(f"error: no verb '{visible(verb)}'; verbs: {', '.join(VERBS)} (see dilm --help)", file=sys.stderr)
        return 2
    try:
        with heeded_interruptions():
            return VERBS[verb](rest)
    except InputError as error:
        print(f"error: {visible(str(error))}", file=sys.stderr)
        return 2
    except GenerationError as error:
        print(f"error: {visible(str(error))}", file=sys.stderr)
        return 1
    except Exception as error:
        if not failed_to_write(error):
            raise
        print(f"error: {visible(' '.join(str(error).split()))}; {KEPT}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, Terminated) as interruption:
        print(f"\ninterrupted; {KEPT}", file=sys.stderr)
        return 143 if isinstance(interruption, Terminated) else 130


def failed_to_write(error: Exception) -> bool:
    """Whether it is what a full or read-only disk leads to, wherever in the libraries it shows."""
    from safetensors import SafetensorError

    return isinstance(error, (OSError, SafetensorError))


if __name__ == "__main__":
    sys.exit(main())

"""The errors that a person meets: the command line prints their message in one line."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Bad input. The message names what was found, what was expected and the way out."""


class GenerationError(RuntimeError):
    """The generator did not learn to write what is needed (exit code 1). The message names the way out."""


def suggest(name: str, names: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the nearest of the names, or nothing."""
    close = difflib.get_close_matches(name, list(names), n=1)
    return f"; did you mean '{close[0]}'?" if close else ""

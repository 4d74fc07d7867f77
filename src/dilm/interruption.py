"""SIGTERM and Ctrl-C end a run through the stack, wherever they arrive; where asked, at the end of a step."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any


class Terminated(BaseException):
    """SIGTERM, as an exception that no `except Exception` swallows."""


@contextlib.contextmanager
def heeded_interruptions() -> Iterator[None]:
    """Inside, SIGTERM raises `Terminated`, and no interruption is lost. For the main thread only.

    A signal that arrives in a weak reference's callback or a finalizer raises there, and Python can only report what
    is raised there ("Exception ignored in ..."): the run would go on. Such a signal is sent again a moment later.
    """
    signals = {KeyboardInterrupt: signal.SIGINT, Terminated: signal.SIGTERM}
    previous_handler, previous_hook = signal.getsignal(signal.SIGTERM), sys.unraisablehook

    def send_again(lost: sys.UnraisableHookArgs) -> None:
        number = signals.get(lost.exc_type)
        if number is None:
            previous_hook(lost)
            return
        again = threading.Timer(0.02, os.kill, [os.getpid(), number])  # from a thread: sent here, it would be lost here
        again.daemon = True
        again.start()

    signal.signal(signal.SIGTERM, _terminate)
    sys.unraisablehook = send_again
    try:
        yield
    finally:
        sys.unraisablehook = previous_hook
        signal.signal(signal.SIGTERM, previous_handler)


def _terminate(*_: object) -> None:
    raise Terminated


_waiting: list[tuple[Callable[[int, Any], Any], int]] = []
"""The interruption that waits to be heeded: its handler and number."""


@contextlib.contextmanager
def waiting_interruptions() -> Iterator[None]:
    """Inside, an interruption waits for `heed`, so that a step is finished and kept; a second one does not wait.

    One that is not heeded until the end is heeded there. Outside of the main thread this does nothing.
    """
    previous: dict[int, Callable[[int, Any], Any]] = {}

    def wait(number: int, frame: Any) -> None:
        if _waiting:
            _waiting.clear()
            previous[number](number, frame)
        _waiting.append((previous[number], number))

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            handler = signal.getsignal(number)
            if callable(handler):
                previous[number] = handler
                signal.signal(number, wait)
    try:
        yield
    except BaseException:  # the run has ended without it; it is not to end the next one
        _waiting.clear()
        raise
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    heed()


def is_interrupted() -> bool:
    """Whether an interruption waits."""
    return bool(_waiting)


def heed() -> None:
    """Let the interruption that waits, if one does, end the run."""
    if _waiting:
        handler, number = _waiting.pop()
        handler(number, None)

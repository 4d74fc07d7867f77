"""SIGTERM and Ctrl-C end a run through the stack, wherever they arrive."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator


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

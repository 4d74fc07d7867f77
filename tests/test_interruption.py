"""An interruption ends the run, wherever it arrives."""

import signal
import sys
import time
import weakref

import pytest

from dilm.interruption import Terminated, heeded_interruptions


class Anything:
    """Something that can be referred to weakly."""


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGTERM, Terminated), (signal.SIGINT, KeyboardInterrupt)])
def test_a_signal_raises(number, expected):
    with pytest.raises(expected), heeded_interruptions():
        signal.raise_signal(number)


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGTERM, Terminated), (signal.SIGINT, KeyboardInterrupt)])
def test_a_signal_inside_a_callback_is_not_lost(number, expected):
    start, thing = time.monotonic(), Anything()
    reference = weakref.ref(thing, lambda _: signal.raise_signal(number))
    with pytest.raises(expected), heeded_interruptions():
        del thing
        time.sleep(20)
    assert reference() is None and time.monotonic() - start < 10


def test_other_lost_exceptions_are_told_as_before(monkeypatch):
    told = []
    monkeypatch.setattr(sys, "unraisablehook", told.append)
    thing = Anything()
    reference = weakref.ref(thing, lambda _: 1 / 0)
    with heeded_interruptions():
        del thing
    assert [lost.exc_type for lost in told] == [ZeroDivisionError] and reference() is None


def test_handlers_are_put_back():
    before = signal.getsignal(signal.SIGTERM), sys.unraisablehook
    with heeded_interruptions():
        assert signal.getsignal(signal.SIGTERM) is not before[0]
    assert (signal.getsignal(signal.SIGTERM), sys.unraisablehook) == before

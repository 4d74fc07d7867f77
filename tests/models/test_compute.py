"""What every loop needs: here, what malloc is told."""

import ctypes
import os

import pytest

from dilm.models.compute import keep_freed_memory

MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch):
    for name in [name for name in os.environ if name.startswith("MALLOC_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def told(monkeypatch):
    """A function: what is asked of a malloc that takes thresholds up to a limit."""

    def ask(limit):
        asked = []

        class Library:
            def __init__(self, _):
                pass

            def mallopt(self, parameter, value):
                asked.append((parameter, value))
                return int(value <= limit or parameter == TRIM_THRESHOLD)

        monkeypatch.setattr(ctypes, "CDLL", Library)
        keep_freed_memory.__wrapped__()
        return asked

    return ask


def test_an_older_malloc_is_asked_for_what_it_takes_and_one_that_refuses_keeps_its_own_rules(told):
    keep_everything = (TRIM_THRESHOLD, 2**31 - 1)
    assert told(2**40) == [(MMAP_THRESHOLD, 2**30), keep_everything]
    assert told(2**25) == [(MMAP_THRESHOLD, 2**30), (MMAP_THRESHOLD, 2**25), keep_everything]
    assert told(0) == [(MMAP_THRESHOLD, 2**30), (MMAP_THRESHOLD, 2**25)]


def test_who_sets_malloc_by_himself_keeps_what_he_set(told, monkeypatch):
    monkeypatch.setenv("MALLOC_ARENA_MAX", "2")
    assert told(2**40) == []


@pytest.mark.parametrize("missing", [AttributeError, OSError, TypeError])
def test_a_system_without_such_a_malloc_is_asked_once_and_left_alone(monkeypatch, missing):
    asked = []

    def no_library(name):
        asked.append(name)
        raise missing

    monkeypatch.setattr(ctypes, "CDLL", no_library)
    keep_freed_memory.__wrapped__()
    assert asked == [None]

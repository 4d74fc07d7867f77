"""What every loop needs: here, what malloc and oneDNN are told."""

import ctypes
import os
import subprocess
import sys

import pytest
import torch

from dilm.models.compute import PRIMITIVES, keep_few_primitives, keep_freed_memory

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


def test_onednn_keeps_few_primitives_unless_the_user_has_said_how_many(monkeypatch):
    new, old = "ONEDNN_PRIMITIVE_CACHE_CAPACITY", "DNNL_PRIMITIVE_CACHE_CAPACITY"
    for name in (new, old):
        monkeypatch.delenv(name, raising=False)
    keep_few_primitives()
    assert os.environ[new] == str(PRIMITIVES)
    monkeypatch.setenv(new, "7")
    keep_few_primitives()
    assert os.environ[new] == "7"
    monkeypatch.delenv(new)
    monkeypatch.setenv(old, "9")
    keep_few_primitives()
    assert new not in os.environ and os.environ[old] == "9"


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch was built without oneDNN")
@pytest.mark.parametrize(("capacity", "found"), [(PRIMITIVES, "miss"), (1024, "hit")])
def test_onednn_heeds_it_after_torch_was_loaded(capacity, found):
    """A product of a shape that was there PRIMITIVES shapes ago is compiled again, unless more of them are kept."""
    script = f"""
import torch
from dilm.models.compute import keep_few_primitives
keep_few_primitives()
for width in [*range(1, {PRIMITIVES} + 2), 1]:
    torch.nn.functional.conv2d(torch.zeros(2, 16, 4, width), torch.zeros(16, 16, 1, 1))
"""
    own = {} if capacity == PRIMITIVES else {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": str(capacity)}
    inherited = {name: value for name, value in os.environ.items() if not name.endswith("PRIMITIVE_CACHE_CAPACITY")}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=inherited | own | {"ONEDNN_VERBOSE": "profile_create", "OMP_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        check=True,
    )
    last = [line for line in done.stdout.splitlines() if ",convolution," in line][-1]
    assert f"create:cache_{found}" in last, last

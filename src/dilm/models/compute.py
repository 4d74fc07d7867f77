"""Device, precision, seeds, optimisers: what every loop needs and no loop should spell out."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import gc
import hashlib
import math
import os
import sys
from collections.abc import Iterator

import torch
from torch import Tensor
from transformers import get_scheduler

from ..config import OptimizationConfig
from ..errors import InputError


def default_device() -> torch.device:
    """The first GPU, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def describe_machine(device: torch.device, bf16: bool) -> str:
    """`2 CPU cores, bfloat16`, with the GPU's name where there is one."""
    gpu = {"cuda": torch.cuda.get_device_name, "mps": lambda: "Apple GPU"}.get(device.type)
    parts = [*([gpu()] if gpu else []), f"{os.cpu_count()} CPU cores", "bfloat16" if bf16 else "float32"]
    return ", ".join(parts)


def native_bf16(device: torch.device) -> bool:
    """Whether the processor multiplies bfloat16 faster than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()


def autocast(device: torch.device, bf16: bool) -> contextlib.AbstractContextManager:
    """bfloat16 autocast, or nothing."""
    return torch.autocast(device.type, torch.bfloat16, enabled=bf16)


def derived_seed(*parts: object) -> int:
    """A seed from a run's seed and the names of what it is for: 63 bits that do not depend on the order of use."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def release_memory() -> None:
    """Give back what a finished stage has freed: allocators keep it otherwise, and the next stage adds its own."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    with contextlib.suppress(OSError, AttributeError):  # glibc's; others have none
        ctypes.CDLL(None).malloc_trim(0)


@functools.cache
def keep_freed_memory() -> None:
    """Let glibc's malloc keep what tensors free; a run gives it back at the end of each stage (`release_memory`).

    Given back to the system at once, every page of the next step's activations is mapped and zeroed anew, a seventh of
    the time of a small step. It holds for the whole process; who sets MALLOC_* variables of his own keeps them.
    """
    if any(name.startswith("MALLOC_") for name in os.environ):
        return
    with contextlib.suppress(OSError, AttributeError, TypeError):  # no such malloc; Windows has no CDLL(None)
        mallopt, trim_threshold, mmap_threshold = ctypes.CDLL(None).mallopt, -1, -3
        if mallopt(mmap_threshold, 2**30) or mallopt(mmap_threshold, 2**25):  # older ones take 32 MB at most
            mallopt(trim_threshold, 2**31 - 1)


PRIMITIVES = 128
"""Compiled matrix products that oneDNN keeps at most; a set that is trained on needs some dozens."""


def keep_few_primitives() -> None:
    """Let oneDNN, once it begins, keep fewer of the products that it compiles, one for each shape, than its own 1,024.

    Batches of texts of all lengths are of thousands of shapes, which hardly ever come again; and what is kept lies
    between activations that are freed, so that larger ones never fit in their place: memory grows for hours. Nothing
    else changes. Who sets the variable himself keeps what he set.
    """
    if "DNNL_PRIMITIVE_CACHE_CAPACITY" not in os.environ:  # the older name
        os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(PRIMITIVES))


@contextlib.contextmanager
def libraries_set_aside() -> Iterator[None]:
    """Inside, collections of garbage pass over what is there already: the libraries' half a million objects."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def peak_memory() -> dict[str, int]:
    """Bytes at the highest since the process began: {"ram"} resident, {"gpu"} allocated; left out if unknown."""
    found = {}
    with contextlib.suppress(ImportError):  # Windows has no such module
        import resource

        units = 1 if sys.platform == "darwin" else 1024
        found["ram"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * units
    if torch.cuda.is_available():
        found["gpu"] = torch.cuda.max_memory_allocated()
    return found


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """torch's global random state set from `seed`, and put back afterwards."""
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


class RandomStream:
    """A stream of torch's random numbers of its own: dropout here does not move anyone else's draws."""

    def __init__(self, seed: int):
        with seeded(seed):
            self.state = self._get()
            """Random states of the CPU and of the GPU; None for the GPU where there is none."""

    @staticmethod
    def _get() -> tuple[Tensor, Tensor | None]:
        return torch.get_rng_state(), torch.cuda.get_rng_state() if torch.cuda.is_available() else None

    @staticmethod
    def _set(state: tuple[Tensor, Tensor | None]) -> None:
        torch.set_rng_state(state[0])
        if state[1] is not None:
            torch.cuda.set_rng_state(state[1])

    def __enter__(self) -> None:
        self._outside = self._get()
        self._set(self.state)

    def __exit__(self, *_: object) -> None:
        self.state = self._get()
        self._set(self._outside)


def make_optimizer(
    parameters: list[torch.nn.Parameter], config: OptimizationConfig, max_steps: int
) -> tuple[torch.optim.AdamW, torch.optim.lr_scheduler.LRScheduler]:
    """AdamW (fused) and its schedule over `max_steps`."""
    optimizer = torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=config.weight_decay, fused=True)
    warmup = config.warmup_steps if config.warmup_steps >= 1 else config.warmup_steps * max_steps
    try:
        scheduler = get_scheduler(
            config.lr_scheduler_type, optimizer, num_warmup_steps=math.ceil(warmup), num_training_steps=max_steps
        )
        scheduler.get_last_lr()
    except (ValueError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"lr_scheduler_type '{config.lr_scheduler_type}' cannot be used ({reason}); try cosine, linear or constant"
        ) from None
    return optimizer, scheduler

"""Several processes with one result: who does what, and how the parts come together again.

Models are the same in every process, and so is every random number; only the work is shared. What a process computes
on its share of the texts is summed or gathered, so that N processes do what one would, up to the order in which
floating-point numbers are added. One process passes through all of this unchanged.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list, gather_object
from torch import Tensor

from ..spread import RENDEZVOUS
from .compute import default_device

T = TypeVar("T")
PATIENCE = datetime.timedelta(days=1)
"""How long a process waits for the others: one of them may train the full-data classifier meanwhile."""


def process_state() -> PartialState:
    """Which of how many processes this is (--num-processes, accelerate launch, torchrun); one of one by default."""
    meeting: dict[str, Any] = {}
    if (place := os.environ.get(RENDEZVOUS)) and not torch.distributed.is_initialized():
        rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        store = torch.distributed.FileStore(place, size)  # pyright: ignore[reportPrivateImportUsage]
        store.set_timeout(PATIENCE)
        meeting = {"store": store, "rank": rank, "world_size": size}
    return PartialState(cpu=default_device().type == "cpu", timeout=PATIENCE, **meeting)


def leave() -> None:
    """End the talk of processes on CPUs, for one that is about to end: a thread of it that still runs when Python ends
    can abort the process, whose exit code is then not its own."""
    talk = torch.distributed
    if talk.is_available() and talk.is_initialized() and talk.get_backend() == "gloo":
        talk.destroy_process_group()


def own_share(items: Sequence[T]) -> list[T]:
    """Every N-th item: this process's part."""
    state = process_state()
    return list(items[state.process_index :: state.num_processes])


def of_the_first(value: T) -> T:
    """The first process's value, in all of them; it is pickled."""
    held = [value]
    broadcast_object_list(held)
    return held[0]


def gathered(own: Iterable[Any], count: int) -> list[Any]:
    """The results on all `count` items, in their order, from each process's results on its `own_share`."""
    parts, number = gather_object([list(own)]), process_state().num_processes
    return [parts[i % number][i // number] for i in range(count)]


def gathered_rows(own: Tensor, count: int) -> Tensor:
    """[count, ...] from each process's rows [n, ...] of its `own_share`; no gradients pass."""
    number = process_state().num_processes
    if number == 1:
        return own.detach()
    size = -(-count // number)  # shares differ by one at most: all are padded to the largest
    padded = own.new_zeros(size, *own.shape[1:])
    padded[: len(own)] = own.detach()
    parts = [torch.empty_like(padded) for _ in range(number)]
    torch.distributed.all_gather(parts, padded)
    return torch.stack(parts, 1).flatten(0, 1)[:count]


def any_process(flag: bool) -> bool:
    """Whether it holds in any of the processes; all must ask."""
    state = process_state()
    if state.num_processes == 1:
        return flag
    count = torch.tensor(float(flag), device=state.device)
    torch.distributed.all_reduce(count)
    return bool(count > 0)


def sum_gradients(parameters: Iterable[torch.nn.Parameter], *figures: Tensor) -> None:
    """Add up the gradients of all processes, and figures beside them, in place; in one message per precision."""
    if process_state().num_processes == 1:
        return
    parameters = [p for p in parameters if p.requires_grad]
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    tensors = [p.grad for p in parameters if p.grad is not None] + [figure.data for figure in figures]
    for dtype in dict.fromkeys(tensor.dtype for tensor in tensors):
        group = [tensor for tensor in tensors if tensor.dtype == dtype]
        flat = torch.cat([tensor.flatten() for tensor in group])
        torch.distributed.all_reduce(flat)
        for tensor, total in zip(group, flat.split([t.numel() for t in group]), strict=True):
            tensor.copy_(total.view_as(tensor))

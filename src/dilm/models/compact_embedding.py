"""Training on a small set touches few rows of the word embeddings: keep only those in the optimiser.

AdamW moves a row without gradient by weight decay alone, p <- (1 - lr * decay) p, since both of its moments stay zero.
So training on the rows that occur and scaling the others once at the end gives the same weights, and the largest
matrix of a small encoder (half of MiniLM) costs next to nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn


class CompactEmbedding(nn.Module):
    """The rows of an embedding that occur; it is looked up with the same ids."""

    def __init__(self, full: nn.Embedding, ids: Tensor):
        super().__init__()
        self.weight = nn.Parameter(full.weight.detach()[ids].clone())
        self.places = torch.full((len(full.weight),), -1, device=ids.device)
        self.places[ids] = torch.arange(len(ids), device=ids.device)
        padding = full.padding_idx
        self.padding_place = None if padding is None or padding not in ids else int(self.places[padding])

    def forward(self, ids: Tensor) -> Tensor:
        return nn.functional.embedding(self.places[ids], self.weight, padding_idx=self.padding_place)


class Decay:
    """Product of (1 - lr * decay) over the steps: what AdamW does to a row that never gets a gradient."""

    def __init__(self) -> None:
        self.factor = 1.0

    def after_step(self, optimizer: torch.optim.Optimizer) -> None:
        """To be told of every step, before the schedule moves on."""
        group = optimizer.param_groups[0]
        self.factor *= 1 - float(group["lr"]) * float(group["weight_decay"])


@contextlib.contextmanager
def compact_embedding(model: nn.Module, ids: Tensor) -> Iterator[Decay]:
    """Within it `model` has only the embeddings of the given ids [k]; afterwards all, as if all had been trained.

    A model whose word embeddings are not a plain `nn.Embedding` is left as it is, and so is one without any, such as
    CANINE.
    """
    full, decay = None, Decay()
    with contextlib.suppress(NotImplementedError):
        full = model.get_input_embeddings()  # type: ignore[operator]
    if type(full) is not nn.Embedding or full.max_norm is not None or not full.weight.requires_grad:
        yield decay
        return
    ids = torch.unique(ids)
    compact = CompactEmbedding(full, ids)
    model.set_input_embeddings(compact)  # type: ignore[operator]
    try:
        yield decay
    finally:
        model.set_input_embeddings(full)  # type: ignore[operator]
        with torch.no_grad():
            full.weight.mul_(decay.factor)
            full.weight[ids] = compact.weight

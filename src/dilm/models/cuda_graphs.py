"""A training step on one and the same batch as a CUDA graph.

A step of a small encoder on a few dozen texts is some seven hundred kernels that take less time to run than to launch.
Recorded once and replayed as a whole, it takes the time that they run.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class SummedLoss(nn.Module):
    """Cross-entropy of a classifier, summed over the texts of a batch."""

    def __init__(self, model: nn.Module, bf16: bool, names: list[str]):
        super().__init__()
        self.model, self.bf16, self.names = model, bf16, names

    def forward(self, labels: Tensor, *inputs: Tensor) -> Tensor:
        # Weights that a graph has cast are those of its recording: they are cast anew in every replay.
        with torch.autocast(labels.device.type, torch.bfloat16, enabled=self.bf16, cache_enabled=False):
            logits = self.model(**dict(zip(self.names, inputs, strict=True))).logits
        return nn.functional.cross_entropy(logits.float(), labels, reduction="sum")


def recorded_loss(
    model: nn.Module, inputs: dict[str, Tensor], labels: Tensor, bf16: bool
) -> Callable[[], Tensor] | None:
    """The summed loss on this batch, differentiable, as a graph of its own; None if the model cannot be recorded."""
    loss: Any = SummedLoss(model, bf16, list(inputs))
    values = (labels, *inputs.values())
    stream = torch.cuda.current_stream()
    try:
        recorded: Any = torch.cuda.make_graphed_callables(loss, values, allow_unused_input=True)
    except RuntimeError as error:  # it looks at values on the way: nothing that a graph could do
        torch.cuda.set_stream(stream)
        random: Any = torch.cuda.default_generators[labels.device.index or 0]  # it believes that it is being recorded
        fresh: Any = torch.Generator(labels.device)
        random.graphsafe_set_state(fresh.graphsafe_get_state())
        reason = " ".join(str(error).split())[:200]
        warnings.warn(f"no CUDA graph of {type(model).__name__}, which takes longer: {reason}", stacklevel=2)
        return None
    return lambda: recorded(*values)

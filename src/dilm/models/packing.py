"""Sequence packing: short texts share a row, kept apart by the attention mask, so that nearly no padding is computed.

Every text keeps its own positions, and attention sees no other text: dropout aside, the same result as one row
per text.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from .batching import length_groups

PACKED = ("bert", "electra", "roberta", "xlm-roberta", "camembert")
"""Encoders that take positions and a mask of every pair of tokens, and whose heads read a text's first token alone."""

ROW_COST = 640
"""Length of a row at which attention costs about as much as all the rest (MiniLM, on a CPU)."""

FIRST_TOKENS = "first_tokens"
"""Name of the input [n] that tells where in the flattened rows each text begins; only packed inputs have it."""


def can_pack(model: PreTrainedModel) -> bool:
    """Whether texts can share a row in this classifier."""
    config = model.config
    plain = not getattr(config, "is_decoder", False) and not getattr(config, "chunk_size_feed_forward", 0)
    return config.model_type in PACKED and config._attn_implementation == "sdpa" and plain


def packed_rows(lengths: Sequence[int], group_cost: int, most_tokens: int) -> list[list[list[int]]] | None:
    """Places of texts in rows, and rows in groups, of which none of several rows has more than `most_tokens` padded
    tokens; None where one row per text, in groups of similar length, costs less: one long text makes all rows long.

    Best fit, longest text first, with the cheapest of a few row lengths.
    """
    longest = max(lengths)
    order = sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True)
    packings = []
    for capacity in sorted({longest * quarters // 4 for quarters in (4, 5, 6, 8)}):
        rows, at_once = _best_fit(lengths, order, capacity), max(1, most_tokens // capacity)
        groups = [rows[start : start + at_once] for start in range(0, len(rows), at_once)]
        shapes = [(len(group), max(sum(lengths[i] for i in row) for row in group)) for group in groups]
        packings.append((_cost(shapes, group_cost), groups))
    cheapest, groups = min(packings, key=lambda packing: packing[0])
    apart = [(len(group), max(lengths[i] for i in group)) for group in length_groups(lengths, group_cost, most_tokens)]
    return groups if cheapest <= _cost(apart, group_cost) else None


def _cost(shapes: Sequence[tuple[int, int]], group_cost: int) -> float:
    """What groups of (rows, width) cost, in tokens: also for attention, which grows with the width, and each pass."""
    return sum(count * width * (1 + width / ROW_COST) + group_cost for count, width in shapes)


def _best_fit(lengths: Sequence[int], order: Sequence[int], capacity: int) -> list[list[int]]:
    """Places in rows of `capacity` tokens, taken in this order, each where least room is left over."""
    rows: list[list[int]] = []
    room = np.zeros(len(order), np.int64)
    for place in order:
        free = np.where(room[: len(rows)] >= lengths[place], room[: len(rows)], capacity + 1)
        row = int(free.argmin()) if len(rows) and free.min() <= capacity else len(rows)
        if row == len(rows):
            rows.append([])
            room[row] = capacity
        rows[row].append(place)
        room[row] -= lengths[place]
    return rows


def pack(
    encoded: Sequence[dict[str, list[int]]], rows: Sequence[Sequence[int]], model: PreTrainedModel
) -> dict[str, Tensor]:
    """Inputs of a model that `can_pack`, [rows, longest row]; its logits are in the order of `rows`."""
    width = max(sum(len(encoded[place]["input_ids"]) for place in row) for row in rows)
    padding = int(model.config.pad_token_id or 0)
    keys = [key for key in encoded[0] if key != "attention_mask"]
    inputs = {key: np.full((len(rows), width), padding if key == "input_ids" else 0) for key in keys}
    # RoBERTa and its kin count positions from the padding index on.
    first_position = 0 if model.config.model_type in ("bert", "electra") else padding + 1
    positions, texts = np.full((len(rows), width), first_position), np.full((len(rows), width), -1)
    first_tokens: list[int] = []
    for number, row in enumerate(rows):
        start = 0
        for place in row:
            end = start + len(encoded[place]["input_ids"])
            for key in keys:
                inputs[key][number, start:end] = encoded[place][key]
            positions[number, start:end] += np.arange(end - start)
            texts[number, start:end] = place
            first_tokens.append(number * width + start)
            start = end
    inputs |= {
        "position_ids": positions,
        "attention_mask": (texts[:, None, :, None] == texts[:, None, None, :]),
        FIRST_TOKENS: np.array(first_tokens),
    }
    return {key: torch.from_numpy(value).to(model.device) for key, value in inputs.items()}


def logits_of(model: PreTrainedModel, inputs: dict[str, Tensor]) -> Tensor:
    """Logits [n, c] of inputs, packed or not, in float32."""
    if FIRST_TOKENS not in inputs:
        return model(**inputs).logits.float()
    with _first_tokens_alone(model.base_model, inputs[FIRST_TOKENS]):
        return model(**{key: value for key, value in inputs.items() if key != FIRST_TOKENS}).logits.float()


@contextlib.contextmanager
def _first_tokens_alone(encoder: Any, first_tokens: Tensor) -> Iterator[None]:
    """Within it the last layer goes on, after attention, with the first token of each text alone [n, 1, d].

    The head reads no other, so the last layer's larger half is computed for none but these.
    """

    def select(_: nn.Module, states: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(state.flatten(0, 1)[first_tokens, None] for state in states)

    hook = encoder.encoder.layer[-1].attention.output.register_forward_pre_hook(select)
    try:
        yield
    finally:
        hook.remove()

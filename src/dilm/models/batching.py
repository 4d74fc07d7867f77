"""Cutting a batch into groups of similar length, so that little is computed on padding, and of bounded size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

GROUP_COST = {"cpu": 64, "cuda": 4096, "mps": 1024}
"""What one more pass through the network costs, in tokens that could be computed in that time."""

TOKENS_AT_ONCE = {"cpu": 2048, "cuda": 65536, "mps": 16384}
"""Padded tokens, at most, that pass through a network together, or whose activations are held for the way back: long
texts cost time, not memory."""

LOGITS_AT_ONCE = {"cpu": 2**27, "cuda": 2**30, "mps": 2**28}
"""Logits of a language model, at most, that are held at once, in float32 and several times over."""

CACHED_TOKENS = {"cpu": 32768, "cuda": 2**20, "mps": 131072}
"""Tokens, at most, whose keys and values are held while texts are sampled."""


def length_groups(lengths: Sequence[int], group_cost: int, most_tokens: int) -> list[list[int]]:
    """Places in groups of neighbouring lengths such that padded tokens + group_cost * groups is least.

    No group of several texts has more than `most_tokens` padded tokens. Dynamic programming over the sorted lengths:
    O(n^2) for n texts.
    """
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    count = len(order)
    best = np.full(count + 1, np.inf)
    best[0], start_of = 0.0, [0] * (count + 1)
    for end in range(1, count + 1):
        longest = lengths[order[end - 1]]
        tokens = longest * (end - np.arange(end))
        tokens[: end - 1] = np.where(tokens[: end - 1] > most_tokens, np.iinfo(int).max // 2, tokens[: end - 1])
        costs = best[:end] + tokens + group_cost
        start_of[end] = int(costs.argmin())
        best[end] = costs[start_of[end]]
    groups, end = [], count
    while end:
        groups.append(order[start_of[end] : end])
        end = start_of[end]
    return groups


def runs_within(lengths: Sequence[int], most_tokens: int) -> list[slice]:
    """Runs of neighbours, each as long as its padded tokens stay within `most_tokens`; one text at least."""
    runs, start, longest = [], 0, 0
    for place, length in enumerate(lengths):
        longest = max(longest, length)
        if place > start and longest * (place + 1 - start) > most_tokens:
            runs.append(slice(start, place))
            start, longest = place, length
    return [*runs, slice(start, len(lengths))] if lengths else []


def group_cost(device: torch.device) -> int:
    """GROUP_COST of a device."""
    return GROUP_COST.get(device.type, 1024)


def tokens_at_once(device: torch.device) -> int:
    """TOKENS_AT_ONCE of a device."""
    return TOKENS_AT_ONCE.get(device.type, 16384)


def logits_at_once(device: torch.device) -> int:
    """LOGITS_AT_ONCE of a device."""
    return LOGITS_AT_ONCE.get(device.type, 2**28)


def cached_tokens(device: torch.device) -> int:
    """CACHED_TOKENS of a device."""
    return CACHED_TOKENS.get(device.type, 131072)

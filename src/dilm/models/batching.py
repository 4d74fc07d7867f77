"""Cutting a batch into groups of similar length, so that little is computed on padding."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

GROUP_COST = {"cpu": 128, "cuda": 4096, "mps": 1024}
"""What one more pass through the network costs, in tokens that could be computed in that time."""


def length_groups(lengths: Sequence[int], group_cost: int) -> list[list[int]]:
    """Places in groups of neighbouring lengths such that padded tokens + group_cost * groups is least.

    Dynamic programming over the sorted lengths: O(n^2) for n texts.
    """
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    count = len(order)
    best = np.full(count + 1, np.inf)
    best[0], start_of = 0.0, [0] * (count + 1)
    for end in range(1, count + 1):
        longest = lengths[order[end - 1]]
        costs = best[:end] + longest * (end - np.arange(end)) + group_cost
        start_of[end] = int(costs.argmin())
        best[end] = costs[start_of[end]]
    groups, end = [], count
    while end:
        groups.append(order[start_of[end] : end])
        end = start_of[end]
    return groups


def group_cost(device: torch.device) -> int:
    """GROUP_COST of a device."""
    return GROUP_COST.get(device.type, 1024)

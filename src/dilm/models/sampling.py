"""Batched nucleus sampling with a KV cache from which finished rows are dropped."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel

DRAWS = 16
"""Draws from all tokens until one lies in the nucleus; a row that has no luck is sorted (a small top_p, not 0.95)."""

DROP_SHARE = 8
"""Finished rows leave the cache once they are more than 1/DROP_SHARE of it: dropping copies the cache."""


@dataclass(frozen=True)
class SamplingRules:
    """What may be sampled when."""

    end: int
    """Token that ends a text; never the first one, and for a pair not before the second text has a token."""
    separator: int | None
    """Token between the texts of a pair, exactly once; None for single texts."""
    banned: tuple[int, ...]
    """Tokens that are never sampled."""
    max_tokens: int
    """Tokens at most, the end token included."""
    top_p: float


def nucleus_sample(logits: Float[Tensor, "n v"], top_p: float, random: torch.Generator) -> Int[Tensor, " n"]:
    """One token per row from the smallest set of likeliest tokens that holds top_p: exact, and without sorting.

    A token is drawn from all and kept if the likelier ones hold less than top_p, which is what it means to lie in the
    nucleus (tokens of one probability stand or fall together); else the row draws again. A draw costs O(v), and a row
    needs at most 1 / top_p of them on average.
    """
    probabilities = torch.softmax(logits, dim=1)
    cumulative = probabilities.cumsum(1)
    chosen = torch.empty(len(logits), dtype=torch.long, device=logits.device)
    rows = torch.arange(len(logits), device=logits.device)
    for _ in range(DRAWS):
        uniform = torch.rand(len(rows), 1, generator=random, device=logits.device)
        tokens = torch.searchsorted(cumulative, uniform * cumulative[:, -1:], right=True)
        tokens.clamp_(max=logits.shape[1] - 1)
        own = probabilities.gather(1, tokens)
        likelier = ((probabilities > own) * probabilities).sum(1)
        inside = (likelier < top_p) & (own.squeeze(1) > 0)
        chosen[rows[inside]] = tokens[inside].squeeze(1)
        outside = ~inside
        if not bool(outside.any()):
            return chosen
        rows, probabilities, cumulative = rows[outside], probabilities[outside], cumulative[outside]
    chosen[rows] = _sample_sorted(probabilities, top_p, random)
    return chosen


def _sample_sorted(probabilities: Float[Tensor, "n v"], top_p: float, random: torch.Generator) -> Int[Tensor, " n"]:
    """`nucleus_sample` by sorting."""
    values, tokens = probabilities.sort(dim=1, descending=True)
    before = values.cumsum(1) - values
    before[:, 0] = 0  # the likeliest token belongs to the nucleus, however rounding falls
    place = torch.multinomial(values * (before < top_p), 1, generator=random)
    return tokens.gather(1, place).squeeze(1)


@torch.inference_mode()
def sample_token_ids(
    model: PreTrainedModel, prompts: Int[Tensor, " n"], rules: SamplingRules, random: torch.Generator
) -> list[tuple[list[int], bool]]:
    """Continue one-token prompts; returns each row's tokens without prompt and end, and whether it ended itself."""
    device, count = prompts.device, len(prompts)
    written = torch.full((count, rules.max_tokens), rules.end, device=device)
    lengths = torch.full((count,), rules.max_tokens, device=device)
    banned = torch.tensor(rules.banned, dtype=torch.long, device=device)
    rows = torch.arange(count, device=device)  # rows of the batch that are still in the cache
    open_rows = torch.ones(count, dtype=torch.bool, device=device)  # of those, the unfinished ones
    since_separator = torch.full((count,), -1, device=device)  # tokens since <sep>; -1 before it
    current, cache = prompts, None
    for step in range(rules.max_tokens):
        output = model(input_ids=current[:, None], past_key_values=cache, use_cache=True)
        cache = output.past_key_values
        logits = output.logits[:, -1].float()
        logits[:, banned] = -torch.inf
        if rules.separator is None:
            if step == 0:
                logits[:, rules.end] = -torch.inf
        else:
            before = since_separator < 0
            logits[before | (since_separator == 0), rules.end] = -torch.inf
            logits[~before | (step == 0), rules.separator] = -torch.inf
        current = nucleus_sample(logits, rules.top_p, random)
        since_separator += (since_separator >= 0).long()
        if rules.separator is not None:
            since_separator[current == rules.separator] = 0
        written[rows[open_rows], step] = current[open_rows]
        ended = open_rows & (current == rules.end)
        lengths[rows[ended]] = step
        open_rows &= ~ended
        # A finished row goes on with any harmless token until it is dropped: the model would warn of padding.
        current = torch.where(open_rows, current, prompts[0])
        still_open = int(open_rows.sum())
        if still_open == 0:
            break
        if len(rows) - still_open > len(rows) // DROP_SHARE:
            kept = open_rows.nonzero().squeeze(1)
            cache.reorder_cache(kept)  # which states of every kind have: keys and values, convolutions, recurrences
            rows, current, since_separator = rows[kept], current[kept], since_separator[kept]
            open_rows = torch.ones(len(rows), dtype=torch.bool, device=device)
    sizes, tokens = lengths.tolist(), written.tolist()
    return [(tokens[i][: sizes[i]], sizes[i] < rules.max_tokens) for i in range(count)]

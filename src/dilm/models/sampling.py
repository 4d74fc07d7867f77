"""Batched nucleus sampling with a KV cache from which finished rows are dropped."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel

NUCLEUS_CANDIDATES = 512
"""The nucleus is looked for among this many likeliest tokens; a row where they hold less than top_p is sorted whole."""

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


def nucleus_sample(logits: Float[Tensor, "n v"], top_p: float, uniform: Float[Tensor, " n"]) -> Int[Tensor, " n"]:
    """One token per row from the smallest set of likeliest tokens that holds top_p: exact.

    `uniform` are the rows' random numbers in [0, 1).
    """
    log_total = torch.logsumexp(logits, dim=1, keepdim=True)
    values, tokens = logits.topk(min(NUCLEUS_CANDIDATES, logits.shape[1]), dim=1)
    chosen, held = _inverse_cdf(torch.exp(values - log_total), tokens, top_p, uniform)
    short = held < top_p
    if tokens.shape[1] < logits.shape[1] and bool(short.any()):
        values, tokens = logits[short].sort(dim=1, descending=True)
        chosen[short], _ = _inverse_cdf(torch.exp(values - log_total[short]), tokens, top_p, uniform[short])
    return chosen


def _inverse_cdf(
    probabilities: Float[Tensor, "n k"], tokens: Int[Tensor, "n k"], top_p: float, uniform: Float[Tensor, " n"]
) -> tuple[Int[Tensor, " n"], Float[Tensor, " n"]]:
    """Sample within the nucleus of rows sorted by probability; also how much probability a row's k tokens hold."""
    cumulative = probabilities.cumsum(1)
    # The token that crosses top_p still belongs to the nucleus.
    size = ((cumulative - probabilities) < top_p).sum(1, keepdim=True).clamp(min=1)
    mass = cumulative.gather(1, size - 1)
    place = torch.searchsorted(cumulative, uniform[:, None] * mass, right=True)
    return tokens.gather(1, torch.minimum(place, size - 1)).squeeze(1), cumulative[:, -1]


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
        uniform = torch.rand(len(rows), generator=random, device=device)
        current = nucleus_sample(logits, rules.top_p, uniform)
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
            cache.batch_select_indices(kept)
            rows, current, since_separator = rows[kept], current[kept], since_separator[kept]
            open_rows = torch.ones(len(rows), dtype=torch.bool, device=device)
    sizes, tokens = lengths.tolist(), written.tolist()
    return [(tokens[i][: sizes[i]], sizes[i] < rules.max_tokens) for i in range(count)]

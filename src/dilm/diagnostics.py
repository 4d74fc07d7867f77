"""Signs of trouble: what texts, labels and gradients look like in figures, and warnings in words."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from .task import TextInput

Facts = dict[str, Any]

COMPARED = 200
"""Texts, at most, over which distinct-n is taken."""
MANY_CUT = 0.1
"""Share of training texts that are cut which is worth a warning."""


def words(text: TextInput) -> list[str]:
    """Lower-case words of a text or of both texts of a pair."""
    return (text if isinstance(text, str) else " ".join(text)).lower().split()


def is_repetitive(text: TextInput) -> bool:
    """Whether a third or more of a text's word trigrams (or words, in a short one) stood in it before."""
    tokens = words(text)
    if len(tokens) < 4:
        return False
    grams = list(zip(tokens, tokens[1:], tokens[2:], strict=False))
    repeated_words = 1 - len(set(tokens)) / len(tokens)
    return 1 - len(set(grams)) / len(grams) >= 1 / 3 or repeated_words >= 2 / 3


def distinct_n(texts: Sequence[TextInput], n: int) -> float:
    """Distinct word n-grams over all word n-grams of the texts (1 is most varied)."""
    grams = Counter()
    for text in texts:
        tokens = words(text)
        grams.update(zip(*(tokens[i:] for i in range(n)), strict=False))
    return len(grams) / max(grams.total(), 1)


def describe_texts(texts: Sequence[TextInput], compared: int = COMPARED) -> Facts:
    """Shares of duplicate and repetitive texts, distinct-1 and -2, and mean length in words.

    distinct-n falls with the number of texts, so of all that stand side by side it is taken over the first `compared`.
    """
    total = max(len(texts), 1)
    return {
        "texts": len(texts),
        "duplicate": 1 - len(set(texts)) / total,
        "repetitive": sum(map(is_repetitive, texts)) / total,
        "distinct_1": distinct_n(texts[:compared], 1),
        "distinct_2": distinct_n(texts[:compared], 2),
        "mean_words": sum(len(words(text)) for text in texts) / total,
    }


def is_finite(value: float | None) -> bool:
    """Whether a figure of a history is a number; one that was not has become None on its way through JSON."""
    return value is not None and math.isfinite(value)


def describe_matching(history: Sequence[Facts]) -> Facts:
    """Stage 2 in figures: cosine beside that of real texts (at the steps that have both), bad gradients."""
    if not history:
        return {}
    good = [record for record in history if is_finite(record["grad_norm"]) and is_finite(record["cosine"])]
    both = [record for record in good if is_finite(record.get("real_cosine"))]
    norms = np.array([record["grad_norm"] for record in good])
    return {
        "steps": len(history),
        "cosine": float(np.mean([record["cosine"] for record in both])) if both else None,
        "cosine_real": float(np.mean([record["real_cosine"] for record in both])) if both else None,
        "non_finite": 1 - len(good) / len(history),
        "vanishing": float((norms < 1e-8).mean()) if good else 0.0,
    }


CURVE_POINTS = 200
"""Points of a learning curve, at most."""


def learning_curve(history: Sequence[Facts]) -> list[Facts]:
    """A stage's history as points {"step", "loss", ...}: of each figure the mean since the point before.

    A figure that is missing or not finite in all those steps is left out of the point.
    """
    block = max(1, math.ceil(len(history) / CURVE_POINTS))
    points = []
    for start in range(0, len(history), block):
        records = history[start : start + block]
        point: Facts = {"step": start + len(records)}
        for name in dict.fromkeys(name for record in records for name in record):
            if values := [record[name] for record in records if is_finite(record.get(name))]:
                point[name] = float(f"{sum(values) / len(values):.5g}")
        points.append(point)
    return points


def warnings(facts: Facts) -> list[str]:
    """Warnings in words for the diagnostics of a run: {"pool", "rejected", "agreement", "matching", ...}."""
    found = []

    def warn_if(condition: bool, message: str) -> None:
        if condition:
            found.append(message)

    cut = facts["cut"]
    warn_if(
        cut > MANY_CUT,
        f"{cut:.0%} of the training texts are longer than the generator reads and were cut, so it learned to stop in "
        "the middle of a sentence; raise --generator-max-length",
    )
    pool, distilled, real = facts["pool"], facts["distilled"], facts["real"]
    malformed, unfinished = facts["rejected"]["malformed"], facts["rejected"]["unfinished"]
    warn_if(malformed > 0.05, f"{malformed:.0%} of the texts came out empty or malformed and were written again")
    warn_if(
        unfinished > 0.2,
        f"{unfinished:.0%} of the texts were not finished at the longest length; raise --generator-max-length",
    )
    duplicate, repetitive = pool["duplicate"], pool["repetitive"]
    warn_if(duplicate > 0.3, f"{duplicate:.0%} of the pool are duplicates: the generator has little variety")
    warn_if(
        repetitive > real["repetitive"] + 0.1,
        f"{repetitive:.0%} of the pool repeat themselves (real texts: {real['repetitive']:.0%})",
    )
    warn_if(
        distilled["distinct_2"] < 0.6 * real["distinct_2"],
        f"distilled texts are much less varied than real ones (distinct-2 {distilled['distinct_2']:.2f} against "
        f"{real['distinct_2']:.2f})",
    )
    agreement, real_agreement = facts["agreement"], facts["real_agreement"]
    warn_if(
        agreement < 0.75 * real_agreement,
        f"the full-data classifier gives only {agreement:.0%} of the pool the class that was asked for (held-out real "
        f"texts: {real_agreement:.0%}): the generator heeds its class token too little; train stage 1 longer",
    )
    invented = facts.get("invented")  # not known where the generator knows more words than the texts have
    warn_if(
        invented is not None and invented > 0.5,
        f"{invented or 0:.0%} of the pool have words that no training text has: the generator invents them, it has "
        "learnt too little; train stage 1 longer, take a pretrained --generator, or real texts: dilm select",
    )
    matching = facts["matching"]
    if matching:
        non_finite, vanishing = matching["non_finite"], matching["vanishing"]
        warn_if(non_finite > 0, f"{non_finite:.1%} of the stage-2 steps had NaN or infinite gradients; left out")
        warn_if(vanishing > 0.2, f"gradients vanished in {vanishing:.0%} of the stage-2 steps")
        cosine, real_cosine = matching["cosine"], matching["cosine_real"]
        if cosine is not None and cosine < 0.5 * real_cosine:
            found.append(
                f"written texts match the real gradient much less (cosine {cosine:.2f}) than real texts do "
                f"({real_cosine:.2f})"
            )
    return found

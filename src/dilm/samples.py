"""What the generator writes: before and after stage 2, and every few minutes while it trains."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any

from .models.generator import Generator
from .task import TextInput
from .workspace import Workspace

SAMPLE_SECONDS = 180.0
"""Seconds between two looks at what the generator writes while it trains."""
LIVE_TEXTS = 3


def show_samples(work: Workspace, generator: Generator, name: str) -> list[dict[str, Any]]:
    """What the generator writes now: three texts of the first few classes, from the same seed before and after."""
    samples = work.read(f"samples_{name}")
    if samples is None:
        labels = [c for c in range(min(work.task.num_classes, 4)) for _ in range(3)]
        samples = _samples(work, labels, _write(work, generator, labels, work.seed("samples")))
        work.write(f"samples_{name}", samples)
    _show(work, f"the generator writes, {name} stage 2:", samples[::3], stage=f"{name} stage 2")
    return samples


def with_samples(
    work: Workspace, generator: Generator, records: Iterable[dict[str, float]], stage: str
) -> Iterator[dict[str, float]]:
    """Pass on the records of a training stage; every SAMPLE_SECONDS show three texts that the generator writes now.

    The texts come from random numbers of their own, between two steps, where the model does not drop out: what is
    trained is the same with them and without. Where nobody listens nothing is written.
    """
    looked, turn = time.monotonic(), 0
    for step, record in enumerate(records, 1):
        yield record
        if work.reporter.quiet or time.monotonic() - looked < SAMPLE_SECONDS:
            continue
        labels = [(turn + place) % work.task.num_classes for place in range(LIVE_TEXTS)]
        texts = _write(work, generator, labels, work.seed("live samples", stage, step), max_tries=2)
        _show(work, f"  {stage}, step {step:,}: the generator writes", _samples(work, labels, texts), stage, step)
        looked, turn = time.monotonic(), turn + LIVE_TEXTS


def _write(
    work: Workspace, generator: Generator, labels: list[int], seed: int, max_tries: int = 8
) -> list[TextInput | None]:
    pairs, top_p = work.task.has_pairs, work.config.top_p
    return generator.write(labels, pairs=pairs, top_p=top_p, seed=seed, max_tries=max_tries)


def _samples(work: Workspace, labels: list[int], texts: list[TextInput | None]) -> list[dict[str, Any]]:
    return [{"label_name": work.task.label_names[c], "text": t or ""} for c, t in zip(labels, texts, strict=True)]


def _show(work: Workspace, title: str, samples: list[dict[str, Any]], stage: str, step: int | None = None) -> None:
    if work.reporter.json:
        work.reporter.event("samples", stage=stage, step=step, samples=samples)
        return
    work.reporter.say(title)
    for sample in samples:
        text = sample["text"] if isinstance(sample["text"], str) else " | ".join(sample["text"])
        work.reporter.say(f"  [{sample['label_name']}] {' '.join(text.split())[:160]}")

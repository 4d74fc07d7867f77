"""Over-generation and selection: many texts per class and set, of which DPC are kept (section 3.3)."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from .config import DistillConfig
from .errors import GenerationError
from .models.compute import derived_seed
from .models.generator import Generator, TokenSampler
from .models.learner import Learner
from .overlap import shared_runs, training_blocks
from .run_folder import row_text, text_row
from .selection import METHODS, Reference
from .task import Task, TextInput

Rows = list[dict[str, Any]]

BLOCK_TEXTS = 1024
"""Texts of a block at most: what an interruption loses, and what is shared between processes."""


class Block(NamedTuple):
    """A part of one set's pool that is written in one go, from a seed of its own, and kept."""

    number: int
    """Of the set."""
    start: int
    """Texts of the set before it."""
    labels: list[int]
    """Class of each of its texts."""


def pool_blocks(task: Task, config: DistillConfig) -> list[Block]:
    """The blocks of all sets, in their order; in a set classes take turns, so that any beginning of it is balanced."""
    labels = list(range(task.num_classes)) * (config.pool.texts_per_dpc * max(config.dpc))
    size = math.ceil(len(labels) / math.ceil(len(labels) / BLOCK_TEXTS))  # about the same for all blocks
    starts = range(0, len(labels), size)
    return [Block(number, start, labels[start : start + size]) for number in range(config.sets) for start in starts]


def write_block(
    generator: Generator, task: Task, config: DistillConfig, block: Block, engine: TokenSampler | None = None
) -> Iterator[tuple[int, TextInput]]:
    """Write the texts of a block; yields (place in the block, text) as in `Generator.sample`."""
    names = (block.number, block.start) if block.start else (block.number,)
    return generator.sample(
        block.labels,
        pairs=task.has_pairs,
        top_p=config.top_p,
        seed=derived_seed(config.seed, "pool", *names),
        batch_size=config.sampling_batch_size,
        engine=engine,
    )


def block_rows(texts: dict[int, TextInput], block: Block, generator: Generator, judge: Learner) -> Rows:
    """Rows of a block from its texts by place, in order, each with the class that the full-data classifier sees in the
    text and its mean negative log-likelihood under the generator (nats per token)."""
    if not texts:
        return []
    places = sorted(texts)
    kept, labels = [texts[i] for i in places], [block.labels[i] for i in places]
    seen, nll = judge.predict(kept).argmax(1).tolist(), generator.score(kept, labels).tolist()
    return [
        text_row(text) | {"label": label, "set": block.number, "predicted_label": predicted, "nll": score}
        for text, label, predicted, score in zip(kept, labels, seen, nll, strict=True)
    ]


def usable(rows: Rows) -> Rows:
    """Without exact duplicates (case and spacing aside) and near-empty texts (no letter or digit at all)."""
    kept, seen = [], set()
    for row in rows:
        text = row_text(row)
        key = (row["label"], " ".join(str(text).lower().split()))
        parts = (text,) if isinstance(text, str) else text
        if key not in seen and all(any(ch.isalnum() for ch in part) for part in parts):
            seen.add(key)
            kept.append(row)
    return kept


def with_shared_words(rows: Rows, task: Task, limit: int) -> Rows:
    """The rows with "shared_words", the longest run of words shared with a training text, told up to limit + 1."""
    runs = shared_runs([row_text(row) for row in rows], training_blocks(task), limit + 1)
    return [row | {"shared_words": words} for row, words in zip(rows, runs.tolist(), strict=True)]


def candidates(rows: Rows, dpc: int, config: DistillConfig, num_classes: int) -> Rows:
    """The texts among which `dpc` per class are selected: the first texts_per_dpc * dpc of every class, usable ones.

    With `keep: on-label`, of a class with enough texts that the full-data classifier confirms only those are kept;
    a class with fewer is filled up with others in the order of writing. Of what is left, the least fluent go: those
    with the highest nll, 1 - fluent_share of the class, but never so many that fewer than `dpc` stay. With
    `max_overlap` a text that shares more words in a row with a training text ("shared_words") is never selected.
    """
    limit = math.inf if config.pool.max_overlap is None else config.pool.max_overlap
    by_class: list[Rows] = [[] for _ in range(num_classes)]
    for row in rows:
        if len(by_class[row["label"]]) < config.pool.texts_per_dpc * dpc:
            by_class[row["label"]].append(row)
    kept: Rows = []
    for members in by_class:
        members = [row for row in usable(members) if row.get("shared_words", 0) <= limit]
        if config.pool.keep == "on-label":
            confirmed = [row for row in members if row["predicted_label"] == row["label"]]
            others = [row for row in members if row["predicted_label"] != row["label"]]
            members = confirmed + others[: max(0, dpc - len(confirmed))]
        if config.pool.fluent_share < 1:
            room = max(dpc, round(config.pool.fluent_share * len(members)))
            members = sorted(members, key=lambda row: row["nll"])[:room]
        kept += members
    return kept


def join_texts(rows: Rows, dpc: int, parts: int, longest: int, learner: Learner, seed: int) -> Rows:
    """Candidates that say more: each of `parts` texts of a class, every text in `parts` of them in random company.

    Parts that would make a candidate longer than `longest` tokens of the learner are left out. A class whose texts make
    fewer than `dpc` different candidates is filled up with single texts.
    """
    random, found = np.random.default_rng(seed), []
    lengths = dict(
        zip(map(id, rows), (len(e["input_ids"]) for e in learner.encode([r["text"] for r in rows])), strict=True)
    )
    for label in sorted({row["label"] for row in rows}):
        members = [row for row in rows if row["label"] == label]
        candidates: dict[str, dict[str, Any]] = {}
        for _ in range(parts):
            order = random.permutation(len(members)).tolist()
            for start in range(0, len(order), parts):
                group: Rows = []
                for row in (members[i] for i in order[start : start + parts]):
                    if not group or sum(lengths[id(r)] for r in (*group, row)) <= longest:
                        group.append(row)
                text = " ".join(as_sentence(row["text"]) for row in group)
                candidates[text] = group[0] | {"text": text, "nll": float(np.mean([row["nll"] for row in group]))}
        for row in members[: max(0, dpc - len(candidates))]:
            candidates.setdefault(row["text"], row)
        found += candidates.values()
    return found


def as_sentence(text: str) -> str:
    """The text with a full stop, unless it ends with a punctuation mark."""
    return text if unicodedata.category(text[-1]).startswith("P") else f"{text}."


def selected(
    rows: Rows,
    sizes: Sequence[int],
    config: DistillConfig,
    task: Task,
    learner: Learner,
    seed: int,
    reference: Reference | None = None,
) -> Iterator[tuple[int, Rows]]:
    """Selection from one set's pool: yields (dpc, the rows selected) for every size.

    Features are computed once for a text that is a candidate at several sizes. Raises GenerationError if a class has
    too few different texts.
    """
    names = task.label_names
    by_size = {dpc: candidates(rows, dpc, config, len(names)) for dpc in sizes}
    if config.pool.parts > 1 and not task.has_pairs:
        longest = min(config.generator_max_length, learner.max_length)
        for dpc, members in by_size.items():
            own = derived_seed(seed, "parts", dpc)
            by_size[dpc] = join_texts(members, dpc, config.pool.parts, longest, learner, own)
            if config.pool.max_overlap is not None:  # a run of words may go from one part into the next
                marked = with_shared_words(by_size[dpc], task, config.pool.max_overlap)
                by_size[dpc] = [row for row in marked if row["shared_words"] <= config.pool.max_overlap]
    all_rows = {id(row): row for members in by_size.values() for row in members}
    features = dict(zip(all_rows, learner.features([row_text(r) for r in all_rows.values()]), strict=True))
    for dpc, members in by_size.items():
        labels = np.array([row["label"] for row in members])
        counts = np.bincount(labels, minlength=len(names))
        if counts.min() < dpc:
            limit = config.pool.max_overlap
            refused = "" if limit is None else f" that share at most {limit} words in a row with a training text"
            raise GenerationError(
                f"the generator wrote only {counts.min()} different texts of class '{names[int(counts.argmin())]}'"
                f"{refused}, {dpc} are needed; start again with more --language-modeling.max-steps or "
                f"--pool.texts-per-dpc{'' if limit is None else ', or a larger --max-overlap'}"
            )
        matrix = np.stack([features[id(row)] for row in members])
        chosen: list[int] = METHODS[config.pool.selection](matrix, labels, dpc, seed, reference).tolist()
        yield dpc, [members[i] for i in chosen]

"""Over-generation and selection: many texts per class and set, of which DPC are kept (section 3.3)."""

from __future__ import annotations

import math
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from .config import DistillConfig
from .errors import GenerationError
from .models.compute import derived_seed
from .models.generator import Generator, TokenSampler
from .models.learner import Learner
from .overlap import WORD, new_words, shared_runs, training_blocks
from .run_folder import row_text, set_path, text_row, write_set
from .selection import METHODS, Reference, standardised
from .task import Task, TextInput

Rows = list[dict[str, Any]]

BLOCK_TEXTS = 1024
"""Texts of a block at most: what an interruption loses, and what is shared between processes."""
STOPS = frozenset(".,;:!?\u2026\"'()\u201c\u201d\u2018\u2019\u3002\u3001\uff0c\uff01\uff1f")
"""The punctuation of sentences."""
ALIKE = 50
"""Pairs that share about as many words, among which a pair's fluency is judged."""
KNOWN_CHOICE = 10
"""Texts of known words, for each that is wanted, among which there is choice enough to do without others."""
LENGTH_SAMPLE = 2000
"""Training texts whose lengths tell how long texts of a task are."""


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
    text, the probability that it gives the asked one, and the text's mean negative log-likelihood under the generator
    (nats per token)."""
    if not texts:
        return []
    places = sorted(texts)
    kept, labels = [texts[i] for i in places], [block.labels[i] for i in places]
    probabilities, nll = judge.probabilities(kept), generator.score(kept, labels).tolist()
    seen, sure = probabilities.argmax(1).tolist(), probabilities[range(len(kept)), labels].tolist()
    return [
        text_row(text)
        | {"label": label, "set": block.number, "predicted_label": predicted, "confidence": confidence, "nll": score}
        for text, label, predicted, confidence, score in zip(kept, labels, seen, sure, nll, strict=True)
    ]


def usable(rows: Rows) -> Rows:
    """Without exact duplicates (case and spacing aside), near-empty texts (no letter or digit at all) and pairs of one
    text with itself (case, spacing and the stops of sentences aside): they teach nothing else."""
    kept, seen = [], set()
    for row in rows:
        text = row_text(row)
        key = (row["label"], " ".join(str(text).lower().split()))
        parts = (text,) if isinstance(text, str) else text
        said = {_without_stops(part) for part in parts}
        if key not in seen and len(said) == len(parts) and all(any(ch.isalnum() for ch in part) for part in parts):
            seen.add(key)
            kept.append(row)
    return kept


def _without_stops(text: str) -> str:
    """The text in lower case without spaces and the punctuation of sentences; signs stay, as in C++ or <."""
    return "".join(ch for ch in text.casefold() if ch not in STOPS and not ch.isspace())


def with_shared_words(rows: Rows, task: Task, limit: int) -> Rows:
    """The rows with "shared_words", the longest run of words shared with a training text, told up to limit + 1."""
    runs = shared_runs([row_text(row) for row in rows], training_blocks(task), limit + 1)
    return [row | {"shared_words": words} for row, words in zip(rows, runs.tolist(), strict=True)]


def with_new_words(rows: Rows, task: Task) -> Rows:
    """The rows with "new_words", the number of their words that occur in no training text."""
    counts = new_words([row_text(row) for row in rows], training_blocks(task))
    return [row | {"new_words": count} for row, count in zip(rows, counts.tolist(), strict=True)]


def candidates(rows: Rows, dpc: int, config: DistillConfig, num_classes: int) -> Rows:
    """The texts among which `dpc` per class are selected: the first texts_per_dpc * dpc of every class (with `shared`
    all, the pools of all sets), usable ones.

    With `keep: on-label`, of a class with enough texts that the full-data classifier confirms only those are kept;
    a class with fewer is filled up with others in the order of writing. Of what is left those go of which the
    classifier is least sure ("confidence"), 1 - sure_share of the class, and then the least fluent ones (see
    `by_fluency`), 1 - fluent_share, but never so many that fewer than `dpc` stay; with `known_words` also those with
    words that no training text has, but for as many as KNOWN_CHOICE * dpc texts need. With `max_overlap` a text that
    shares more words in a row with a training text ("shared_words") is never selected.
    """
    limit = math.inf if config.pool.max_overlap is None else config.pool.max_overlap
    by_class: list[Rows] = [[] for _ in range(num_classes)]
    most = len(rows) if config.pool.shared else config.pool.texts_per_dpc * dpc
    for row in rows:
        if len(by_class[row["label"]]) < most:
            by_class[row["label"]].append(row)
    kept: Rows = []
    for members in by_class:
        members = [row for row in usable(members) if row.get("shared_words", 0) <= limit]
        if config.pool.keep == "on-label":
            confirmed = [row for row in members if row["predicted_label"] == row["label"]]
            others = [row for row in members if row["predicted_label"] != row["label"]]
            members = confirmed + others[: max(0, dpc - len(confirmed))]
        if config.pool.sure_share < 1:
            room = max(dpc, round(config.pool.sure_share * len(members)))
            places = np.argsort([-row["confidence"] for row in members], kind="stable")[:room]
            members = [members[place] for place in np.sort(places)]
        if config.pool.fluent_share < 1 or config.pool.known_words:
            room = max(dpc, round(config.pool.fluent_share * len(members)))
            if config.pool.known_words:
                known = sum(row["new_words"] == 0 for row in members)
                room = min(room, max(known, KNOWN_CHOICE * dpc))
            members = by_fluency(members, config.pool.known_words)[:room]
        kept += members
    return kept


def by_fluency(rows: Rows, known_words: bool) -> Rows:
    """Rows of a class, the likeliest per token ("nll") first; with `known_words` those last that have a word that no
    training text has ("new_words", from `with_new_words`).

    Pairs are ranked among those that share about as many words: a text that repeats the one before it is likely
    however odd, and the likeliest pairs of all would be all but copies.
    """

    def key(row: dict[str, Any]) -> tuple[bool, float]:
        return known_words and row["new_words"] > 0, row["nll"]

    if not rows or rows[0].get("text_pair") is None:
        return sorted(rows, key=key)
    by_overlap, places = sorted(rows, key=_overlap), range(len(rows))
    ranked: list[tuple[bool, float, dict[str, Any]]] = []
    for alike in np.array_split(places, max(1, round(len(rows) / ALIKE))):
        group = sorted((by_overlap[place] for place in alike), key=key)
        ranked += [(key(row)[0], place / len(group), row) for place, row in enumerate(group)]
    return [row for *_, row in sorted(ranked, key=lambda one: one[:2])]


def _overlap(row: dict[str, Any]) -> float:
    """Share of the different words of a pair that are in both of its texts."""
    first, second = (set(WORD.findall(part.lower())) for part in row_text(row))
    return len(first & second) / max(1, len(first | second))


def length_sample(task: Task) -> list[TextInput]:
    """The training texts by whose lengths it is told how long texts of the task are."""
    return task.texts("train", np.random.default_rng(0).permutation(len(task.train))[:LENGTH_SAMPLE])


def long_text(task: Task, learner: Learner, share: float) -> int:
    """Tokens of the learner that this share of the training texts do not go beyond (of a sample)."""
    lengths = [len(encoded["input_ids"]) for encoded in learner.encode(length_sample(task))]
    return int(np.quantile(lengths, share))


def join_texts(rows: Rows, parts: int, longest: int, learner: Learner, seed: int) -> Rows:
    """Candidates that say more, of `parts` texts of a class each; every text is in `parts` of them, in random company.

    A candidate has fewer parts where the next one would make it longer than `longest` tokens of the learner.
    """
    random = np.random.default_rng(seed)
    lengths = _lengths_in_company([row["text"] for row in rows], learner)
    joined: dict[tuple[int, str], dict[str, Any]] = {}
    for label in sorted({row["label"] for row in rows}):
        members = np.array([place for place, row in enumerate(rows) if row["label"] == label])
        for _ in range(parts):
            group: list[int] = []
            for place in [*random.permutation(members).tolist(), None]:
                room = longest - sum(lengths[i] for i in group)
                if group and (place is None or len(group) == parts or lengths[place] > room):
                    row = _as_one([rows[i] for i in group])
                    joined[label, row["text"]] = row
                    group = []
                if place is not None:
                    group.append(place)
    return list(joined.values())


def _lengths_in_company(texts: Sequence[str], learner: Learner) -> list[int]:
    """Tokens of each text such that a text joined of several has no more than the sum: each brings a full stop and, for
    some tokenizers, another reading after a space, and all have the first and last token of one text."""
    shared = learner.tokenizer.num_special_tokens_to_add() // 2  # a text's, where the fewest, two, are joined
    sentences = [as_sentence(text) for text in texts]
    ways = [(texts, 0), (sentences, shared), ([f" {sentence}" for sentence in sentences], shared)]
    counts = [[len(encoded["input_ids"]) - less for encoded in learner.encode(way)] for way, less in ways]
    return [max(lengths) for lengths in zip(*counts, strict=True)]


def _as_one(rows: Rows) -> dict[str, Any]:
    """Texts of one class as a text of several sentences, as fluent as they are on average; one alone stays as it is."""
    if len(rows) == 1:
        return rows[0]
    text = " ".join(as_sentence(row["text"]) for row in rows)
    return rows[0] | {"text": text, "nll": float(np.mean([row["nll"] for row in rows]))}


def filled_up(joined: Rows, singles: Rows, dpc: int) -> Rows:
    """The joined texts and, of a class that has fewer than `dpc` of them, as many single ones as are missing."""
    found = {(row["label"], row["text"]): row for row in joined}
    counts = Counter(label for label, _ in found)
    for row in singles:
        key = row["label"], row["text"]
        if counts[row["label"]] < dpc and key not in found:
            found[key] = row
            counts[row["label"]] += 1
    return list(found.values())


def as_sentence(text: str) -> str:
    """The text with a full stop, where it ends with a letter or digit of a script that has it."""
    stopped = unicodedata.name(text[-1], "").startswith(("LATIN ", "DIGIT ", "GREEK ", "CYRILLIC "))
    return f"{text}." if stopped else text


def write_selected(
    folder: Path,
    rows: Rows,
    wanted: Sequence[tuple[int, int]],
    config: DistillConfig,
    task: Task,
    learner: Learner,
    reference: Reference | None = None,
) -> Iterator[Path]:
    """The sets (number, dpc) that are wanted, each selected from its pool and written; yields the files.

    A set's pool are the rows of that set (further tries begin again with the first), with `shared` all. What the
    candidates are depends on the pool alone, not on what is wanted of it: a resumed selection goes on among the same.
    """
    by_pool: dict[int, list[tuple[int, int]]] = {}
    for number, dpc in wanted:
        by_pool.setdefault(0 if config.pool.shared else number % config.sets, []).append((number, dpc))
    for pool, own in by_pool.items():
        members, seed = rows, derived_seed(config.seed, "selection", pool)
        if not config.pool.shared:
            members = [row for row in rows if row["set"] == pool]
        found = candidates_by_size(members, config.dpc, config, task, learner, seed)
        for number, dpc in own:
            chosen = choose(found[dpc], dpc, config, derived_seed(config.seed, "selection", number), reference)
            path = set_path(folder, dpc, number)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_set(path, [row_text(row) for row in chosen], [row["label"] for row in chosen], task.label_names)
            yield path


class Candidates(NamedTuple):
    """What sets of one size are selected from."""

    rows: Rows
    features: Float[np.ndarray, "n d"]


def choose(found: Candidates, dpc: int, config: DistillConfig, seed: int, reference: Reference | None = None) -> Rows:
    """One set: `dpc` rows of every class, by the method of the configuration."""
    features, labels = found.features, np.array([row["label"] for row in found.rows], np.int64)
    if config.pool.depth < 1:
        features, reference = standardised(features, reference or Reference(features, labels))
    places: list[int] = METHODS[config.pool.selection](features, labels, dpc, seed, reference).tolist()
    return [found.rows[i] for i in places]


def candidates_by_size(
    rows: Rows, sizes: Sequence[int], config: DistillConfig, task: Task, learner: Learner, seed: int
) -> dict[int, Candidates]:
    """The candidates for sets of every size, with their features, computed once for a text that several sizes share.

    With `shared` they are the same for all sizes. Raises GenerationError if a class has too few different texts.
    """
    names, sizes = task.label_names, list(dict.fromkeys(sizes))
    apart = [max(sizes)] if config.pool.shared else sizes
    by_size = {dpc: candidates(rows, dpc, config, len(names)) for dpc in apart}
    if config.pool.parts > 1 and not task.has_pairs:
        by_size = _joined_by_size(by_size, config, task, learner, seed)
    for dpc, members in by_size.items():
        counts = np.bincount([row["label"] for row in members], minlength=len(names))
        if counts.min() < dpc:
            limit = config.pool.max_overlap
            refused = "" if limit is None else f" that share at most {limit} words in a row with a training text"
            raise GenerationError(
                f"the generator wrote only {counts.min()} different texts of class '{names[int(counts.argmin())]}'"
                f"{refused}, {dpc} are needed; start again with more --language-modeling.max-steps and "
                "--language-modeling.num-train-epochs (the first to come ends the stage), or more "
                f"--pool.texts-per-dpc{'' if limit is None else ', or a larger --max-overlap'}"
            )
    all_rows = {id(row): row for members in by_size.values() for row in members}
    features = learner.features([row_text(row) for row in all_rows.values()], depth=config.pool.depth)
    places = {key: place for place, key in enumerate(all_rows)}
    found = {dpc: Candidates(own, features[[places[id(row)] for row in own]]) for dpc, own in by_size.items()}
    return {dpc: found[max(sizes) if config.pool.shared else dpc] for dpc in sizes}


def _joined_by_size(
    by_size: dict[int, Rows], config: DistillConfig, task: Task, learner: Learner, seed: int
) -> dict[int, Rows]:
    """The candidates of every size joined to texts of several parts, none longer than texts of the task are or with a
    longer shared run than allowed."""
    parts, limit = config.pool.parts, config.pool.max_overlap
    longest = min(config.generator_max_length, learner.max_length, long_text(task, learner, config.pool.longest))
    joined = {
        dpc: join_texts(members, parts, longest, learner, derived_seed(seed, "parts", dpc))
        for dpc, members in by_size.items()
    }
    if limit is not None:  # a run of words may go from one part into the next
        marked = iter(with_shared_words([row for members in joined.values() for row in members], task, limit))
        joined = {dpc: [next(marked) for _ in members] for dpc, members in joined.items()}
        joined = {dpc: [row for row in rows if row["shared_words"] <= limit] for dpc, rows in joined.items()}
    return {dpc: filled_up(joined[dpc], members, dpc) for dpc, members in by_size.items()}

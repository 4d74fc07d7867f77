"""What distilled texts share with the training texts, beside what held-out real texts share with them.

The generator was trained on the training texts and can repeat them. Contract: word runs and exact matches are looked
for in all training texts, the nearest texts by characters in the first CUT characters of at most SEARCHED of them, some
CHARACTERS in all, so that memory is bounded; pure functions but for `measure_overlap`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int
from sklearn.feature_extraction.text import TfidfVectorizer

from .durable import write_json
from .evaluation.coresets import real_sample
from .evaluation.training_sets import TrainingSet
from .models.compute import derived_seed
from .models.feature_cache import pretrained_features
from .models.learner import Learner
from .task import Task, TextInput

if TYPE_CHECKING:
    from .workspace import Workspace

SEARCHED = 100_000
"""Training texts, at most, among which the nearest by characters is looked for: a random sample of more."""
CHARACTERS = 30_000_000
"""Once so many characters are read no further texts are: fewer are searched where they are long."""
CUT = 2_000
"""Characters of a text, or of each of a pair, that this search reads."""
LONGEST_RUN = 100
"""Word runs are followed to this length: a longer one counts as this."""
BLOCK = 20_000  # training texts in memory at a time
PORTION = 1_000  # texts that are read at a time
BLOCK_CHARACTERS = 10_000_000  # and when a block is full before
CELLS = 4_000_000  # similarities in memory at a time
# In scripts without spaces a character counts as a word: Thai, Lao, Burmese, Khmer, kana, Chinese.
UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
# Python's \w has no vowel signs, no accents that are characters of their own and no joiners, though words have them.
MARKS = "\u200c\u200d" + "".join(
    char
    for char in map(chr, range(0x300, 0x20000))
    if unicodedata.category(char).startswith("M") and not re.match(f"[{UNSPACED}]", char)
)
WORD = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]+(?:[{MARKS}]+[^\W{UNSPACED}]*)*")
Facts = dict[str, Any]


def joined(text: TextInput) -> str:
    """A text, or both of a pair, as one string."""
    return text if isinstance(text, str) else "\n".join(text)


def normalized(text: TextInput) -> str:
    """The text without case and spacing, in which exact matches may differ."""
    return " ".join(joined(text).lower().split())


def training_blocks(task: Task) -> Iterator[list[TextInput]]:
    """All training texts, a block at a time."""
    block: list[TextInput] = []
    characters = 0
    for start in range(0, len(task.train), PORTION):
        portion = task.texts("train", range(start, min(start + PORTION, len(task.train))))
        block += portion
        characters += sum(map(len, map(joined, portion)))
        if len(block) >= BLOCK or characters >= BLOCK_CHARACTERS:
            yield block
            block, characters = [], 0
    if block:
        yield block


# Word runs and exact matches


def shared_runs(
    queries: Sequence[TextInput], blocks: Iterable[Sequence[TextInput]], longest: int = LONGEST_RUN
) -> Int[np.ndarray, " n"]:
    """The longest run of words, case and punctuation aside, that each query shares with any text of the blocks.

    Counts up to `longest`. Runs do not cross the two texts of a pair. Runs of n + 1 words are looked for only where
    runs of n were found, so the work is a few passes over the words, and little more where texts are copies.
    """
    numbers: dict[str, int] = {}  # of the words of the queries, from 1 on; 0 is any other word, or an end
    words, owners = _encode(queries, numbers, grow=True)
    found = np.zeros(len(queries), np.int64)
    for block in blocks:
        real, _ = _encode(block, numbers)
        places, real_places = np.flatnonzero(words), np.flatnonzero(real)
        code, real_code = words[places], real[real_places]
        for length in range(1, longest + 1):
            # Equal runs get equal codes; what the other side does not have goes.
            known, code = np.unique(code, return_inverse=True)
            at = np.searchsorted(known, real_code).clip(max=max(len(known) - 1, 0))
            there = known[at] == real_code if len(known) else np.zeros(len(real_code), bool)
            real_places, real_code = real_places[there], at[there]
            alive = np.isin(code, real_code)
            places, code = places[alive], code[alive]
            if not len(places):
                break
            found[owners[places]] = np.maximum(found[owners[places]], length)
            places, code = _longer(words, places, code, length, len(numbers))
            real_places, real_code = _longer(real, real_places, real_code, length, len(numbers))
    return found


def new_words(queries: Sequence[TextInput], blocks: Iterable[Sequence[TextInput]]) -> Int[np.ndarray, " n"]:
    """How many different words of each query, case aside, no text of the blocks has."""
    words = [set(WORD.findall(joined(query).lower())) for query in queries]
    missing = set().union(*words)
    for block in blocks:
        for text in block:
            missing.difference_update(WORD.findall(joined(text).lower()))
    return np.array([len(own & missing) for own in words], np.int64)


def _encode(texts: Sequence[TextInput], numbers: dict[str, int], grow: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """The words of all texts in a row, as numbers, a 0 after each text; and whose they are."""
    row: list[int] = []
    owners: list[int] = []
    for owner, text in enumerate(texts):
        for part in (text,) if isinstance(text, str) else text:
            before = len(row)
            for word in WORD.findall(part.lower()):
                row.append(numbers.setdefault(word, len(numbers) + 1) if grow else numbers.get(word, 0))
            row.append(0)
            owners += [owner] * (len(row) - before)
    return np.array(row, np.int64), np.array(owners, np.int64)


def _longer(
    words: np.ndarray, places: np.ndarray, code: np.ndarray, length: int, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """The runs that go on for another word of the queries, with a code for run and word together."""
    following = words[places + length]  # in range: a text's last place holds a 0, which no run includes
    on = following > 0
    return places[on], code[on] * (size + 1) + following[on]


def exact_matches(queries: Sequence[TextInput], blocks: Iterable[Sequence[TextInput]]) -> list[bool]:
    """Whether each query is one of the texts, case and spacing aside."""
    wanted = {normalized(query) for query in queries}
    there = {form for block in blocks for text in block if (form := normalized(text)) in wanted}
    return [normalized(query) in there for query in queries]


# Nearest texts


def beginning(text: TextInput) -> str:
    """The first CUT characters of a text, or of both of a pair, as one string."""
    return "\n".join(part[:CUT] for part in ((text,) if isinstance(text, str) else text))


def searched_beginnings(task: Task) -> tuple[Int[np.ndarray, " n"], list[str]]:
    """Rows of the training texts that are searched by characters, a random sample in ascending order; what is read."""
    order = np.random.default_rng(derived_seed("overlap, searched")).permutation(len(task.train))[:SEARCHED]
    texts: dict[int, str] = {}
    for start in range(0, len(order), PORTION):
        if sum(map(len, texts.values())) >= CHARACTERS:
            break
        rows = np.sort(order[start : start + PORTION])
        texts |= zip(rows.tolist(), map(beginning, task.texts("train", rows)), strict=True)
    found = sorted(texts)
    return np.array(found, np.int64), [texts[row] for row in found]


def nearest_by_characters(
    queries: Sequence[TextInput], texts: Sequence[TextInput]
) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Place of the nearest text and its cosine in TF-IDF of character 4-grams, for each query."""
    single: Any = np.float32
    vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=(4, 4), sublinear_tf=True, dtype=single)
    try:
        known: Any = vectorizer.fit_transform(map(beginning, texts))
    except ValueError:  # nothing but white space
        return np.zeros(len(queries), np.int64), np.zeros(len(queries), np.float32)
    wanted: Any = vectorizer.transform(map(beginning, queries))
    # The small matrix is turned, of the large one there is no second copy.
    return _nearest(len(queries), len(texts), lambda rows: (known @ wanted[rows].T.tocsr()).T.toarray())


def nearest_by_embedding(
    queries: Float[np.ndarray, "n d"], texts: Float[np.ndarray, "m d"]
) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Place of the nearest text and its cosine, for features of unit length."""
    return _nearest(len(queries), len(texts), lambda rows: queries[rows] @ texts.T)


def _nearest(number: int, candidates: int, similarities: Any) -> tuple[np.ndarray, np.ndarray]:
    places, values = np.zeros(number, np.int64), np.zeros(number, np.float32)
    step = max(1, CELLS // max(candidates, 1))
    for start in range(0, number, step):
        rows = slice(start, start + step)
        block = similarities(rows)
        places[rows] = block.argmax(1)
        values[rows] = block.max(1)
    return places, values.clip(0, 1)


# The run's figures


def overlap_facts(task: Task, sets: Sequence[TrainingSet], learner: Learner, seed: int, at_least: int) -> Facts:
    """What overlap.json holds: a row per distilled text, the summary of these and of held-out texts, texts searched.

    sets: the distilled ones. at_least: texts per class that the features were computed of, as in `real_sample`.
    """
    distilled = list(dict.fromkeys(text for one in sets for text in one.texts))
    dev = np.random.default_rng(derived_seed("overlap")).permutation(len(task.dev))[: len(distilled)]
    held_out = task.texts("dev", np.sort(dev))
    rows, searched = searched_beginnings(task)
    embedded, _ = real_sample(task, at_least, seed)
    features = pretrained_features(learner, embedded)
    both = [*distilled, *held_out]
    runs, exact = shared_runs(both, training_blocks(task)), exact_matches(both, training_blocks(task))
    near, near_values = nearest_by_characters(both, searched)
    nearest = task.texts("train", rows[near])
    queries = np.concatenate([pretrained_features(learner, part) for part in (distilled, held_out) if part])
    close, close_values = nearest_by_embedding(queries, features)
    figures = [
        {
            "nearest_text": nearest[i],
            "char_similarity": round(float(near_values[i]), 4),
            "nearest_by_embedding": embedded[close[i]],
            "embedding_similarity": round(float(close_values[i]), 4),
            "shared_words": int(runs[i]),
            "exact": exact[i],
        }
        for i in range(len(both))
    ]
    of_text = dict(zip(distilled, figures, strict=False))
    lines = [
        {"dpc": one.dpc, "set": one.number, "index": index, "text": text, **of_text[text]}
        for one in sets
        for index, text in enumerate(one.texts)
    ]
    return {
        "distilled": lines,
        "summary": {"distilled": summary(lines), "held_out": summary(figures[len(distilled) :])},
        "searched": {
            "words": len(task.train),
            "characters": len(searched),
            "first_characters": CUT,
            "embeddings": len(embedded),
        },
    }


def summary(lines: Sequence[Facts]) -> Facts:
    """Share of exact copies, mean and longest shared run, mean similarities; None of no texts."""
    runs = [line["shared_words"] for line in lines]

    def mean(key: str) -> float | None:
        return round(float(np.mean([line[key] for line in lines])), 4) if lines else None

    return {
        "exact": mean("exact"),
        "shared_words_mean": mean("shared_words"),
        "shared_words_max": max(runs, default=None),
        "char_similarity_mean": mean("char_similarity"),
        "embedding_similarity_mean": mean("embedding_similarity"),
    }


def measure_overlap(work: Workspace, sets: Sequence[TrainingSet], learner: Learner) -> None:
    """The stage after selection: overlap.json, which holds training texts, in the run folder."""
    path = work.folder / "overlap.json"
    if path.exists():
        return
    with work.timed("overlap"):
        facts = overlap_facts(work.task, sets, learner, work.seed("coresets"), max(work.config.dpc))
        write_json(path, facts)
    ours, real = facts["summary"]["distilled"], facts["summary"]["held_out"]
    work.reporter.say(
        f"overlap with training texts: longest shared run of words {ours['shared_words_mean']:.1f} in the mean, "
        f"{ours['shared_words_max']} at most, {ours['exact']:.1%} exact copies (held-out real texts: "
        f"{real['shared_words_mean']:.1f}, {real['shared_words_max']}, {real['exact']:.1%})"
    )

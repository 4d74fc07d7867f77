"""What distilled texts share with training texts: found as a slow search finds it, and refused where asked."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_distill import tiny_run
from test_pool import config, row

from dilm import overlap
from dilm import pool as pools
from dilm.errors import GenerationError
from dilm.overlap import (
    WORD,
    exact_matches,
    nearest_by_characters,
    nearest_by_embedding,
    new_words,
    overlap_facts,
    searched_beginnings,
    shared_runs,
    summary,
    training_blocks,
)
from dilm.pool import candidates, candidates_by_size, with_shared_words
from dilm.verbs import distill_settings

WORDS_WITH_MARKS = ["हिन्दी", "की", "কিতাব", "தமிழ்", "مُدَرِّس", "שָׁלוֹם", "cafe\u0301", "می\u200cخواهم"]


@pytest.mark.parametrize("word", WORDS_WITH_MARKS)
def test_a_word_has_its_marks(word):
    assert WORD.findall(f"({word}), {word}.") == [word, word]


def test_words_that_differ_in_a_mark_differ():
    assert shared_runs(["राम की किताब"], [["राम का घर", "यह राम की"]]).tolist() == [2]
    assert new_words(["राम की"], [["राम का"]]).tolist() == [1]
    assert WORD.findall("ไทย 日本語") == list("ไทย日本語")
    assert WORD.findall("\u200fכתב\u200f one\u200btwo") == ["כתב", "one", "two"], "signs of direction are no part"


sentences = st.lists(st.sampled_from(list("abcd")), max_size=9).map(" ".join)


def slow_run(query: str, text: str) -> int:
    """The longest common run of words, by looking at every pair of places."""
    one, other, best = WORD.findall(query.lower()), WORD.findall(text.lower()), 0
    for i in range(len(one)):
        for j in range(len(other)):
            length = 0
            while i + length < len(one) and j + length < len(other) and one[i + length] == other[j + length]:
                length += 1
            best = max(best, length)
    return best


@given(st.lists(sentences, max_size=5), st.lists(sentences, max_size=5), st.integers(1, 10), st.integers(1, 5))
def test_shared_runs_are_those_of_a_slow_search(queries, texts, longest, block):
    blocks = [texts[start : start + block] for start in range(0, len(texts), block)]
    slow = [min(longest, max((slow_run(query, text) for text in texts), default=0)) for query in queries]
    assert shared_runs(queries, blocks, longest).tolist() == slow


@pytest.mark.parametrize(
    ("query", "text", "words"),
    [
        ("The film, was GOOD!", "and the film was good", 4),
        ("a b c", "b c a", 2),
        (("one two", "three four"), ("two three", "x"), 1),
        (("one two", "three four"), ("x", "three four five"), 2),
        ("这部电影很好", "我说这部电影很差", 5),
        ("ภาพ", "ภาพยนตร์", 3),
        ("", "", 0),
        ("...", "...", 0),
        ("w " * 300, "w " * 500, 100),
    ],
)
def test_words_are_compared_without_case_and_punctuation_and_never_across_a_pair(query, text, words):
    assert shared_runs([query], [[text]]).tolist() == [words]


def test_exact_matches_may_differ_in_case_and_spacing_only():
    assert exact_matches(["Good  film", "good films", ("a", "b")], [["x", "good film"], [("A", "b")]]) == [
        True,
        False,
        True,
    ]


def test_nearest_texts_are_those_of_all_similarities():
    texts = ["a dull plot and no end", "wonderful acting throughout", "the plot is dull", "", "<b>"]
    places, values = nearest_by_characters(["wonderful actors", "dull plot and no end", "zzz qqq"], texts)
    assert places[:2].tolist() == [1, 0] and 0 < values[0] < values[1] <= 1 and values[2] == 0
    assert nearest_by_characters(["x"], ["", " "])[1].tolist() == [0]
    random = np.random.default_rng(0)
    queries, known = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in random.normal(size=(2, 50, 8)))
    places, values = nearest_by_embedding(queries, known)
    assert places.tolist() == (queries @ known.T).argmax(1).tolist()
    assert np.allclose(values, (queries @ known.T).max(1))


def test_long_texts_are_searched_by_their_beginnings_and_fewer_of_them(task, learner, monkeypatch):
    from dilm.evaluation.training_sets import TrainingSet

    for name, value in {"CUT": 12, "PORTION": 4, "CHARACTERS": 60, "BLOCK_CHARACTERS": 100}.items():
        monkeypatch.setattr(overlap, name, value)
    rows, texts = searched_beginnings(task)
    assert texts == [text[:12] for text in task.texts("train", rows)] and rows.tolist() == sorted({*rows.tolist()})
    assert 60 <= sum(map(len, texts)) < 60 + 4 * 12 and len(texts) < len(task.train)
    assert [text for block in training_blocks(task) for text in block] == task.texts("train")
    assert max(map(len, training_blocks(task))) == 4
    long = f"{task.texts('train', rows[:1])[0][:12]} and what nobody wrote"
    facts = overlap_facts(task, [TrainingSet("dilm", 1, 0, [long], [0])], learner, seed=0, at_least=1)
    assert facts["searched"]["characters"] == len(texts) and facts["searched"]["first_characters"] == 12
    assert facts["distilled"][0]["char_similarity"] == 1, "beyond the cut nothing is read"
    assert facts["distilled"][0]["nearest_text"] in task.texts("train", rows), "told whole"


def test_a_summary_of_no_texts_has_no_figures():
    assert set(summary([]).values()) == {None}


KEYS = {"nearest_text", "char_similarity", "nearest_by_embedding", "embedding_similarity", "shared_words", "exact"}


def test_a_run_reports_overlap_for_every_distilled_text_beside_held_out_ones(task, finished_run):
    run = finished_run
    facts = json.loads((run.output_dir / "overlap.json").read_text())
    rows = [(line["dpc"], line["set"], line["index"], line["text"]) for line in facts["distilled"]]
    assert rows == [
        (dpc, number, index, text)
        for dpc, sets in run.datasets.items()
        for number, one in enumerate(sets)
        for index, text in enumerate(one["text"])
    ]
    assert all(set(line) == {"dpc", "set", "index", "text", *KEYS} for line in facts["distilled"])
    assert all(
        {line["nearest_text"], line["nearest_by_embedding"]} <= {*task.texts("train")} for line in facts["distilled"]
    )
    assert facts["summary"]["distilled"].keys() == facts["summary"]["held_out"].keys()
    assert facts["searched"]["words"] == len(task.train)


def test_a_copied_text_is_found(task, learner):
    from dilm.evaluation.training_sets import TrainingSet

    copied = task.texts("train")[7]
    one = TrainingSet("dilm", 1, 0, [copied, "nothing of the kind zzz"], [0, 1])
    found, other = overlap_facts(task, [one], learner, seed=0, at_least=1)["distilled"]
    assert found["exact"] and found["nearest_text"] == copied and found["char_similarity"] == 1
    assert found["nearest_by_embedding"] == copied and found["embedding_similarity"] == pytest.approx(1, abs=1e-3)
    assert found["shared_words"] == len(WORD.findall(copied)) and not other["exact"]


def test_pairs_are_reported_as_pairs(pair_task, learner):
    from dilm.evaluation.training_sets import TrainingSet

    copied = pair_task.texts("train")[3]
    facts = overlap_facts(pair_task, [TrainingSet("dilm", 1, 0, [copied], [0])], learner, seed=0, at_least=1)
    assert facts["distilled"][0]["exact"] and facts["distilled"][0]["nearest_text"] == copied


# --max-overlap


def test_texts_that_share_longer_runs_are_never_selected(task, learner):
    real = next(text for text in task.texts("train") if len(WORD.findall(text)) > 6)
    start = " ".join(WORD.findall(real)[:4])
    rows = [row(real, 1.0), row(f"{start} zzz", 1.0), row("zzz", 1.0), row(f"zzz {real}", 1.0, label=1, seen=1)]
    marked = with_shared_words(rows, task, 4)
    assert [line["shared_words"] for line in marked] == [5, 4, 0, 5], "told up to the limit and one more"
    assert [line["text"] for line in candidates(marked, 1, config(max_overlap=4), 2)] == [f"{start} zzz", "zzz"]
    with pytest.raises(GenerationError, match=r"only 0 .* share at most 4 words .*larger --max-overlap"):
        candidates_by_size(marked, [1], config(max_overlap=4, selection="random"), task, learner, 0)
    with pytest.raises(GenerationError, match="only 0 different texts"):
        candidates_by_size(marked, [1], config(max_overlap=1, parts=2), task, learner, 0)


def test_a_run_with_max_overlap_keeps_to_it(task, hub_models, tmp_path, monkeypatch):
    copies = [text for text in task.texts("train") if len(WORD.findall(text)) > 3]

    def half_copied(generator, task, config, block, engine=None):
        for place, _ in enumerate(block.labels):
            yield place, copies[place] if place % 4 < 2 else f"{copies[place].split()[0]} zzz{block.number}x{place}"

    monkeypatch.setattr(pools, "write_block", half_copied)
    settings = {"texts_per_dpc": 20, "keep": "all", "selection": "random"}
    small = {"gradient_matching": {"max_steps": 0}, "evaluation": {"learners": ("probe",)}}
    longest = {}
    for limit in (None, 3):
        run = tiny_run(task, hub_models, tmp_path / f"{limit}", pool=settings | {"max_overlap": limit}, **small)
        facts = json.loads((run.output_dir / "overlap.json").read_text())
        longest[limit] = facts["summary"]["distilled"]["shared_words_max"]
    assert longest[None] > 3 >= longest[3]


def test_max_overlap_is_an_option_under_both_names():
    for option in ("--max-overlap", "--pool.max-overlap"):
        assert distill_settings("distill", ["reviews", option, "5"])[2]["pool"] == {"max_overlap": 5}

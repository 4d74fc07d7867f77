"""Which texts of a pool may be selected."""

import dataclasses
import itertools

import numpy as np
import pytest

from dilm.config import DistillConfig, PoolConfig
from dilm.models.generator import Generator
from dilm.overlap import WORD
from dilm.pool import (
    ALIKE,
    KNOWN_CHOICE,
    Block,
    as_sentence,
    candidates,
    candidates_by_size,
    choose,
    filled_up,
    join_texts,
    long_text,
    pool_blocks,
    with_new_words,
    with_shared_words,
    write_block,
)
from dilm.selection import METHODS, Reference, standardised


def test_blocks_are_the_whole_pool_of_every_set_and_about_equally_long(task):
    for texts_per_dpc, lengths in ((512, [1024]), (513, [513, 513]), (1500, [1000] * 3), (1, [2])):
        blocks = pool_blocks(task, dataclasses.replace(config(texts_per_dpc=texts_per_dpc), dpc=(1,), sets=2))
        assert [(len(b.labels), b.number) for b in blocks] == [(n, s) for s in (0, 1) for n in lengths]
        for number in (0, 1):
            own = [b for b in blocks if b.number == number]
            assert [b.start for b in own] == [sum(lengths[:i]) for i in range(len(own))]
            assert [label for b in own for label in b.labels] == [0, 1] * texts_per_dpc


def test_blocks_of_a_set_are_written_from_seeds_of_their_own(task, hub_models):
    generator = Generator.from_pretrained(hub_models[0], 2, max_length=40)
    settings, block = DistillConfig(), Block(0, 0, [0, 1] * 3)
    texts = dict(write_block(generator, task, settings, block))
    assert dict(write_block(generator, task, settings, block)) == texts
    for other in (block._replace(start=6), block._replace(number=1)):
        assert dict(write_block(generator, task, settings, other)) != texts


def row(text: str, nll: float, label: int = 0, seen: int = 0) -> dict:
    return {"text": text, "label": label, "set": 0, "predicted_label": seen, "nll": nll}


def config(**pool) -> DistillConfig:
    return dataclasses.replace(DistillConfig(), pool=PoolConfig(**pool))


def one_set(rows: list[dict], dpc: int, settings: DistillConfig, task, learner, seed: int) -> list[dict]:
    """The rows selected from a pool."""
    found = candidates_by_size(rows, [dpc], settings, task, learner, seed)
    return choose(found[dpc], dpc, settings, seed)


def kept(rows: list[dict], dpc: int, **pool) -> set[str]:
    return {row["text"] for row in candidates(rows, dpc, config(**pool), 2)}


def test_the_least_fluent_texts_of_each_class_cannot_be_selected():
    rows = [row(f"a {i}", nll=float(i)) for i in range(8)]
    rows += [row(f"b {i}", nll=10.0 + i, label=1, seen=1) for i in range(4)]
    assert kept(rows, 1, fluent_share=0.5) == {"a 0", "a 1", "a 2", "a 3", "b 0", "b 1"}
    assert kept(rows, 1) == {row["text"] for row in rows}
    assert kept(rows, 3, fluent_share=0.1) == {"a 0", "a 1", "a 2", "b 0", "b 1", "b 2"}, "never fewer than dpc"


def test_of_the_confirmed_texts_those_go_of_which_the_classifier_is_least_sure_then_the_least_fluent():
    rows = [row(f"a {i}", nll=float(i)) | {"confidence": 0.6 + (i * 3 % 8) / 20} for i in range(8)]
    rows += [row("other", 0.0, seen=1) | {"confidence": 0.4}, row("b", 9.0, label=1, seen=1) | {"confidence": 0.5}]
    surest = sorted(rows[:8], key=lambda line: -line["confidence"])[:4]
    assert kept(rows, 1, sure_share=0.5) == {line["text"] for line in surest} | {"b"}
    fluent = sorted(surest, key=lambda line: line["nll"])[:2]
    assert kept(rows, 1, sure_share=0.5, fluent_share=0.5) == {line["text"] for line in fluent} | {"b"}
    assert len(kept(rows, 3, sure_share=0.1)) == 4, "never fewer than dpc"
    found = candidates(rows, 1, config(sure_share=0.5), 2)
    assert [line["nll"] for line in found[:-1]] == sorted(line["nll"] for line in surest), "in the order of writing"


def test_texts_with_words_that_no_training_text_has_go_before_the_less_fluent_ones(task):
    real = task.texts("train")[:4]
    rows = [row(f"{real[0]} frline", 1.0), row(real[1].upper(), 5.0), row(f"xqz {real[2]} qzx", 1.5), row(real[3], 4.0)]
    marked = with_new_words([*rows, row(real[0], 1.0, label=1, seen=1)], task)
    assert [line["new_words"] for line in marked] == [1, 0, 2, 0, 0]
    assert kept(marked, 1, known_words=True, fluent_share=0.25) == {real[3], real[0]}
    assert kept(marked, 1, known_words=True, fluent_share=0.5) == {real[3], real[1].upper(), real[0]}
    three = {real[3], real[1].upper(), rows[0]["text"]}
    assert kept(marked, 3, known_words=True, fluent_share=0.5) == {*three, real[0]}
    assert kept(marked, 1, fluent_share=0.25) == {rows[0]["text"], real[0]}


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_texts_with_new_words_are_not_selected_from_where_there_is_choice_among_others(share):
    known = [row(f"known {i}", 9.0 + i) | {"new_words": 0} for i in range(25)]
    odd = [row(f"odd {i}", 1.0 + i) | {"new_words": 1} for i in range(75)]
    rows = [*odd, *known, row("b", 1.0, label=1, seen=1) | {"new_words": 0}]
    names = {line["text"] for line in known}
    assert kept(rows, 1, known_words=True, fluent_share=share) == names | {"b"}
    few = kept(rows, 3, known_words=True, fluent_share=share)
    assert names < few and len(few - names - {"b"}) == 3 * KNOWN_CHOICE - 25, "the likeliest others fill up"
    assert {f"odd {i}" for i in range(5)} < few


def test_fluency_of_pairs_is_judged_among_those_that_share_as_many_words():
    """Near copies are all likelier than pairs of different words; half of each kind stays, the likelier half."""
    copies = [row(f"is it {i} then", 1.0 + i / 1000) | {"text_pair": f"is it {i} now"} for i in range(2 * ALIKE)]
    others = [row(f"where is {i}", 5.0 + i / 1000) | {"text_pair": f"why not {i}"} for i in range(ALIKE + 1)]
    rows = [dict(r) for r in np.random.default_rng(0).permutation(np.array(copies + others, dtype=object))]
    found = candidates(rows, 1, config(keep="all", fluent_share=0.5, texts_per_dpc=1000), 1)
    kept_copies = len([r for r in found if r["nll"] < 5])
    assert abs(kept_copies - ALIKE) <= 2 and abs(len(found) - kept_copies - ALIKE // 2) <= 2
    assert max(r["nll"] for r in found if r["nll"] < 5) < 1.09
    assert max(r["nll"] for r in found if r["nll"] >= 5) < 5.03


def test_pairs_with_new_words_come_last_whatever_they_share():
    rows = [row(f"where is {i}", 1.0) | {"text_pair": f"why not {i}", "new_words": i % 5 > 0} for i in range(ALIKE)]
    rows += [row(f"is it {i} then", 9.0) | {"text_pair": f"is it {i} now", "new_words": 0} for i in range(ALIKE)]
    found = candidates(rows, 1, config(keep="all", known_words=True, fluent_share=0.5, texts_per_dpc=1000), 1)
    assert len(found) == ALIKE and not any(r["new_words"] for r in found)


def test_fluency_is_judged_among_texts_on_label():
    rows = [row("fluent, of the other class", 0.1, seen=1), row("good", 1.0), row("odd", 5.0), row("odder", 6.0)]
    rows += [row("b", 1.0, label=1, seen=1)]
    assert kept(rows, 1, fluent_share=0.34) == {"good", "b"}
    assert "fluent, of the other class" in kept(rows, 1, fluent_share=0.5, keep="all")


def test_duplicates_and_texts_without_letters_go_and_the_size_of_the_set_bounds_the_candidates():
    rows = [row("Good one", 1.0), row("good  ONE", 1.0), row("...", 1.0), row("other", 1.0), row("beyond", 1.0)]
    rows += [row("b", 1.0, label=1, seen=1)]
    assert kept(rows, 2, texts_per_dpc=2) == {"Good one", "other", "b"}


def test_pairs_of_a_text_with_itself_cannot_be_selected():
    copies = [("Is it big?", "is it  big"), ("大きい。", "大きい")]
    others = [
        ("Is it big?", "It is big."),
        ("大きい。", "小さい。"),
        ("What is C?", "What is C++?"),
        ("राम की", "राम का"),
    ]
    rows = [row(first, 1.0) | {"text_pair": second} for first, second in copies + others]
    found = candidates(rows, 6, config(keep="all"), 1)
    assert [(r["text"], r["text_pair"]) for r in found] == others


def test_joined_candidates_are_of_one_class_and_every_text_is_in_as_many_as_it_has_parts(learner):
    rows = [row(f"a{i}", 1.0) for i in range(12)] + [row(f"b{i}!", 3.0, label=1, seen=1) for i in range(9)]
    found = join_texts(rows, 3, 100, learner, seed=0)
    for label, texts in enumerate([[f"a{i}." for i in range(12)], [f"b{i}!" for i in range(9)]]):
        parts = [line["text"].split(" ") for line in found if line["label"] == label]
        assert all(len(set(own)) == 3 for own in parts)
        assert all(sum(text in own for own in parts) <= 3 for text in texts)
        assert sum(map(len, parts)) >= 2 * len(texts), "one of three rounds may repeat a candidate, hardly two"
    assert {line["nll"] for line in found if line["label"]} == {3.0}
    assert found == join_texts(rows, 3, 100, learner, seed=0) != join_texts(rows, 3, 100, learner, seed=1)


def test_a_part_for_which_there_is_no_room_begins_the_next_candidate(learner):
    rows = [row(" ".join([f"w{i}"] * 20), 1.0) for i in range(10)]
    ways = [form.format(rows[0]["text"]) for form in ("{}", "{}.", " {}.")]  # alone, first and later in company
    two = 2 * max(len(ids["input_ids"]) for ids in learner.encode(ways))
    for longest, most in ((two, 40), (two - 1, 20)):
        found = [line["text"].split() for line in join_texts(rows, 3, longest, learner, seed=0)]
        assert max(map(len, found)) == most
        assert all(any(f"w{i}" in " ".join(words) for words in found) for i in range(10)), "no text is left out"


def test_a_class_with_too_few_joined_texts_is_filled_up_with_single_ones():
    singles = [row(f"a{i}", 1.0) for i in range(4)] + [row(f"b{i}.", 1.0, label=1) for i in range(4)]
    joined = [row("a0. a1.", 1.0), row("a2.", 1.0), *(row(f"b{i}. b.", 1.0, label=1) for i in range(3))]
    found = filled_up(joined, singles, 3)
    assert [line["text"] for line in found if line["label"] == 0] == ["a0. a1.", "a2.", "a0"]
    assert [line["text"] for line in found if line["label"] == 1] == ["b0. b.", "b1. b.", "b2. b."]


def test_long_texts_of_a_class_that_has_just_enough_are_all_selected(task, learner):
    rows = [row(" ".join([f"w{i}"] * 40), 1.0, label, seen=label) for label in (0, 1) for i in range(label, 10 + label)]
    for parts, seed in itertools.product((2, 3), range(3)):
        chosen = one_set(rows, 10, config(parts=parts, selection="random"), task, learner, seed)
        assert len({(line["label"], line["text"]) for line in chosen}) == 20


@pytest.mark.parametrize("share", [0.5, 0.95, 1.0])
def test_no_joined_text_is_longer_than_that_share_of_the_task(task, learner, share):
    longest = long_text(task, learner, share)
    lengths = np.array([len(ids["input_ids"]) for ids in learner.encode(task.texts("train"))])
    assert np.mean(lengths <= longest) >= share - 0.01 and np.mean(lengths < longest) <= share + 0.01
    rows = [row(f"so good {i}", 1.0, label, seen=label) for label in (0, 1) for i in range(20)]
    rows += [row(f"{'word ' * longest}{label}", 1.0, label, seen=label) for label in (0, 1)]
    chosen = one_set(rows, 6, config(parts=30, longest=share, selection="random"), task, learner, 0)
    texts = [line["text"] for line in chosen]
    assert any(text.count("so good") > 1 for text in texts)
    joined = learner.encode([text for text in texts if text.count("so good") > 1])
    assert max(len(ids["input_ids"]) for ids in joined) <= longest


def test_a_full_stop_goes_between_parts_where_the_script_has_one_and_a_single_text_stays_as_it_is(learner):
    for text in ("Oh!", "日本語", "good 😀", "c++"):
        assert as_sentence(text) == text
    assert [as_sentence(text) for text in ("fine", "да", "in 1999")] == ["fine.", "да.", "in 1999."]
    assert [line["text"] for line in join_texts([row("fine", 1.0)], 3, 100, learner, 0)] == ["fine"]


def test_a_joined_text_shares_no_longer_run_than_allowed_across_its_parts_either(task, learner):
    words = WORD.findall(next(text for text in task.texts("train") if len(WORD.findall(text)) > 3))
    first, second = " ".join(words[:2]), " ".join(words[2:4])
    rows = [row(first, 1.0), row(second, 1.0), *(row(f"yy{i}", 1.0, label=1, seen=1) for i in range(4))]
    found = {}
    for limit in (None, 3):
        settings = config(parts=2, max_overlap=limit, selection="random")
        marked = rows if limit is None else with_shared_words(rows, task, limit)
        sets = [one_set(marked, 1, settings, task, learner, seed) for seed in range(8)]
        found[limit] = {chosen[0]["text"] for chosen in sets}
    crossing, turned = f"{first}. {second}.", f"{second}. {first}."
    assert found[None] == {crossing, turned}
    assert turned in found[3] and found[3] <= {turned, first, second}


def test_a_shared_pool_offers_every_size_the_texts_of_all_sets(task, learner):
    rows = [
        row(f"text {label} {i}", float(i), label, seen=label) | {"set": i % 3} for label in (0, 1) for i in range(30)
    ]
    for shared, small, large in ((False, 4, 12), (True, 30, 30)):
        settings = config(texts_per_dpc=4, shared=shared, selection="kernel")
        found = candidates_by_size(rows, [1, 3], settings, task, learner, seed=0)
        assert [len(found[dpc].rows) for dpc in (1, 3)] == [2 * small, 2 * large]
        np.testing.assert_allclose(
            found[3].features, learner.features([line["text"] for line in found[3].rows]), atol=1e-5
        )
    assert len({line["set"] for seed in range(9) for line in choose(found[3], 3, settings, seed)}) == 3
    assert choose(found[3], 3, settings, 0) != choose(found[3], 3, settings, 1), "sets differ by seed"


def test_texts_are_compared_at_the_depth_that_is_asked_for(task, learner):
    rows = [row(f"text {label} {i}", float(i), label, seen=label) for label in (0, 1) for i in range(30)]
    texts, labels = [line["text"] for line in rows], np.array([line["label"] for line in rows])
    real = Reference(learner.features(task.texts("train", range(40)), depth=0.5), task.labels("train")[:40])
    settings = config(depth=0.5, selection="kernel", shared=True)
    found = candidates_by_size(rows, [3], settings, task, learner, seed=0)[3]
    np.testing.assert_allclose(found.features, learner.features(texts, depth=0.5), atol=1e-5)
    for reference in (None, real):
        features, stands_for = standardised(found.features, reference or Reference(found.features, labels))
        expected = METHODS["kernel"](features, labels, 3, 0, stands_for)
        assert [line["text"] for line in choose(found, 3, settings, 0, reference)] == [texts[i] for i in expected]

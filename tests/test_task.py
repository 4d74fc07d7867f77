"""`load_task` turns any labelled text dataset into a sound Task, or says in one line what is wrong."""

import csv
import dataclasses
import datetime
import io
import json
import math
import re
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from datasets import ClassLabel, Dataset, Features, Value
from hypothesis import event, given, settings
from hypothesis import strategies as st
from task_files import FORMATS, ROWS, check_sound, save_as
from task_files import offline_and_own_cache as offline_and_own_cache

from dilm.errors import InputError
from dilm.evaluation.training_sets import read_sets
from dilm.files import valid_text
from dilm.run_folder import read_set, row_text, write_set
from dilm.task import carve, check_dpc, load_task

# Rows and splits


@pytest.mark.parametrize("empty", ["", "  \t\n", "\u00a0\u2003", None])
def test_empty_texts_are_dropped_and_counted(empty):
    task = load_task(Dataset.from_list([*ROWS, {"text": empty, "label": 1}]))
    check_sound(task)
    assert task.notes[0] == "train: dropped 1 row with an empty text"
    pairs = [{**row, "text_pair": row["text"]} for row in ROWS]
    task = load_task(Dataset.from_list([*pairs, {"text": "a", "text_pair": empty, "label": 1}]))
    check_sound(task)
    assert task.notes[0] == "train: dropped 1 row with an empty text"


def test_no_text_left_is_an_input_error():
    with pytest.raises(InputError, match=r"no row with both a text and a label"):
        load_task(Dataset.from_list([{"text": " ", "label": i % 2} for i in range(9)]))


def test_texts_of_test_are_removed_from_train():
    test = [{"text": "text 3", "label": 0}, {"text": "new", "label": 1}]
    task = load_task({"train": Dataset.from_list(ROWS), "test": Dataset.from_list(test)})
    check_sound(task)
    assert any("warning: removed 1 training text that also occurs in test" in note for note in task.notes)
    assert len(task.train) + len(task.dev) == 39 and len(task.test) == 2


def test_a_pair_overlaps_only_as_a_whole():
    train = [{"text": f"a{i}", "text_pair": f"b{i}", "label": i % 2} for i in range(20)]
    test = [{"text": "a1", "text_pair": "b2", "label": 0}, {"text": "a3b", "text_pair": "3", "label": 0}]
    task = load_task({"train": Dataset.from_list(train), "test": Dataset.from_list(test)})
    assert len(task.train) + len(task.dev) == 20


def test_class_that_vanishes_with_the_overlap_is_named():
    train = [*({"text": f"t{i}", "label": "a"} for i in range(9)), {"text": "same", "label": "b"}]
    test = Dataset.from_list([{"text": "same", "label": "b"}])
    with pytest.raises(InputError, match=r"no training text is left.*'b'"):
        load_task({"train": Dataset.from_list(train), "test": test})


def test_splits_are_reproducible_by_seed_and_differ_between_seeds():
    first, again, other = (load_task(Dataset.from_list(ROWS), seed=seed) for seed in (1, 1, 2))
    for split in ("train", "dev", "test"):
        assert first.texts(split) == again.texts(split)
    assert first.texts("dev") != other.texts("dev") and first.texts("test") != other.texts("test")
    assert first.fingerprint == again.fingerprint != other.fingerprint


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=200),
    st.floats(0.01, 0.5),
    st.integers(1, 50),
    st.integers(0, 9),
)
def test_carving_is_stratified_and_leaves_no_class_empty(labels, share, cap, seed):
    labels = np.array(labels)
    held_out = carve(labels, share, cap, np.random.default_rng(seed))
    total = np.bincount(labels)
    taken = np.bincount(labels[held_out], minlength=len(total))
    assert (taken >= np.minimum(total - 1, 1).clip(0)).all() and (taken <= (total - 1).clip(0)).all()
    wanted = total * min(share, cap / len(labels))
    assert (np.abs(taken - wanted)[total > 1] <= 1).all()


def test_large_splits_are_capped():
    rows = {"text": [f"t{i}" for i in range(40_000)], "label": [i % 4 for i in range(40_000)]}
    task = load_task(Dataset.from_dict(rows))
    assert (len(task.test), len(task.dev), len(task.train)) == (5_000, 2_000, 33_000)


def test_dev_is_empty_with_a_note_if_every_class_has_a_single_text():
    test = Dataset.from_list([{"text": "new", "label": 1}])
    features = Features({"text": Value("string"), "label": ClassLabel(names=["a", "b"])})
    train = Dataset.from_list([{"text": "x", "label": 0}, {"text": "y", "label": 1}], features=features)
    task = load_task({"train": train, "test": test})
    check_sound(task)
    assert len(task.dev) == 0 and any("dev split is empty" in note for note in task.notes)


# What is sound but odd is counted


def test_repeated_texts_and_texts_with_two_labels_are_counted():
    rows = [*ROWS, *ROWS[:3], {"text": "text 5", "label": 0}]
    task = load_task(Dataset.from_list(rows))
    check_sound(task)
    assert "train: 4 of 44 rows repeat the text of another" in task.notes
    assert "warning: 1 text has different labels in train; no classifier can be right on all rows" in task.notes
    test = Dataset.from_list([{"text": "new", "label": label} for label in (0, 1, 1)])
    notes = load_task({"train": Dataset.from_list(ROWS), "test": test}).notes
    assert "test: 2 of 3 rows repeat the text of another" in notes and "different labels in test" in " ".join(notes)
    assert not any("repeat" in note for note in load_task(Dataset.from_list(ROWS)).notes)


def test_copies_of_a_text_stay_on_one_side_and_cost_no_training_text():
    task = load_task(Dataset.from_list(ROWS * 3))
    check_sound(task)
    assert (len(task.train), len(task.dev), len(task.test)) == (28 * 3, 4, 8)
    with pytest.raises(InputError, match=r"no two different texts in any class"):
        load_task(Dataset.from_list([{"text": f"text {i % 2}", "label": i % 2} for i in range(40)]))


def test_imbalance_and_classes_without_dev_or_test_texts_are_told():
    labels = ["common"] * 60 + ["rare"] * 2 + ["odd"] * 20
    train = Dataset.from_dict({"text": [f"t{i}" for i in range(82)], "label": labels})
    test = Dataset.from_dict({"text": ["a", "b", "c", "d"], "label": ["common", "common", "common", "odd"]})
    notes = load_task({"train": train, "test": test}).notes
    assert any("imbalanced: 'common' has 54 training texts, 'rare' 1;" in note for note in notes)
    assert any("right on 75.0% of test" in note for note in notes)
    assert "test has no text of 'rare': it says nothing about this class" in notes
    one = Dataset.from_dict({"text": [f"t{i}" for i in range(61)], "label": ["common"] * 60 + ["rare"]})
    assert (
        "dev has no text of 'rare': it says nothing about this class"
        in load_task({"train": one, "test": test.select([0])}).notes
    )


# Task


def test_texts_and_labels_agree_and_labels_are_read_only():
    task = load_task(Dataset.from_list(ROWS))
    assert task.labels("train").tolist() == task.train["label"][:]
    assert task.texts("train", np.array([5, 2])) == [task.texts("train")[5], task.texts("train")[2]]
    assert task.texts("train", []) == []
    with pytest.raises(ValueError, match=r"read-only"):
        task.labels("train")[0] = 1
    with pytest.raises(InputError, match=r"no split 'val'; expected train, dev or test"):
        task.texts("val")


def test_fingerprint_tells_content_not_origin(tmp_path):
    task = load_task(save_as(tmp_path / "a.csv", ROWS))
    rebuilt = dataclasses.replace(task, name="other", source="elsewhere")  # without what loading had computed
    assert rebuilt.fingerprint == task.fingerprint and re.fullmatch("[0-9a-f]{16}", task.fingerprint)
    fewer = dataclasses.replace(task, train=task.train.select(range(5)))
    assert fewer.fingerprint != task.fingerprint and len(fewer.labels("train")) == 5
    assert (
        load_task(Dataset.from_list([{**row, "label": 1 - row["label"]} for row in ROWS])).fingerprint
        != task.fingerprint
    )


def test_check_dpc_names_the_scarce_classes_and_the_largest_dpc(tmp_path):
    labels = ["rare"] * 4 + ["common"] * 40
    dataset = Dataset.from_dict({"text": [f"t{i}" for i in range(44)], "label": labels})
    task = load_task({"train": dataset, "test": Dataset.from_list([{"text": "new", "label": "rare"}])})
    check_dpc(task, 3)
    with pytest.raises(InputError, match=r"dpc 5 needs 5 .*'rare' has 3; the largest dpc possible is 3"):
        check_dpc(task, 5)
    with pytest.raises(InputError, match=r"at least 1"):
        check_dpc(task, 0)


# Anything


WORDS = ["a", "b", "NA", " ", "\ud800", "<sep>", 'x,y\n"z', "\r", "\x00", "\x1b[31m", "\u202e", "<|endoftext|>", "[/]"]
texts = st.one_of(st.text(max_size=6), st.sampled_from(WORDS), st.none())
labels = st.one_of(
    st.sampled_from([0, 1, "a", "b", "", "1", "01", "2.5"]),
    *(st.booleans(), st.none(), st.integers(), st.floats(), st.text(max_size=3), st.just([1])),
)
keys = st.sampled_from(["text", "text_pair", "label", "class", "premise", "hypothesis"])
plain_rows = st.lists(st.fixed_dictionaries({"text": st.text(max_size=8), "label": st.integers(0, 1)}), max_size=40)
good_rows = st.lists(texts, min_size=12, unique=True).map(
    lambda texts: [{"text": text, "label": "ab"[i % 2]} for i, text in enumerate(texts)]
)
any_rows = st.one_of(
    good_rows,
    plain_rows,
    st.lists(st.fixed_dictionaries({"text": texts, "text_pair": texts, "label": st.integers(-1, 1)}), max_size=20),
    st.lists(st.fixed_dictionaries({"text": texts, "label": labels}), max_size=12),
    st.lists(st.dictionaries(keys, st.one_of(texts, labels), max_size=4), max_size=12),
)


def is_sound_or_an_input_error(source) -> bool:
    try:
        task = load_task(source)
    except InputError as error:
        assert "\n" not in str(error)
        return False
    check_sound(task)
    return True


@settings(max_examples=150)
@given(
    train=any_rows,
    test=st.one_of(st.none(), good_rows, any_rows),
    kind=st.sampled_from(["jsonl", "json", "csv", "tsv"]),
)
def test_any_small_folder_is_a_sound_task_or_an_input_error(train, test, kind):
    with tempfile.TemporaryDirectory() as folder:
        for split, rows in (("train", train), ("test", test)):
            if rows is None:
                continue
            content = json.dumps(rows) if kind == "json" else "".join(json.dumps(row) + "\n" for row in rows)
            if kind in ("csv", "tsv"):
                sink = io.StringIO(newline="")
                writer = csv.writer(sink, delimiter="\t" if kind == "tsv" else ",")
                writer.writerows([rows[0] if rows else [], *(row.values() for row in rows)])
                content = sink.getvalue()
            Path(folder, f"{split}.{kind}").write_bytes(content.encode(errors="replace"))
        event(f"sound: {is_sound_or_an_input_error(folder)}")


VALUES = {
    "string": st.sampled_from(["a", "b", "1", "", " ", "None"]),
    "int8": st.integers(-1, 2),
    "uint64": st.integers(0, 2**64 - 1),
    "float32": st.sampled_from([0.0, 1.0, math.nan, math.inf, 0.5]),
    "float64": st.sampled_from([0.0, 1.0, math.nan, 2.0**60]),
    "bool": st.booleans(),
    "class": st.integers(-1, 1),
    "date32": st.just(datetime.date(2024, 4, 1)),
}


@settings(max_examples=40)
@given(st.data(), st.sampled_from(sorted(VALUES)))
def test_any_small_dataset_in_memory_is_a_sound_task_or_an_input_error(data, kind):
    label = ClassLabel(names=["x", "y/z\n"]) if kind == "class" else Value(kind)
    few = [data.draw(VALUES[kind]) for _ in range(2)]
    row = st.fixed_dictionaries(
        {"text": st.one_of(st.none(), st.text(max_size=5)), "label": st.sampled_from([*few, *few, None])}
    )
    features = Features({"text": Value("string"), "label": label})
    splits = {}
    for split in data.draw(st.sampled_from([("train",), ("train", "test"), ("train", "validation", "tset")])):
        rows = data.draw(st.lists(row, max_size=30))
        columns = {name: [row[name] for row in rows] for name in features}
        splits[split] = Dataset(pa.table(columns, features.arrow_schema))  # from_dict takes no number above 2**63
    event(f"{kind} sound: {is_sound_or_an_input_error(splits)}")


@settings(max_examples=40)
@given(
    st.lists(st.one_of(st.text(min_size=1), st.sampled_from(WORDS)), min_size=6, max_size=20, unique=True),
    st.sampled_from(["jsonl", "csv", "tsv", "parquet"]),
    st.booleans(),
)
def test_every_text_survives_from_file_to_task_to_jsonl(texts, kind, pairs):
    texts = list(dict.fromkeys(valid_text(text) for text in texts))
    rows = [
        {"text": text, "label": i % 2} | ({"text_pair": text[::-1]} if pairs else {}) for i, text in enumerate(texts)
    ]
    rows += [{**row, "text": f"{i} of a kind", "label": i} for i, row in zip((0, 0, 1, 1), rows, strict=False)]
    kept = [row for row in rows if row["text"].strip() and row.get("text_pair", "x").strip()]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"mine.{kind}")
        if kind in ("csv", "tsv"):
            with path.open("w", newline="", encoding="utf-8") as sink:
                writer = csv.DictWriter(sink, rows[0], delimiter="\t" if kind == "tsv" else ",")
                writer.writeheader()
                writer.writerows(rows)
        else:
            save_as(path, rows)
        try:
            task = load_task(path)
        except InputError as error:  # a class may have nothing left but white space
            assert re.search("no training text|one class|both a text and a label", str(error))
            return
        written = {}
        for split in ("train", "dev", "test"):
            target = Path(folder, f"{split}.jsonl")
            write_set(target, task.texts(split), task.labels(split), task.label_names)
            back, labels = read_set(target)
            assert back == task.texts(split) and labels == task.labels(split).tolist()
            assert [one.texts for one in read_sets([target], task)] == ([back] if back else [])
            written |= dict(zip(back, labels, strict=True))
    assert written == {row_text(row): row["label"] for row in kept}


@settings(max_examples=100)
@given(st.binary(max_size=60), st.sampled_from(FORMATS))
def test_any_bytes_are_a_sound_task_or_an_input_error(content, kind):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"train.{kind}")
        path.write_bytes(content)
        is_sound_or_an_input_error(path)


def test_carving_a_test_split_needs_two_texts_in_some_class():
    rows = [{"text": text, "label": label} for text, label in (("", 0), ("", 0), ("a", 0), ("b", 1))]
    with pytest.raises(InputError, match=r"too few to carve a test split"):
        load_task(Dataset.from_list(rows))

"""The columns and classes of a dataset are found, or what is ambiguous is named in one line."""

import pytest
from datasets import ClassLabel, Dataset, Features, Value
from task_files import ROWS, all_rows, check_sound, labelled_csv, save_as, write_jsonl
from task_files import offline_and_own_cache as offline_and_own_cache

from dilm.errors import InputError
from dilm.task import load_task

# Columns


def test_misspelt_column_gets_a_suggestion(tmp_path):
    path = save_as(tmp_path / "r.csv", [{"review": f"text {i}", "stars": i % 2} for i in range(9)])
    with pytest.raises(
        InputError, match=r"no column 'reviw' in r.csv \(columns: 'review', 'stars'\); did you mean 'rev"
    ):
        load_task(path, text="reviw", label="stars")
    with pytest.raises(InputError, match=r"no column 'label' in r.csv \(columns: 'stars'\); pass --label stars"):
        load_task(path, text="review")
    check_sound(load_task(path, label="stars"))


@pytest.mark.parametrize("label", ["label", "labels", "class", "category", "intent"])
def test_the_only_string_column_is_the_text_and_known_label_columns_are_found(label):
    rows = [{"idx": str(i), "review": f"text {i}", label: f"c{i % 2}", "score": 0.1} for i in range(9)]
    task = load_task(Dataset.from_list(rows))
    assert all_rows(task) == {f"text {i}": f"c{i % 2}" for i in range(9)} and not task.has_pairs


def test_several_string_columns_need_a_choice():
    dataset = Dataset.from_list([{"title": f"t{i}", "body": f"b{i}", "label": i % 2} for i in range(9)])
    with pytest.raises(InputError, match=r"no column 'text'.*'title', 'body'.*pass --text COLUMN"):
        load_task(dataset)
    assert all(str(text).startswith("b") for text in load_task(dataset, text="body").texts("train"))
    assert load_task(dataset, text="title", text_pair="body").has_pairs


PAIRS = [
    "text text_pair",
    "sentence1 sentence2",
    "premise hypothesis",
    "question1 question2",
    "question sentence",
]


@pytest.mark.parametrize("names", PAIRS)
def test_known_pairs_are_found(names):
    first, second = names.split()
    task = load_task(Dataset.from_list([{first: f"a{i}", second: f"b{i}", "label": i % 3} for i in range(30)]))
    check_sound(task)
    assert task.has_pairs and set(task.texts("dev")) <= {(f"a{i}", f"b{i}") for i in range(30)}
    assert task.texts("train", [1, 0]) == task.texts("train")[:2][::-1]


def test_swapped_pair_columns():
    rows = [{"text": f"a{i}", "text_pair": f"b{i}", "label": i % 2} for i in range(9)]
    task = load_task(Dataset.from_list(rows), text="text_pair", text_pair="text")
    assert task.texts("train")[0][0].startswith("b") and task.texts("train")[0][1].startswith("a")


def test_one_column_cannot_play_two_parts():
    with pytest.raises(InputError, match=r"must be three columns"):
        load_task(Dataset.from_list(ROWS), text="text", text_pair="text")


@pytest.mark.parametrize("column", ["number", "tags", "mixed"])
def test_text_column_of_another_type_is_refused(tmp_path, column):
    rows = [{"number": i, "tags": ["a"], "mixed": [1, "a"][i % 2], "label": i % 2} for i in range(9)]
    with pytest.raises(InputError, match=f"column '{column}' in t.jsonl holds .*; expected text"):
        load_task(write_jsonl(tmp_path / "t.jsonl", rows), text=column)


def test_test_split_without_the_text_column_is_refused():
    with pytest.raises(InputError, match=r"no text column 'text' in split 'test'"):
        load_task({"train": Dataset.from_list(ROWS), "test": Dataset.from_list([{"body": "a", "label": 1}] * 3)})


# Labels


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (["1", "2", "10"], ("1", "2", "10")),
        (["-1", "0", "1"], ("-1", "0", "1")),
        (["1.0", "10.0", "2.0"], ("1", "2", "10")),
        (["01", "1", "2"], ("01", "1", "2")),
        (["b", "a", "NA"], ("NA", "a", "b")),
        (["True", "False"], ("False", "True")),
    ],
)
def test_order_of_labels_in_csv(tmp_path, labels, names):
    task = load_task(labelled_csv(tmp_path / "t.csv", labels))
    check_sound(task)
    assert task.label_names == names


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ([1, 2, 10], ("1", "2", "10")),
        ([True, False], ("False", "True")),
        ([5.0, 1.0], ("1", "5")),
        ([1e16, 0.0], ("0", "10000000000000000")),
        (["pos", " neg"], ("neg", "pos")),
        (["x", "X"], ("X", "x")),
    ],
)
def test_types_of_labels(labels, names):
    rows = [{"text": f"text {i} {label}", "label": label} for label in labels for i in range(10)]
    task = load_task(Dataset.from_list(rows))
    assert task.label_names == names
    assert all(text.split()[2] in (name, f"{name}.0", "1e+16") for text, name in all_rows(task).items())


def test_missing_labels_are_dropped_and_counted_and_ints_stay_ints(tmp_path):
    path = labelled_csv(tmp_path / "t.csv", ["1", "2", "10"])
    path.write_text(path.read_text() + "\nlost,\nlost too,nan")
    task = load_task(path)
    assert task.label_names == ("1", "2", "10") and "train: dropped 2 rows without a label" in task.notes
    rows = [*ROWS, {"text": "lost", "label": None}, {"text": "lost too", "label": float("nan")}]
    assert "train: dropped 2 rows without a label" in load_task(write_jsonl(tmp_path / "t.jsonl", rows)).notes


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl", "memory"])
def test_floats_with_nan_are_whole_numbers_with_some_missing(tmp_path, kind):
    rows = [{"text": f"text {i}", "label": [0.0, 1.0, float("nan")][i % 3]} for i in range(30)]
    task = load_task(Dataset.from_list(rows) if kind == "memory" else save_as(tmp_path / f"t.{kind}", rows))
    check_sound(task)
    assert task.label_names == ("0", "1") and "train: dropped 10 rows without a label" in task.notes


def test_more_than_half_of_the_labels_missing():
    with pytest.raises(InputError, match=r"41 of 81 labels are missing"):
        load_task(Dataset.from_list([*ROWS, *({"text": "a", "label": None} for _ in range(41))]))


def test_declared_names_index_ints_and_name_strings(tmp_path):
    (tmp_path / "label_names.json").write_text('["bad", "good"]')
    for kind in ("csv", "jsonl"):
        path = save_as(tmp_path / f"train.{kind}", ROWS)
        assert all_rows(load_task(tmp_path))["text 1"] == "good"
        save_as(path, [{**row, "label": ("bad", "good")[row["label"]]} for row in ROWS])
        assert all_rows(load_task(tmp_path))["text 1"] == "good"
        path.unlink()


@pytest.mark.parametrize(
    ("kind", "label", "message"),
    [
        ("jsonl", 2, "'2'; expected 0 to 1 or one of 'bad', 'good'"),
        ("jsonl", -2, "'-2'; expected 0 to 1"),
        ("jsonl", 1.5, "holds 1.5, which looks like a regression target"),
        ("jsonl", "ugly", "holds nested or mixed values"),
        ("csv", "ugly", "'ugly'; expected 0 to 1"),
    ],
)
def test_label_outside_of_the_declared_ones_is_named(tmp_path, kind, label, message):
    save_as(tmp_path / f"train.{kind}", [*ROWS, {"text": "a", "label": label}])
    (tmp_path / "label_names.json").write_text('["bad", "good"]')
    with pytest.raises(InputError, match=message):
        load_task(tmp_path)


def test_declared_class_without_rows_is_left_out_with_a_note():
    features = Features({"text": Value("string"), "label": ClassLabel(names=["a", "never", "b"])})
    rows = [{"text": row["text"], "label": 2 * row["label"]} for row in ROWS]
    task = load_task(Dataset.from_list(rows, features=features))
    check_sound(task)
    assert task.label_names == ("a", "b") and any("'never'" in note for note in task.notes)
    assert all_rows(task)["text 1"] == "b"


def test_class_labels_in_another_order_in_test_are_matched_by_name():
    def dataset(names, text):
        features = Features({"text": Value("string"), "label": ClassLabel(names=names)})
        return Dataset.from_list([{"text": f"{text} {i}", "label": i % 2} for i in range(8)], features=features)

    task = load_task({"train": dataset(["a", "b"], "x"), "test": dataset(["b", "a"], "y")})
    assert all_rows(task)["x 0"] == "a" and all_rows(task)["y 0"] == "b"


def test_floats_with_a_fraction_look_like_regression(tmp_path):
    for path in (
        labelled_csv(tmp_path / "t.csv", ["1.0", "3.7"]),
        write_jsonl(tmp_path / "t.jsonl", [{"text": f"t{i}", "label": 3.7} for i in range(9)]),
    ):
        with pytest.raises(InputError, match=r"3.7, which looks like a regression target"):
            load_task(path)


@pytest.mark.parametrize("labels", [[1, "a"], [[1], [0]], [True, 3], [{"a": 1}, None], [2**70, 1]])
def test_mixed_or_nested_labels_are_refused(tmp_path, labels):
    rows = [{"text": f"text {i}", "label": labels[i % 2]} for i in range(40)]
    with pytest.raises(InputError, match=r"column 'label' in t.jsonl holds nested or mixed values"):
        load_task(write_jsonl(tmp_path / "t.jsonl", rows))


def test_one_class_only(tmp_path):
    with pytest.raises(InputError, match=r"one class only"):
        load_task(labelled_csv(tmp_path / "t.csv", ["same"]))


@pytest.mark.parametrize("count", [30, 20_000])
def test_label_column_of_ids_or_free_text_is_recognised(count):
    dataset = Dataset.from_dict({"text": [f"t{i}" for i in range(count)], "label": [f"id {i}" for i in range(count)]})
    with pytest.raises(InputError, match=r"free text or an id column"):
        load_task(dataset)


def test_label_in_test_that_train_does_not_know_is_named():
    test = Dataset.from_list([{"text": "new", "label": 7}])
    with pytest.raises(InputError, match=r"split 'test'.*that train does not have: '7'"):
        load_task({"train": Dataset.from_list(ROWS), "test": test})


@pytest.mark.parametrize("unlabelled", [-1, None, "absent"])
def test_unlabelled_test_split_falls_to_validation_then_to_carving(unlabelled):
    row = {"text": "hidden", "label": unlabelled}
    test = Dataset.from_list([{"text": "hidden"} if unlabelled == "absent" else row] * 3)
    train, validation = Dataset.from_list(ROWS), Dataset.from_list([{"text": "new", "label": 1}])
    task = load_task({"train": train, "validation": validation, "test": test})
    assert task.test_split == "validation" and task.texts("test") == ["new"]
    assert "the test split has no labels and is left out" in task.notes
    assert load_task({"train": train, "test": test}).test_split == "carved"


def test_150_classes():
    rows = [{"text": f"text {i}", "intent": f"intent {i % 150:03}"} for i in range(150 * 12)]
    task = load_task(Dataset.from_list(rows))
    check_sound(task)
    assert task.num_classes == 150 and all(set(task.labels(split)) == set(range(150)) for split in ("dev", "test"))


def test_a_text_column_with_other_values_is_told_as_what_it_is(tmp_path):
    rows = [{"text": f"text {i}" if i else 42, "label": i % 2} for i in range(40)]
    with pytest.raises(InputError, match=r"column 'text' in t.jsonl holds nested or mixed values; expected text"):
        load_task(write_jsonl(tmp_path / "t.jsonl", rows))

"""`load_task` turns any labelled text dataset into a sound Task, or says in one line what is wrong."""

import csv
import dataclasses
import gzip
import io
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value, config
from hypothesis import event, given, settings
from hypothesis import strategies as st

from dilm.errors import InputError
from dilm.task import Task, carve, check_dpc, load_task

ROWS = [{"text": f"text {i}", "label": i % 2} for i in range(40)]


@pytest.fixture(autouse=True)
def offline_and_own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setattr(config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
    monkeypatch.setattr(config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def write_jsonl(path: Path, rows: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_csv(path: Path, lines: list[str], encoding: str = "utf-8") -> Path:
    path.write_bytes("\n".join(lines).encode(encoding))
    return path


def labelled_csv(path: Path, labels: list[str]) -> Path:
    """A csv with ten different texts for every one of `labels`."""
    lines = [f"text {i} of {label},{label}" for label in labels for i in range(10)]
    return write_csv(path, ["text,label", *lines])


def all_rows(task: Task) -> dict:
    """text -> label name, over all splits."""
    rows = {}
    for split in ("train", "dev", "test"):
        for text, label in zip(task.texts(split), task.labels(split), strict=True):
            rows[text] = task.label_names[label]
    return rows


def check_sound(task: Task) -> None:
    assert re.fullmatch(r"[\w.-]+", task.name)
    columns = {"text", "label"} | ({"text_pair"} if task.has_pairs else set())
    texts = {}
    for split in ("train", "dev", "test"):
        dataset = getattr(task, split)
        assert set(dataset.column_names) == columns
        assert dataset.features["text"] == Value("string")
        assert dataset.features["label"] == ClassLabel(names=list(task.label_names))
        labels, texts[split] = task.labels(split), task.texts(split)
        assert labels.dtype == np.int64 and len(labels) == len(texts[split]) == len(dataset)
        assert set(labels) <= set(range(task.num_classes))
        assert all(part.strip() for text in texts[split] for part in ([text] if isinstance(text, str) else text))
    assert len(texts["test"]) and set(task.labels("train")) == set(range(task.num_classes))
    assert not set(texts["test"]) & {*texts["train"], *texts["dev"]}
    assert task.num_classes >= 2 and all("\n" not in note for note in task.notes)


# Sources


def save_as(path: Path, rows: list[dict]) -> Path:
    """Write rows in the format that the file's name tells."""
    kind = path.name.partition(".")[2]
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
        return path
    if kind.startswith("json"):
        lines = [json.dumps(row) + "\n" for row in rows]
        content = json.dumps(rows, indent=1) if kind == "json" else "".join(lines)
    else:
        separator = "\t" if kind.startswith("tsv") else ","
        content = "".join(separator.join(map(str, row)) + "\n" for row in [rows[0], *(r.values() for r in rows)])
    path.write_bytes(gzip.compress(content.encode()) if kind.endswith("gz") else content.encode())
    return path


FORMATS = ["csv", "tsv", "jsonl", "json", "parquet", "csv.gz", "tsv.gz", "jsonl.gz"]


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_gives_the_same_task(tmp_path, kind):
    task = load_task(save_as(tmp_path / f"mine.{kind}", ROWS))
    check_sound(task)
    assert task.name == "mine" and task.test_split == "carved"
    assert (len(task.train), len(task.dev), len(task.test)) == (28, 4, 8)
    assert all_rows(task) == {row["text"]: str(row["label"]) for row in ROWS}
    assert task.fingerprint == load_task(Dataset.from_list(ROWS)).fingerprint


@pytest.mark.parametrize("name", ["dev", "val", "valid", "validation"])
def test_folder_with_label_names_and_any_name_of_validation(tmp_path, name):
    folder = tmp_path / "my task"
    folder.mkdir()
    save_as(folder / "train.jsonl.gz", ROWS)
    save_as(folder / f"{name}.csv", [{"text": "new", "label": 1}, {"text": "old", "label": 0}])
    (folder / "label_names.json").write_text('["bad", "good"]')
    task = load_task(folder)
    check_sound(task)
    assert (task.name, task.source, task.test_split) == ("my_task", str(folder), "validation")
    assert task.label_names == ("bad", "good")
    assert dict(zip(task.texts("test"), task.labels("test"), strict=True)) == {"new": 1, "old": 0}


def test_test_split_goes_before_validation_and_dev_is_still_carved_from_train(tmp_path):
    for split in ("train", "validation", "test"):
        write_jsonl(tmp_path / f"{split}.jsonl", [{**row, "text": f"{split} {row['text']}"} for row in ROWS])
    task = load_task(tmp_path)
    assert task.test_split == "test" and len(task.test) == 40
    assert all(str(text).startswith("train") for text in task.texts("dev"))


def test_embedded_reviews():
    task = load_task("reviews")
    check_sound(task)
    assert task.label_names == ("negative", "positive") and task.test_split == "test"


def test_dataset_and_dataset_dict_in_memory_even_shuffled_and_formatted():
    dataset = Dataset.from_list(ROWS).shuffle(seed=1).with_format("numpy")
    check_sound(load_task(dataset))
    task = load_task(DatasetDict({"train": dataset, "test": Dataset.from_list([{"text": "new", "label": 1}])}))
    check_sound(task)
    assert task.texts("test") == ["new"] and task.source == "a DatasetDict"
    assert all_rows(task) == {"new": "1", **{row["text"]: str(row["label"]) for row in ROWS}}


def test_task_is_returned_as_is():
    task = load_task(Dataset.from_list(ROWS))
    assert load_task(task) is task


def test_local_folder_laid_out_as_on_the_hub(tmp_path):
    features = Features({"sentence": Value("string"), "label": ClassLabel(names=["no", "yes"]), "idx": Value("int32")})
    folder = tmp_path / "glue"
    (folder / "sst2").mkdir(parents=True)
    yaml = "---\nconfigs:\n- config_name: sst2\n  data_files:\n"
    for split, labels in (("train", [0, 1] * 10), ("validation", [0, 1]), ("test", [-1, -1])):
        rows = {
            "sentence": [f"{split} {i}" for i in range(len(labels))],
            "label": labels,
            "idx": range(len(labels)),
        }
        Dataset.from_dict(rows, features=features).to_parquet(folder / "sst2" / f"{split}.parquet")
        yaml += f"  - split: {split}\n    path: sst2/{split}.parquet\n"
    (folder / "README.md").write_text(yaml + "---\n")
    task = load_task(f"{folder}:sst2")
    check_sound(task)
    assert (task.name, task.label_names, task.test_split) == ("sst2", ("no", "yes"), "validation")
    assert any("test split has no labels" in note for note in task.notes)
    with pytest.raises(InputError, match=r"cannot load the dataset.*mnli"):
        load_task(f"{folder}:mnli")


def test_class_label_names_come_out_of_a_parquet_file(tmp_path):
    features = Features({"text": Value("large_string"), "label": ClassLabel(names=["z", "a"])})
    Dataset.from_list(ROWS, features=features).to_parquet(tmp_path / "t.parquet")
    assert load_task(tmp_path / "t.parquet").label_names == ("z", "a")


def test_unreachable_hub_id_names_both_readings_and_the_embedded_tasks():
    with pytest.raises(InputError, match=r"no file or folder 'nyu-mll/glue:sst2'.*Hub.*embedded tasks: reviews"):
        load_task("nyu-mll/glue:sst2")
    with pytest.raises(InputError, match=r"did you mean 'reviews'"):
        load_task("reviws")


def test_mistyped_path_suggests_the_nearest_file(tmp_path):
    save_as(tmp_path / "reviews.csv", ROWS)
    with pytest.raises(InputError, match=r"no file or folder .*did you mean 'reviews.csv'"):
        load_task(tmp_path / "revews.csv")


def test_folder_without_train_file_lists_what_is_there(tmp_path):
    save_as(tmp_path / "trian.csv", ROWS)
    with pytest.raises(InputError, match=r"no training file.*'trian.csv'.*expected train.csv"):
        load_task(tmp_path)


def test_two_files_for_one_split_are_refused(tmp_path):
    save_as(tmp_path / "train.csv", ROWS)
    save_as(tmp_path / "train.jsonl", ROWS)
    with pytest.raises(InputError, match=r"two train files.*train.csv.*train.jsonl"):
        load_task(tmp_path)


@pytest.mark.parametrize("content", ['{"a": 1}', "[1, 2]", '["a", "a"]', "[", '["a", ""]'])
def test_bad_label_names_file(tmp_path, content):
    save_as(tmp_path / "train.csv", ROWS)
    (tmp_path / "label_names.json").write_text(content)
    with pytest.raises(InputError, match=r"label_names.json"):
        load_task(tmp_path)


@pytest.mark.parametrize("source", [None, 7, ["a"], {"train": [1]}, DatasetDict(), ""])
def test_source_of_another_type_is_refused(source):
    with pytest.raises(InputError):
        load_task(source)


def test_edited_file_is_read_again(tmp_path):
    path = save_as(tmp_path / "t.csv", ROWS)
    before = load_task(path)
    save_as(path, [{**row, "text": row["text"].replace("text", "word")} for row in ROWS])
    after = load_task(path)
    assert all(str(text).startswith("word") for text in after.texts("train"))
    assert before.fingerprint != after.fingerprint and before.texts("train") != after.texts("train")


def test_cache_folder_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(config, "HF_DATASETS_CACHE", save_as(tmp_path / "t.csv", ROWS))
    with pytest.raises(InputError, match=r"cannot read t.csv through the cache folder"):
        load_task(tmp_path / "t.csv")


def test_loading_leaves_the_progress_bar_setting_alone_and_writes_nothing(tmp_path, capfd):
    assert not datasets.are_progress_bars_disabled()
    load_task(save_as(tmp_path / "t.csv", ROWS))
    assert not datasets.are_progress_bars_disabled()
    assert capfd.readouterr() == ("", "")


def test_import_does_not_import_torch():
    code = "import dilm.task, sys; sys.exit('torch' in sys.modules or 'dilm.reviews' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# Files that are odd or broken


def test_csv_texts_na_null_nan_stay_text(tmp_path):
    words = ["NA", "null", "nan", "None", "NaN", "N/A", "#N/A", "true", "1"]
    path = write_csv(tmp_path / "t.csv", ["text,label", *(f"{word},{i % 2}" for i, word in enumerate(words))])
    task = load_task(path)
    assert set(all_rows(task)) == set(words) and not any("dropped" in note for note in task.notes)


@pytest.mark.parametrize("kind", ["csv", "jsonl", "csv.gz"])
def test_byte_order_mark_is_not_part_of_the_first_column(tmp_path, kind):
    path = save_as(tmp_path / f"t.{kind}", ROWS)
    bom = b"\xef\xbb\xbf"
    packed = kind.endswith("gz")
    path.write_bytes(gzip.compress(bom + gzip.decompress(path.read_bytes())) if packed else bom + path.read_bytes())
    assert len(all_rows(load_task(path))) == 40


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_file_that_is_not_utf8_is_named_with_a_way_out(tmp_path, encoding):
    path = write_csv(tmp_path / "menu.csv", ["text,label", "café,1", "thé,0"], encoding)
    with pytest.raises(InputError, match=r"menu.csv is not UTF-8.*iconv"):
        load_task(path)


def test_broken_jsonl_names_file_and_line(tmp_path):
    path = write_jsonl(tmp_path / "t.jsonl", ROWS)
    path.write_text(path.read_text()[:-9])
    with pytest.raises(InputError, match=r"t\.jsonl, line 40 is not valid JSON"):
        load_task(path)
    path.write_text('{"text": "a", "label": 1}\n3\n')
    with pytest.raises(InputError, match=r"t\.jsonl, line 2: expected an object.*found int"):
        load_task(path)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["text,label", "one, two,1"], "line 2: 3 fields where the header has 2"),
        (["text,label", '"never closed,1', "b,0"], "line 3: unexpected end of data"),
        (["text,text,label", "a,b,1"], "two columns of the same name"),
        (["text,label"], "no rows"),
        ([""], "no rows"),
    ],
)
def test_broken_csv_names_the_line(tmp_path, lines, message):
    with pytest.raises(InputError, match=f"t.csv.*{message}"):
        load_task(write_csv(tmp_path / "t.csv", lines))


@pytest.mark.parametrize("name", ["t.csv.gz", "t.jsonl.gz", "t.parquet", "t.jsonl", "t.json"])
def test_damaged_or_empty_files_are_input_errors(tmp_path, name):
    path = save_as(tmp_path / name, ROWS)
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"\x00\xff" + whole):
        path.write_bytes(content)
        with pytest.raises(InputError, match=re.escape(name)):
            load_task(path)


def test_unknown_format_lists_the_known_ones(tmp_path):
    (tmp_path / "t.xlsx").write_bytes(b"x")
    with pytest.raises(InputError, match=r"'t.xlsx' has no known format; expected .csv"):
        load_task(tmp_path / "t.xlsx")


def test_tsv_with_bare_quotation_marks_is_read_literally(tmp_path):
    lines = ["text\tlabel", *(f'"word{i} he said\t{i % 2}' for i in range(9))]
    assert set(all_rows(load_task(write_csv(tmp_path / "t.tsv", lines)))) == {f'"word{i} he said' for i in range(9)}


def test_quoted_csv_fields_keep_commas_quotes_and_line_breaks(tmp_path):
    lines = ["text,label", *(f'"a, ""b""\nc {i}",{i % 2}' for i in range(6))]
    assert set(all_rows(load_task(write_csv(tmp_path / "t.csv", lines)))) == {f'a, "b"\nc {i}' for i in range(6)}


def test_very_long_csv_field(tmp_path):
    long = "word " * 100_000
    task = load_task(write_csv(tmp_path / "t.csv", ["text,label", *(f"{long}{i},{i % 2}" for i in range(6))]))
    assert long + "3" in all_rows(task)


ODD = [
    "<sep>",
    "<|endoftext|>",
    "<bos_0> [red]",
    "🎬🎉 👩‍👩‍👧",
    "שלום עולם",
    "مرحبا",
    "a\u0000b",
    "\u200b",
    "é e\u0301",
]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_odd_texts_survive_the_round_trip(tmp_path, kind):
    rows = [{"text": text, "label": i % 2} for i, text in enumerate(ODD)]
    task = load_task(save_as(tmp_path / f"t.{kind}", rows))
    assert set(all_rows(task)) == set(ODD)


def test_lone_surrogates_are_replaced_and_pairs_joined(tmp_path):
    texts = ["half \ud83d", "whole 😀", "\udc00 other half", "plain"]
    task = load_task(write_jsonl(tmp_path / "t.jsonl", [{"text": t, "label": i % 2} for i, t in enumerate(texts)]))
    assert set(all_rows(task)) == {"half \ufffd", "whole 😀", "\ufffd other half", "plain"}


def test_keys_and_types_that_change_far_down_a_jsonl(tmp_path):
    rows: list[dict] = [{"text": f"text {i}", "label": i % 2, "x": 1} for i in range(12_000)]
    rows[11_000] |= {"label": 1.0, "late": "column", "x": [1, {"y": None}]}
    del rows[11_500]["x"]
    task = load_task(write_jsonl(tmp_path / "t.jsonl", rows))
    assert len(all_rows(task)) == 12_000 and task.label_names == ("0", "1")


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
    assert len(task.dev) == 0 and "dev split is empty" in task.notes[-1]


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

WORDS = ["a", "b", "NA", " ", "\ud800", "<sep>", 'x,y\n"z', "\r", "\x00"]
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


@settings(max_examples=150, deadline=None)
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


@settings(max_examples=50, deadline=None)
@given(plain_rows)
def test_any_small_dataset_in_memory_is_a_sound_task_or_an_input_error(rows):
    event(f"sound: {is_sound_or_an_input_error(Dataset.from_list(rows))}")


@settings(max_examples=100, deadline=None)
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

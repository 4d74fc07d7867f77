"""Every source gives the same sound Task; what cannot be read is named in one line."""

import gzip
import re
import subprocess
import sys

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value, config
from task_files import FORMATS, ROWS, all_rows, check_sound, save_as, write_csv, write_jsonl
from task_files import offline_and_own_cache as offline_and_own_cache

from dilm import sources
from dilm.errors import InputError
from dilm.task import load_task

# Sources


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


def test_a_parquet_test_split_whose_labels_are_all_missing_is_left_out(tmp_path):
    for split, labels in (("train", [0, 1] * 10), ("validation", [0, 1]), ("test", [None, None])):
        rows = {"text": [f"{split} {i}" for i in range(len(labels))], "label": labels}
        Dataset.from_dict(rows).to_parquet(tmp_path / f"{split}.parquet")
    task = load_task(tmp_path)
    check_sound(task)
    assert task.test_split == "validation" and "the test split has no labels and is left out" in task.notes


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


def test_words_of_a_csv_on_the_hub_are_words(tmp_path):
    """pandas would take a class called None, or a text that says null, for no value."""
    names = ["None", "buy", "NA", "hold"]
    rows = [(f"words {i}" if i else "null", names[i % 4]) for i in range(40)]
    (tmp_path / "data").mkdir()
    write_csv(tmp_path / "data" / "train.csv", ["text,label", *(f"{text},{name}" for text, name in rows)])
    task = load_task(tmp_path)
    check_sound(task)
    assert set(task.label_names) == set(names) and "null" in all_rows(task)
    assert not [note for note in task.notes if "dropped" in note]


def test_a_parquet_column_of_a_kind_that_nobody_asks_for_does_no_harm(tmp_path):
    table = pa.Table.from_pylist(ROWS)
    maps = pa.array([[("a", "b")]] * len(ROWS), pa.map_(pa.string(), pa.string()))
    pq.write_table(table.append_column("tags", maps), tmp_path / "t.parquet")
    assert load_task(tmp_path / "t.parquet").num_classes == 2


def test_class_label_names_come_out_of_a_parquet_file(tmp_path):
    features = Features({"text": Value("large_string"), "label": ClassLabel(names=["z", "a"])})
    Dataset.from_list(ROWS, features=features).to_parquet(tmp_path / "t.parquet")
    assert load_task(tmp_path / "t.parquet").label_names == ("z", "a")


def test_unreachable_hub_id_names_both_readings_and_the_embedded_tasks():
    with pytest.raises(InputError, match=r"no file or folder 'nyu-mll/glue:sst2'.*Hub.*embedded tasks: reviews"):
        load_task("nyu-mll/glue:sst2")
    with pytest.raises(InputError, match=r"did you mean 'reviews'"):
        load_task("reviws")


def test_misspelt_splits_are_named():
    dataset, other = Dataset.from_list(ROWS), Dataset.from_list([{"text": "new", "label": 1}])
    with pytest.raises(InputError, match=r"no split 'train'.*\(splits: 'trian', 'test'; did you mean 'trian'"):
        load_task({"trian": dataset, "test": other})
    task = load_task({"train": dataset, "tset": other})
    assert task.test_split == "carved" and "not read: 'tset'; did you mean 'test'?" in task.notes
    notes = load_task({"train": dataset, "unsupervised": other}).notes
    assert "not read: 'unsupervised'; splits are named train, validation and test" in notes


def test_misspelt_files_of_a_folder_are_named(tmp_path):
    save_as(tmp_path / "train.csv", ROWS)
    save_as(tmp_path / "tset.jsonl", ROWS)
    (tmp_path / "label_names.json").write_text('["bad", "good"]')
    (tmp_path / "notes.md").write_text("x")
    assert "not read: 'tset.jsonl'; did you mean 'test'?" in load_task(tmp_path).notes


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda d: DatasetDict(sst2=DatasetDict(train=d)),
            r"'sst2' of the dataset is a DatasetDict itself; .*\['sst2'\]",
        ),
        (
            lambda d: {"train": d.to_iterable_dataset()},
            "as 'train' of .* found IterableDataset; load it without streaming",
        ),
        (lambda d: d.to_iterable_dataset(), "found IterableDataset; load it without streaming"),
        (lambda d: d.to_pandas(), r"found DataFrame; pass datasets.Dataset.from_pandas"),
        (lambda d: d.to_list(), r"found list; pass datasets.Dataset.from_list"),
        (lambda d: d.to_dict(), r"found columns \('text', 'label'\); pass datasets.Dataset.from_dict"),
    ],
)
def test_what_is_no_dataset_gets_the_way_to_one(make, message):
    with pytest.raises(InputError, match=message):
        load_task(make(Dataset.from_list(ROWS)))


def test_a_file_that_is_a_link_is_told(tmp_path):
    secret = save_as(tmp_path / "secret.csv", ROWS)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/train.csv").symlink_to(secret)
    (tmp_path / "mine.csv").symlink_to(secret)
    for source, name in ((tmp_path / "folder", "train.csv"), (tmp_path / "mine.csv", "mine.csv")):
        assert f"{name} is a link to {secret.resolve()}" in load_task(source).notes
    assert not any("link" in note for note in load_task(secret).notes)


@pytest.mark.parametrize("name", ["..", "...csv", "a/b", "-rf", "\u202egpj.csv", "x" * 200, "$(id).csv", "a\nb.csv"])
def test_a_task_s_name_is_safe_for_a_folder(name):
    assert re.fullmatch(r"\w[\w.-]{0,79}", sources._safe_name(name))


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


def test_a_column_that_widens_twice_loses_no_row(tmp_path):
    values = [0] * 5000 + [2**60] * 5000 + [0.5]
    rows = [{"text": f"t{i}", "label": i % 2, "x": x} for i, x in enumerate(values)]
    task = load_task(save_as(tmp_path / "t.jsonl", rows))
    assert sum(len(task.labels(split)) for split in ("train", "dev", "test")) == len(rows)


def test_two_parquet_columns_of_one_name_are_refused(tmp_path):
    texts, labels = pa.array(["a", "b"]), pa.array([0, 1])
    pq.write_table(pa.table([texts, texts, labels], names=["text", "text", "label"]), tmp_path / "t.parquet")
    with pytest.raises(InputError, match="two columns of the same name"):
        load_task(tmp_path / "t.parquet")


def test_a_test_split_with_labels_of_two_kinds_is_refused_not_left_out(tmp_path):
    save_as(tmp_path / "train.jsonl", [{"text": f"t{i}", "label": i % 2} for i in range(20)])
    save_as(tmp_path / "test.jsonl", [{"text": f"u{i}", "label": i % 2 if i else "1"} for i in range(6)])
    with pytest.raises(InputError, match=r"split 'test' of .* holds nested or mixed values"):
        load_task(tmp_path)


def test_no_name_is_not_the_current_folder(tmp_path, monkeypatch):
    save_as(tmp_path / "train.csv", ROWS)
    monkeypatch.chdir(tmp_path)
    assert load_task(".").labels("train").size
    with pytest.raises(InputError, match="name is empty"):
        load_task("")


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


@pytest.mark.parametrize(("encoding", "hint"), [("latin-1", "latin1"), ("utf-16", "utf-16"), ("cp1252", "latin1")])
def test_file_that_is_not_utf8_is_named_with_a_way_out(tmp_path, encoding, hint):
    path = write_csv(tmp_path / "menu.csv", ["text,label", "café,1", "thé,0"], encoding)
    with pytest.raises(InputError, match=rf"menu.csv is not UTF-8.*iconv -f {hint} -t utf-8"):
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


def test_bare_quotation_marks_of_a_tsv_swallow_no_rows(tmp_path):
    """An opening mark in one row and, rows below, one that ends a field would parse as a text of many lines."""
    texts = ['"open', "between", 'said"', *(f"word{i}" for i in range(9))]
    lines = ["text\tlabel", *(f"{text}\t{i % 2}" for i, text in enumerate(texts))]
    assert set(all_rows(load_task(write_csv(tmp_path / "t.tsv", lines)))) == set(texts)


def test_a_quoted_tsv_field_keeps_its_lines_and_tabs(tmp_path):
    lines = ["text\tlabel", *(f'"a\n""b""\tc {i}"\t{i % 2}' for i in range(6))]
    assert set(all_rows(load_task(write_csv(tmp_path / "t.tsv", lines)))) == {f'a\n"b"\tc {i}' for i in range(6)}


def test_quoted_csv_fields_keep_commas_quotes_and_line_breaks(tmp_path):
    lines = ["text,label", *(f'"a, ""b""\nc {i}",{i % 2}' for i in range(6))]
    assert set(all_rows(load_task(write_csv(tmp_path / "t.csv", lines)))) == {f'a, "b"\nc {i}' for i in range(6)}


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl.gz", "parquet"])
def test_texts_of_a_megabyte(tmp_path, kind):
    long = "word " * 200_000
    task = load_task(save_as(tmp_path / f"t.{kind}", [{"text": f"{long}{i}", "label": i % 2} for i in range(6)]))
    assert set(all_rows(task)) == {f"{long}{i}" for i in range(6)}


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

"""A file or a folder is there whole, or as it was before."""

import json

import pytest

from dilm.durable import whole_file, whole_folder, write_json


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("old")
    with pytest.raises(OSError, match="disk full"), whole_file(path) as partial:
        partial.write_text("half of the n")
        raise OSError("disk full")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("notes.txt", "old")]


def test_a_reader_sees_the_old_file_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("old")
    with whole_file(path) as partial:
        partial.write_text("new")
        assert path.read_text() == "old"
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("notes.txt", "new")]


def test_a_folder_takes_the_place_of_the_old_one_when_it_is_whole(tmp_path):
    path = tmp_path / "model"
    for name in ("first", "second"):
        with pytest.raises(RuntimeError), whole_folder(path) as partial:
            (partial / "torn").touch()
            raise RuntimeError
        with whole_folder(path) as partial:
            (partial / name).touch()
        assert [file.name for file in path.iterdir()] == [name]


def test_json_has_no_nan(tmp_path):
    write_json(tmp_path / "a.json", {"a": [float("nan"), 1.5, float("inf")], "text": "naïve ☂"})
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"a": [None, 1.5, None], "text": "naïve ☂"}
    assert "☂" in (tmp_path / "a.json").read_text(encoding="utf-8")

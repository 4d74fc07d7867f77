"""A file or a folder is there whole, or as it was before."""

import contextlib
import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from dilm import durable
from dilm.durable import sweep, whole_file, whole_folder, write_json


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("old")
    with pytest.raises(OSError, match="disk full"), whole_file(path) as partial:
        partial.write_text("half of the n")
        raise OSError("disk full")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("notes.txt", "old")]


@pytest.mark.parametrize("killed", [False, True], ids=["failed write", "killed"])
def test_a_file_is_the_old_or_the_new_one_whatever_operation_of_the_write_is_the_last(tmp_path, monkeypatch, killed):
    path, seen = tmp_path / "notes.json", []
    for number in range(20):
        write_json(path, "old")
        calls = []

        def failing(operation, calls=calls, number=number):
            def call(*args, **kwargs):
                calls.append(operation)
                if len(calls) == number + 1 or (killed and len(calls) > number):
                    raise OSError(28, "No space left on device")
                return operation(*args, **kwargs)

            return call

        with monkeypatch.context() as patch, contextlib.suppress(OSError):
            for place, name in ((durable.os, "open"), (durable.os, "fsync"), (durable.Path, "replace")):
                patch.setattr(place, name, failing(getattr(place, name)))
            for name in ("write_text", "unlink"):
                patch.setattr(durable.Path, name, failing(getattr(durable.Path, name)))
            write_json(path, "new")
        seen.append(json.loads(path.read_text()))
        if len(calls) <= number:
            break
    assert seen == sorted(seen, reverse=True) and {*seen} == {"old", "new"} and len(seen) > 6
    sweep(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["notes.json"]


def test_an_error_names_the_file_that_could_not_be_written(tmp_path):
    for write in (whole_file, whole_folder):
        with pytest.raises(OSError, match=r"No space left on device: .*mine"), write(tmp_path / "mine"):
            raise OSError(28, "No space left on device")
        assert not list(tmp_path.iterdir()), "nothing stays on the full disk"


def test_threads_may_write_one_file_while_it_is_read(tmp_path):
    path = tmp_path / "notes.json"
    values = [[number] * 5000 for number in range(10)]
    write_json(path, values[0])
    with ThreadPoolExecutor(10) as pool:
        writing = [pool.submit(write_json, path, value) for value in values for _ in range(3)]
        while not all(future.done() for future in writing):
            assert json.loads(path.read_text()) in values
    assert [future.result() for future in writing] == [None] * 30
    assert json.loads(path.read_text()) in values and len(list(tmp_path.iterdir())) == 1


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

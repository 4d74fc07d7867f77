"""Sets from files and folders, ours and other people's."""

import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
import yaml
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from dilm import InputError
from dilm.evaluation.training_sets import read_sets
from dilm.run_folder import add_label_probs, write_set
from dilm.task import load_task


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


ROWS = [{"text": "bad", "label": 0}, {"text": "good", "label": 1}]
TASK = load_task(Dataset.from_list([{"text": f"text {i}", "label": i % 2} for i in range(20)]))


def test_foreign_folders_work_as_they_are(task, tmp_path):
    for number in (0, 2, 10):
        write(tmp_path / f"theirs/{task.name}/dpc_5/dataset_{number}.jsonl", ROWS)
    write(tmp_path / "theirs/qqp/dpc_5/dataset_0.jsonl", [{"text": "a", "text_pair": "b", "label": 0}])
    sets = read_sets([tmp_path / "theirs"], task)
    assert [(s.method, s.dpc, s.number) for s in sets] == [("theirs", 5, n) for n in (0, 2, 10)]
    assert sets[0].texts == ["bad", "good"] and sets[0].labels == [0, 1]
    assert [s.method for s in read_sets([f"named={tmp_path / 'theirs'}"], task)] == ["named"] * 3
    write(tmp_path / "lr=1e-4/few.jsonl", [row | {"label_name": f"class {row['label']}"} for row in ROWS])
    assert [s.method for s in read_sets([f"named={tmp_path / 'lr=1e-4/few.jsonl'}"], task)] == ["named"]


def test_files_and_our_own_folders_know_their_method(task, tmp_path):
    write(tmp_path / "few.jsonl", [*ROWS, {"text": "fine", "label": "positive"}])
    write(tmp_path / "sel/dpc_1/dataset_0.jsonl", ROWS)
    (tmp_path / "sel/config.yaml").write_text(yaml.safe_dump({"method": "herding"}))
    write(tmp_path / "run/dpc_1/dataset_0.jsonl", ROWS)
    write(tmp_path / "run/checkpoints/coresets/random/dpc_1/dataset_0.jsonl", ROWS)
    (tmp_path / "run/config.yaml").write_text(yaml.safe_dump({"gradient_matching": {"max_steps": 0}}))
    sets = read_sets([tmp_path / "few.jsonl", tmp_path / "sel", tmp_path / "run"], task)
    assert [(s.method, s.dpc) for s in sets] == [("few", 2), ("herding", 1), ("vanilla-lm", 1)]


def test_content_tells_sets_apart(task, tmp_path):
    one, two = (write(tmp_path / f"{n}.jsonl", ROWS) for n in "ab")
    first, second = read_sets([one, two], task)
    assert first.content == second.content
    write(two, ROWS[::-1])
    assert read_sets([two], task)[0].content != first.content


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"text": "a", "label": 2}], "line 1: label 2 is none of task"),
        ([{"text": "a", "label": "positiv"}], "did you mean 'positive'"),
        ([{"text": "a", "label": True}], "label True is none"),
        ([{"text": "a", "text_pair": "b", "label": 0}], "holds a pair, task"),
        ([{"txt": "a", "label": 0}], "expected an object with text"),
        ([["a"]], "expected an object with text"),
        ([], "holds no texts"),
        ([ROWS[0], {"text": " \n", "label": 1}], "line 2: an empty text"),
        (
            [ROWS[0] | {"label_name": "positive"}, ROWS[1]],
            "label 0 is 'negative' in task .*, label_name says 'positive'",
        ),
    ],
)
def test_a_set_that_does_not_fit_is_refused_with_its_place(task, tmp_path, rows, message):
    with pytest.raises(InputError, match=message):
        read_sets([write(tmp_path / "set.jsonl", rows)], task)


def test_sets_with_soft_labels_are_there_twice_if_these_are_asked_for(task, tmp_path):
    soft = [row | {"label_probs": probs} for row, probs in zip(ROWS, ([0.9, 0.1], [0.4, 0.6]), strict=True)]
    write(tmp_path / "a.jsonl", soft)
    write(tmp_path / "b.jsonl", ROWS)
    sources = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    assert [s.targets for s in read_sets(sources, task)] == [[0, 1], [0, 1]]
    hard, found, plain = read_sets(sources, task, soft_labels=True)
    assert (hard.method, found.method, plain.method) == ("a", "a-soft", "b")
    assert hard.targets == plain.targets == found.labels == [0, 1]
    assert found.targets == [[0.9, 0.1], [0.4, 0.6]]
    assert hard.content == plain.content == read_sets(sources, task)[0].content != found.content
    with pytest.raises(InputError, match="no set has soft labels"):
        read_sets(sources[1:], task, soft_labels=True)
    with pytest.raises(InputError, match="two sets are number 0 of method 'a-soft'"):
        read_sets([sources[0], f"a-soft={sources[1]}"], task, soft_labels=True)


def test_soft_labels_of_very_many_classes_are_read_back(tmp_path):
    count = 1500
    many = load_task(Dataset.from_list([{"text": f"text {i}", "label": f"{i % count:04}"} for i in range(3 * count)]))
    random = np.random.default_rng(0)
    probs = np.concatenate([np.full((1, count), 1 / count), random.dirichlet(np.full(count, 0.01), 3)])
    path = tmp_path / "set.jsonl"
    write_set(path, many.texts("train", range(4)), [0, 1, 2, 3], many.label_names)
    add_label_probs(path, probs.astype(np.float32))
    _, soft = read_sets([path], many, soft_labels=True)
    np.testing.assert_allclose(soft.targets, probs, rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize(
    "probs", [[0.5], [0.7, 0.7], [1.5, -0.5], ["a", "b"], "ab", {}, [float("nan"), 1.0], [[1], [0]]]
)
def test_soft_labels_that_are_none_are_refused_with_their_place_where_they_are_read(task, tmp_path, probs):
    path = write(tmp_path / "set.jsonl", [ROWS[0] | {"label_probs": [1, 0]}, ROWS[1] | {"label_probs": probs}])
    assert len(read_sets([path], task)) == 1
    with pytest.raises(InputError, match=r"line 2: label_probs .* no probabilities of the 2 classes"):
        read_sets([path], task, soft_labels=True)


def test_a_set_in_which_some_texts_have_no_soft_label_is_refused(task, tmp_path):
    path = write(tmp_path / "set.jsonl", [ROWS[0] | {"label_probs": [1, 0]}, ROWS[1]])
    with pytest.raises(InputError, match="line 2: has no label_probs"):
        read_sets([path], task, soft_labels=True)


def test_sources_without_sets_are_refused(task, pair_task, tmp_path):
    with pytest.raises(InputError, match="no file or folder"):
        read_sets([tmp_path / "none"], task)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no jsonl files"):
        read_sets([tmp_path / "empty"], task)
    (tmp_path / "broken.jsonl").write_text('{"text": "a"')
    with pytest.raises(InputError, match="line 1: not JSON"):
        read_sets([tmp_path / "broken.jsonl"], task)
    single = write(tmp_path / "single.jsonl", ROWS)
    with pytest.raises(InputError, match="text and text_pair"):
        read_sets([single], pair_task)
    with pytest.raises(InputError, match="give one of the sources a name"):
        read_sets([single, write(tmp_path / "other/single.jsonl", ROWS)], task)


def test_a_stranger_s_folder_cannot_name_a_method_that_is_no_name(task, tmp_path):
    write(tmp_path / "theirs/dpc_1/dataset_0.jsonl", ROWS)
    for content in ("method: [x]", "gradient_matching: 3", "[" * 400, "method: !!python/name:os.system", "\x00"):
        (tmp_path / "theirs/config.yaml").write_text(content)
        assert [s.method for s in read_sets([tmp_path / "theirs"], task)] == ["theirs"]


values = st.one_of(st.none(), st.integers(-1, 2), st.text(max_size=4), st.lists(st.floats(), max_size=3))
lines = st.lists(
    st.one_of(
        st.text(max_size=10),
        st.sampled_from(['{"text": "\\ud800", "label": 0}', "[" * 2000, '{"text": "a", "label": 1e999}', "NaN"]),
        st.dictionaries(st.sampled_from(["text", "text_pair", "label", "label_probs"]), values).map(json.dumps),
    ),
    max_size=3,
)


@settings(max_examples=60)
@given(lines, st.booleans())
def test_any_lines_are_sets_or_an_input_error(lines, soft_labels):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "set.jsonl")
        path.write_bytes("\n".join(lines).encode(errors="replace"))
        try:
            found, *_ = read_sets([path], TASK, soft_labels)
        except InputError as error:
            assert str(path) in str(error) or "no set has soft labels" in str(error)
            return
        assert [text.encode().decode() for text in found.texts] == found.texts
        assert set(found.labels) <= {0, 1}


def test_no_set_is_called_full(task, tmp_path):
    (tmp_path / "full.jsonl").write_text('{"text": "a", "label": 0}\n{"text": "b", "label": 1}\n')
    with pytest.raises(InputError, match="'full' stands for all training texts"):
        read_sets([tmp_path / "full.jsonl"], task)
    assert read_sets([f"theirs={tmp_path / 'full.jsonl'}"], task)[0].method == "theirs"

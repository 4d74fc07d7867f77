"""The audit finds what is given away, finds nothing where there is nothing, and claims no more."""

import json
import shutil

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

import dilm
from dilm import InputError
from dilm.cli import main
from dilm.membership import auc_interval, in_words, like_in_classes, losses_after
from dilm.run_folder import read_rows
from dilm.task import load_task


def test_auc_is_sklearn_s_also_with_ties():
    random = np.random.default_rng(0)
    for _ in range(20):
        members, others = random.integers(0, 9, size=30), random.integers(0, 7, size=50)
        truth = [1] * 30 + [0] * 50
        expected = roc_auc_score(truth, np.concatenate([members, others]))
        auc, low, high = auc_interval(members.astype(float), others.astype(float))
        assert auc == pytest.approx(expected) and low < auc < high


def test_the_interval_holds_the_true_value_as_often_as_it_says():
    random, hits = np.random.default_rng(1), 0
    for _ in range(400):
        _, low, high = auc_interval(random.normal(0.5, 1, size=60), random.normal(size=80))
        hits += low <= 0.638 <= high  # Phi(0.5 / sqrt(2))
    assert 0.92 <= hits / 400 <= 0.98


def test_a_learner_that_learnt_the_members_by_heart_gives_them_away():
    random = np.random.default_rng(2)
    members, others = random.normal(size=(2, 100, 200))
    labels, other_labels = random.integers(0, 2, size=(2, 100))
    by_heart = auc_interval(
        -losses_after(members, labels, members, labels), -losses_after(members, labels, others, other_labels)
    )
    assert by_heart[1] > 0.75
    assert "give away" in "\n".join(in_words(_facts(*by_heart)))


def test_members_have_the_classes_that_the_others_have():
    labels, others = np.repeat([0, 1, 2], [500, 500, 50]), np.repeat([0, 1], [30, 90])
    rows = like_in_classes(labels, others, seed=0)
    assert len(set(rows.tolist())) == len(rows) and np.bincount(labels[rows]).tolist() == [166, 500]
    assert rows.tolist() != like_in_classes(labels, others, seed=1).tolist()


def _facts(auc, low, high):
    line = {"trained_on": "distilled", "dpc": 5, "sets": 1, "auc": auc, "low": low, "high": high, "recognised": 0.1}
    return {"learner": "probe:x", "members": 9, "held_out": 9, "lines": [line]}


@pytest.mark.parametrize(("low", "said"), [(0.49, "does not mean that there is none"), (0.51, "give away")])
def test_whatever_is_found_nothing_is_called_anonymous(low, said):
    words = "\n".join(in_words(_facts(0.52, low, 0.6)))
    assert said in words and "None of this makes the texts anonymous" in words and "overlap.json" in words


def test_a_run_is_audited_by_size_and_beside_the_full_data(finished_run, task):
    facts = dilm.audit(finished_run.output_dir, task=task, quiet=True)
    assert [(line["trained_on"], line["dpc"], line["sets"]) for line in facts["lines"]] == [
        ("distilled", 2, 2),
        ("distilled", 3, 2),
        ("full", 0, 1),
    ]
    assert all(0 <= line["low"] <= line["auc"] <= line["high"] <= 1 for line in facts["lines"])
    assert facts["members"] == len(task.train) and facts["held_out"] == len(task.dev)
    assert dilm.audit(finished_run.output_dir, task=task, quiet=True) == facts


def test_a_set_that_lacks_a_class_is_named(finished_run, task, tmp_path):
    folder = shutil.copytree(finished_run.output_dir, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints"))
    path = folder / "dpc_3/dataset_1.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in read_rows(path) if row["label"] == 1))
    with pytest.raises(InputError, match=r"dataset_1\.jsonl holds no text of class 'negative'"):
        dilm.audit(folder, task=task, quiet=True)


def test_another_dataset_than_the_distilled_one_is_refused(finished_run, tmp_path, capsys):
    with pytest.raises(InputError, match="distilled from other texts"):
        dilm.audit(finished_run.output_dir, task=load_task("reviews"), quiet=True)
    assert main(["audit", str(finished_run.output_dir), "--task", "reviews"]) == 2
    assert main(["audit", str(tmp_path)]) == 2
    assert "no finished run" in capsys.readouterr().err

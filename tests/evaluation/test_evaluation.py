"""The protocol: runs, rows, statistics."""

import json

import numpy as np
import pytest

from dilm.config import DistillConfig, EvaluationConfig
from dilm.evaluation.coresets import coresets, real_sample
from dilm.evaluation.fine_tuning import fine_tune, full_data_steps, shuffled_batches, train_on_full_data
from dilm.evaluation.probing import probe
from dilm.evaluation.protocol import Evaluator, TrainingSet, planned_runs, row_key
from dilm.evaluation.statistics import set_means, summarize, welch

CONFIG = EvaluationConfig(max_steps=3, seeds=2, fine_tuned_sets=1, max_texts=30)


def some_set(task, number=0, method="dilm", shift=0):
    labels = task.labels("train")
    rows = [int(i) for c in (0, 1) for i in np.flatnonzero(labels == c)[shift : shift + 4]]
    return TrainingSet(method, 4, number, task.texts("train", rows), labels[rows].tolist())


def test_evaluating_twice_gives_the_same_rows_to_the_last_digit(task, learner):
    sets = [some_set(task, 0), some_set(task, 1, shift=4)]
    evaluator = Evaluator(task, learner, "tiny", CONFIG, seed=0)
    first = list(evaluator.runs(sets, set()))
    assert first == list(Evaluator(task, learner, "tiny", CONFIG, seed=0).runs(sets, set()))
    assert [(r["learner"], r["set"], r["seed"]) for r in first] == [
        ("probe:tiny", 0, 0),
        ("probe:tiny", 1, 0),
        ("finetune:tiny", 0, 0),
        ("finetune:tiny", 0, 1),
    ]
    assert len(planned_runs(sets, CONFIG)) == 4
    json.dumps(first)


def test_finished_runs_are_not_run_again(task, learner):
    evaluator = Evaluator(task, learner, "tiny", CONFIG, seed=0)
    rows = list(evaluator.runs([some_set(task)], set()))
    assert list(evaluator.runs([some_set(task)], {row_key(row) for row in rows})) == []


def test_pairs_with_two_classes_get_f1(pair_task, learner):
    evaluator = Evaluator(pair_task, learner, "tiny", CONFIG, seed=0)
    labels = evaluator.test_labels
    row = evaluator.row(("dilm", 1, 0, "probe:tiny", 0), labels)
    assert row["accuracy"] == 1 and row["f1"] == 1 and not row["collapsed"]
    assert evaluator.row(("dilm", 1, 0, "probe:tiny", 0), np.zeros_like(labels))["collapsed"]


def test_test_texts_are_a_fixed_sample_of_the_split(task, learner):
    evaluator = Evaluator(task, learner, "tiny", CONFIG, seed=0)
    assert len(evaluator.test_texts) == 30
    assert evaluator.test_texts == Evaluator(task, learner, "tiny", CONFIG, seed=9).test_texts


def test_probe_learns_what_is_separable_and_survives_one_class():
    random = np.random.default_rng(0)
    labels = np.arange(40) % 2
    features = random.normal(size=(40, 5)) + 4 * labels[:, None]
    assert (probe(features, labels, features) == labels).mean() > 0.95
    assert probe(features[:3], np.array([1, 1, 1]), features[:2]).tolist() == [1, 1]


def test_small_sets_are_seen_whole_in_new_orders():
    batches = shuffled_batches(["a", "b", "c"], [0, 1, 2], 2, seed=0)
    for _ in range(3):
        (one, first), (two, second) = next(batches), next(batches)
        assert sorted(one + two) == ["a", "b", "c"]
        assert dict(zip(one + two, first + second, strict=True)) == {"a": 0, "b": 1, "c": 2}


def test_fine_tuning_starts_fresh_every_time(task, learner):
    chosen = some_set(task)
    fine_tune(learner, chosen.texts, chosen.labels, CONFIG, seed=1)
    first = learner.predict(chosen.texts)
    fine_tune(learner, chosen.texts, chosen.labels, CONFIG, seed=1)
    assert np.array_equal(learner.predict(chosen.texts), first)


def test_full_data_training_ends_at_epochs_or_steps(task, learner):
    few = EvaluationConfig(full_data_steps=4, full_data_epochs=1, batch_size=32)
    assert full_data_steps(task, few) == 4 == len(list(train_on_full_data(learner, task, few, seed=0)))
    assert full_data_steps(task, EvaluationConfig(full_data_epochs=1, batch_size=32)) == -(-len(task.train) // 32)


def test_coresets_are_balanced_real_texts_and_differ_by_set(task):
    texts, labels = real_sample(task, 3, seed=0)
    assert sorted(texts) == sorted(task.texts("train"))
    config = DistillConfig(dpc=(3,), sets=2)
    features = np.random.default_rng(0).normal(size=(len(texts), 4))
    found = list(coresets(config, texts, labels, features))
    assert [(s.method, s.number) for s in found] == [("random", 0), ("random", 1), ("k-centers", 0), ("k-centers", 1)]
    train = dict(zip(task.texts("train"), task.labels("train").tolist(), strict=True))
    for coreset in found:
        assert coreset.labels == [0, 0, 0, 1, 1, 1]
        assert [train[text] for text in coreset.texts] == coreset.labels
    assert found[0].texts != found[1].texts


def rows(method, accuracies, learner="probe:x"):
    return [
        {"learner": learner, "dpc": 5, "method": method, "set": s, "seed": i, "accuracy": a, "collapsed": False}
        for s, values in enumerate(accuracies)
        for i, a in enumerate(values)
    ]


def test_summary_by_hand():
    data = rows("dilm", [[0.8, 0.9], [0.7, 0.8]]) + rows("random", [[0.5, 0.6], [0.6, 0.5]])
    ours, random = summarize(data)
    assert ours["mean"] == pytest.approx(0.8) and ours["sets"] == 2 and ours["runs"] == 4
    assert ours["sd"] == pytest.approx(np.std([0.8, 0.9, 0.7, 0.8], ddof=1))
    assert ours["gain_random"] == pytest.approx(0.25)
    assert "gain_k-centers" not in ours and "gain_random" not in random
    assert set_means(data[:4]).tolist() == pytest.approx([0.85, 0.75])


def test_significance_finds_a_planted_difference_and_none_in_noise():
    random = np.random.default_rng(0)
    noise = random.normal(0.7, 0.02, size=(2, 20))
    assert welch(noise[0], noise[1]) > 0.05
    assert welch(noise[0], noise[1] + 0.05) < 1e-4
    assert welch(np.array([0.5]), noise[1]) is None
    assert welch(np.array([0.5, 0.5]), np.array([0.6, 0.6])) is None

"""The protocol: planned runs, rows on disk, statistics."""

import dataclasses
import json
import math
import os
import time
import warnings
from itertools import chain

import numpy as np
import pytest
import torch

from dilm import InputError
from dilm.config import RecipeConfig
from dilm.evaluation import scratch
from dilm.evaluation.coresets import real_sample, stored_set, write_coresets
from dilm.evaluation.fine_tuning import FineTuning, full_data_steps, shuffled_batches, train_on_full_data
from dilm.evaluation.learning_rate import choose_learning_rate
from dilm.evaluation.probing import Probe, TfIdf, logistic_regression
from dilm.evaluation.protocol import Evaluator, held_out
from dilm.evaluation.scratch import Scratch
from dilm.evaluation.statistics import best_sets, metric_of, row_key, set_means, summarize, welch
from dilm.evaluation.store import RowStore
from dilm.evaluation.training_sets import TrainingSet
from dilm.models.compute import make_optimizer
from dilm.training.embedding_distillation import EmbeddedSet

CONFIG = RecipeConfig(max_steps=3, seeds=2, max_texts=30)


def some_set(task, number=0, method="dilm", shift=0):
    labels = task.labels("train")
    rows = [int(i) for c in (0, 1) for i in np.flatnonzero(labels == c)[shift : shift + 4]]
    return TrainingSet(method, 4, number, task.texts("train", rows), labels[rows].tolist())


def evaluator(task, learner, config=CONFIG):
    return Evaluator(task, [Probe("probe:tiny", learner), FineTuning("finetune:tiny", learner, config)], config)


def test_evaluating_twice_gives_the_same_rows_to_the_last_digit(task, learner):
    sets = [some_set(task, 0), some_set(task, 1, shift=4)]
    first = evaluator(task, learner)
    planned = first.plan(sets, fine_tuned_sets=1)
    rows = list(first.run(planned))
    again = evaluator(task, learner)
    assert list(again.run(again.plan(sets, 1)[::-1])) == rows[::-1]  # whatever came before
    assert [(r["learner"], r["set"], r["seed"]) for r in rows] == [
        ("probe:tiny", 0, 0),
        ("probe:tiny", 1, 0),
        ("finetune:tiny", 0, 0),
        ("finetune:tiny", 0, 1),
    ]
    json.dumps(rows)


def test_finished_runs_are_not_run_again_unless_text_or_recipe_changed(task, learner, tmp_path):
    store, first = RowStore(tmp_path), evaluator(task, learner)
    planned = first.plan([some_set(task)])
    assert len(list(store.keep(first.run(planned)))) == 3
    assert RowStore(tmp_path).missing(planned) == []
    assert [row_key(row) for row in store.finished(planned)] == [run.key for run in planned]
    changed = evaluator(task, learner, RecipeConfig(max_steps=4, seeds=2, max_texts=30))
    assert [run.learner.name for run in store.missing(changed.plan([some_set(task)]))] == ["finetune:tiny"] * 2
    assert len(store.missing(first.plan([some_set(task, shift=1)]))) == 3
    torn = tmp_path / "rows-0.jsonl"
    torn.write_text(torn.read_text()[:-5])
    assert len(RowStore(tmp_path).missing(planned)) == 1


def test_ten_processes_write_one_store_while_it_is_read_and_no_row_is_lost_or_torn(tmp_path):
    store = RowStore(tmp_path)
    children = []
    for writer in range(10):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of threads, which wait elsewhere
            child = os.fork()
        if not child:
            try:
                for _ in store.keep({"set": writer, "seed": seed, "texts": "x" * 20_000} for seed in range(20)):
                    time.sleep(0.001)
            finally:
                os._exit(0)
        children.append(child)
    seen = 0
    while children:
        rows = store.rows()
        assert len(rows) >= seen and all(len(row["texts"]) == 20_000 for row in rows)
        seen = len(rows)
        if os.waitpid(children[-1], os.WNOHANG)[0]:
            children.pop()
    rows = store.rows()
    assert sorted((row["set"], row["seed"]) for row in rows) == [(w, s) for w in range(10) for s in range(20)]


@pytest.mark.parametrize("harm", ["torn", "zeros"])
def test_a_damaged_line_costs_that_run_alone(tmp_path, harm):
    store = RowStore(tmp_path)
    list(store.keep({"set": number} for number in range(3)))
    path = tmp_path / "rows-0.jsonl"
    path.write_bytes(path.read_bytes()[:-4] + (b"\0\0\n" if harm == "zeros" else b""))
    assert [row["set"] for row in RowStore(tmp_path).rows()] == [0, 1]
    list(store.keep([{"set": 2}]))
    assert [row["set"] for row in RowStore(tmp_path).rows()] == [0, 1, 2]


def test_a_set_chosen_by_its_runs_on_dev_is_tested_by_other_runs(task, learner, monkeypatch):
    seeds: dict[str, list[int]] = {}
    config = dataclasses.replace(CONFIG, seeds=3)
    for split in ("dev", "test"):
        one = Evaluator(task, [FineTuning("finetune:tiny", learner, config)], config, split)

        def predict(_, chosen, texts, seed, split=split):
            seeds.setdefault(split, []).append(seed)
            return texts.labels

        monkeypatch.setattr(FineTuning, "predict", predict)
        list(one.run(one.plan([some_set(task)])))
    assert len({*seeds["dev"], *seeds["test"]}) == 6


def test_the_best_sets_are_those_of_the_highest_means_in_their_order():
    scores = {("a", 5): [0.1, 0.9, 0.5, 0.9], ("a", 10): [0.3, 0.2, 0.1, 0.3], ("b", 5): [0.5, 0.5, 0.5, 0.5]}
    rows = [
        {"method": method, "dpc": dpc, "set": number, "accuracy": score + luck, "f1": 1 - score}
        for (method, dpc), of_sets in scores.items()
        for luck in (-0.05, 0.05)
        for number, score in enumerate(of_sets)
    ]
    assert best_sets(rows, "accuracy", 2) == {("a", 5): [1, 3], ("a", 10): [0, 3], ("b", 5): [0, 1]}
    assert best_sets(rows, "f1", 1) == {("a", 5): [0], ("a", 10): [2], ("b", 5): [0]}


def test_pairs_with_two_classes_get_f1_and_a_constant_prediction_is_flagged(pair_task, learner):
    one = Evaluator(pair_task, [TfIdf()], CONFIG)
    [run] = one.plan([some_set(pair_task)])
    labels = one.held_out.labels
    row = one.row(run, labels)
    assert row["accuracy"] == 1 and row["f1"] == 1 and not row["collapsed"]
    assert one.row(run, np.zeros_like(labels))["collapsed"]
    assert metric_of(row | {"accuracy": 0.5, "f1": 0.7}, "mean") == pytest.approx(0.6)


def test_test_texts_are_a_fixed_sample_of_the_split(task):
    sample = held_out(task, "test", 30)
    assert len(sample.texts) == 30 and sample.texts == held_out(task, "test", 30).texts
    labels = dict(zip(task.texts("test"), task.labels("test").tolist(), strict=True))
    assert [labels[text] for text in sample.texts] == sample.labels.tolist()


def test_the_full_data_runs_reach_more_than_a_small_set(task, learner):
    config = RecipeConfig(max_steps=3, seeds=1, max_texts=80, full_data_steps=3)
    one = evaluator(task, learner, config)
    rows = list(one.run(one.plan_full_data()))
    assert [(row["method"], row["dpc"], row["learner"]) for row in rows] == [
        ("full", 0, "probe:tiny"),
        ("full", 0, "finetune:tiny"),
    ]
    words = Evaluator(task, [TfIdf()], config)
    [full], [small] = (list(words.run(plan)) for plan in (words.plan_full_data(), words.plan([some_set(task)])))
    assert full["accuracy"] > small["accuracy"] + 0.1


def test_a_run_on_the_full_data_is_another_by_other_settings(task, learner):
    first, second = (
        evaluator(task, learner, dataclasses.replace(CONFIG, full_data_steps=steps)).plan_full_data()
        for steps in (50, 60)
    )
    same = {run.learner.name: run.key == other.key for run, other in zip(first, second, strict=True)}
    assert same == {"probe:tiny": True, "finetune:tiny": False}


def test_a_network_from_scratch_meets_the_recipes_rate_on_the_full_data_too(task, learner, monkeypatch):
    rates = []

    def spy(parameters, config, steps):
        rates.append((config.learning_rate, steps))
        return make_optimizer(parameters, config, steps)

    monkeypatch.setattr(scratch, "make_optimizer", spy)
    config = RecipeConfig(max_steps=3, seeds=1, max_texts=20, full_data_steps=7)
    network = Scratch("scratch:tiny", learner, config)
    one = Evaluator(task, [network], config)
    rows = list(one.run([*one.plan_full_data(), *one.plan([some_set(task)])]))
    assert rates == [(10 * config.learning_rate, 7), (10 * config.learning_rate, 3)]
    assert len({row["recipe"] for row in rows}) == 1 and network.recipe["learning_rate"] == rates[0][0]


def test_the_learning_rate_is_chosen_on_dev_and_stays(task, learner):
    tuned = FineTuning("finetune:tiny", learner, RecipeConfig(max_steps=12))
    told: list[str] = []
    scores = choose_learning_rate(tuned, task, (1e-9, 3e-3), 4, told.append)
    assert set(scores) == {"1e-09", "0.003"} and len(told) == 2
    assert f"{tuned.config.learning_rate:g}" == max(scores, key=scores.get)
    assert scores == choose_learning_rate(tuned, task, (1e-9, 3e-3), 4, told.append)


def test_probe_learns_what_is_separable_and_survives_one_class():
    random = np.random.default_rng(0)
    labels = np.arange(40) % 2
    features = random.normal(size=(40, 5)) + 4 * labels[:, None]
    assert (logistic_regression(features, labels, features) == labels).mean() > 0.95
    assert logistic_regression(features[:3], np.array([1, 1, 1]), features[:2]).tolist() == [1, 1]


def test_small_sets_are_seen_whole_in_new_orders(learner):
    texts = ["one", "two two two", "three three three three three"]
    encoded = learner.encode(texts)
    lengths = {len(text["input_ids"]): label for label, text in enumerate(encoded)}
    batches = shuffled_batches(lambda rows: learner.padded_batch([encoded[i] for i in rows], rows), 3, 2, seed=0)
    for _ in range(3):
        seen = []
        for batch in (next(batches), next(batches)):
            for inputs, labels in batch:
                assert [lengths[int(n)] for n in inputs["attention_mask"].sum(1)] == labels.tolist()
                seen += labels.tolist()
        assert sorted(seen) == [0, 1, 2]


def test_learned_embeddings_are_taken_in_batches_as_texts_are(learner, tmp_path, monkeypatch):
    width, labels, seen = learner.word_embeddings().shape[1], [0, 1, 0, 1, 0], []
    learned = EmbeddedSet(torch.arange(5.0)[:, None, None].expand(5, 4, width), torch.ones(5, 4), torch.tensor(labels))
    learned.save(tmp_path / "set.safetensors")

    def train(batches, *_, **__):
        for _ in range(6):
            ((inputs, targets),) = next(batches)
            rows = inputs["inputs_embeds"][:, 0, 0].long().tolist()
            assert targets.tolist() == [labels[row] for row in rows] and inputs["attention_mask"].shape == (
                len(rows),
                4,
            )
            seen.append(rows)
        return iter(())

    monkeypatch.setattr(learner, "train", train)
    chosen = TrainingSet("tdd", 3, 0, ["word"] * 5, labels, embeddings=tmp_path / "set.safetensors")
    FineTuning("f", learner, dataclasses.replace(CONFIG, batch_size=2)).fit(chosen, seed=0)
    assert [len(rows) for rows in seen] == [2, 2, 1] * 2
    assert sorted(chain(*seen[:3])) == sorted(chain(*seen[3:])) == list(range(5))


def test_token_types_that_the_learner_does_not_know_are_refused(learner, tmp_path):
    embeddings, labels = torch.zeros(2, 3, learner.word_embeddings().shape[1]), [0, 1]
    path, tuned = tmp_path / "set.safetensors", FineTuning("finetune:tiny", learner, CONFIG)
    chosen = TrainingSet("tdd", 1, 0, [("a", "b")] * 2, labels, embeddings=path)
    for highest in (1, 2):
        types = torch.tensor([[0, 0, highest]] * 2)
        EmbeddedSet(embeddings, torch.ones(2, 3), torch.tensor(labels), types).save(path)
        if highest == 1:
            tuned.check(chosen)
    with pytest.raises(InputError, match="has token types from 0 to 2, finetune:tiny knows 2"):
        tuned.check(chosen)


def test_fine_tuning_starts_fresh_every_time(task, learner):
    tuned, test = FineTuning("f", learner, CONFIG), held_out(task, "dev", 20)
    tuned.fit(some_set(task), seed=1)
    first = learner.predict(test.texts)
    tuned.fit(some_set(task, shift=9), seed=2)
    tuned.fit(some_set(task), seed=1)
    assert np.array_equal(learner.predict(test.texts), first)
    assert np.array_equal(tuned.test(test), first.argmax(1))


def test_full_data_training_ends_at_epochs_or_steps(task, learner):
    few = RecipeConfig(full_data_steps=4, full_data_epochs=1, batch_size=32)
    assert full_data_steps(task, few) == 4 == len(list(train_on_full_data(learner, task, few, seed=0)))
    per_epoch = len(task.train) / 32
    assert full_data_steps(task, RecipeConfig(full_data_epochs=9, batch_size=32)) == math.ceil(9 * per_epoch) > 50
    assert full_data_steps(task, RecipeConfig(full_data_epochs=0.1, batch_size=32)) == 50  # a small dataset


def test_coresets_are_balanced_real_texts_and_differ_by_set(task, tmp_path):
    texts, labels = real_sample(task, 3, seed=0)
    assert sorted(texts) == sorted(task.texts("train"))
    features = np.random.default_rng(0).normal(size=(len(texts), 4))
    train = dict(zip(task.texts("train"), task.labels("train").tolist(), strict=True))
    for method in ("random", "kernel"):
        folder = tmp_path / method
        wanted = [(3, 0), (3, 1)]
        assert len(list(write_coresets(folder, method, wanted, texts, labels, features, task.label_names, 0))) == 2
        found = [stored_set(folder, method, dpc, number) for dpc, number in wanted]
        for coreset in found:
            assert coreset.labels == [0, 0, 0, 1, 1, 1]
            assert [train[text] for text in coreset.texts] == coreset.labels
        assert found[0].texts != found[1].texts and found[0].content != found[1].content


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

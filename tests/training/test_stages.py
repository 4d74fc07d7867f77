"""Stage 1 and the parts of stage 2: teachers, learner trajectories, written texts, the loop."""

import math
from itertools import chain

import numpy as np
import pytest
import torch

from dilm.config import GradientMatchingConfig, LanguageModelingConfig
from dilm.models.compute import derived_seed
from dilm.models.generator import Generator
from dilm.training.gradient_matching import WrittenTexts, match_gradients
from dilm.training.language_modeling import bits_per_character, learn_language, num_steps
from dilm.training.learners import FreshLearners, PooledLearners, Trajectory
from dilm.training.teachers import Teachers

SMALL = GradientMatchingConfig(
    max_steps=4,
    batch_size=6,
    learning_rate=1e-3,
    teacher_size=8,
    teacher_sets=2,
    teacher_candidates=30,
    generated_texts=12,
    refresh_steps=2,
    inner_steps=3,
    trajectories=2,
    learner_steps=2,
    learner_batch_size=8,
    micro_batch_size=4,
)


@pytest.fixture
def generator(hub_models):
    """One that writes whole texts already."""
    return Generator.from_pretrained(hub_models[0], 2, max_length=40)


def test_stage_1_learns_the_task_and_its_classes(generator, task):
    config = LanguageModelingConfig(max_steps=60, num_train_epochs=100, batch_size=16, learning_rate=1e-2)
    before = bits_per_character(generator, task, "dev")
    losses = [record["loss"] for record in learn_language(generator, task, config, seed=0)]
    assert len(losses) == 60 and np.mean(losses[-10:]) < np.mean(losses[:5])
    assert bits_per_character(generator, task, "dev") < 0.9 * before


def test_stage_1_ends_at_epochs_or_steps(task):
    steps = math.ceil(200 * len(task.train) / 50)
    assert steps > 300
    assert num_steps(task, LanguageModelingConfig(max_steps=9999, num_train_epochs=200, batch_size=50)) == steps
    assert num_steps(task, LanguageModelingConfig(max_steps=3, num_train_epochs=200, batch_size=50)) == 3
    assert num_steps(task, LanguageModelingConfig(max_steps=9999, num_train_epochs=1, batch_size=50)) == 300


@pytest.mark.parametrize("kind", ["representative", "random"])
def test_teachers_are_distinct_real_texts_of_their_class(task, learner, kind):
    config = GradientMatchingConfig(teacher_size=8, teacher_sets=3, teacher_candidates=50, teacher=kind)
    teachers = Teachers(task, learner, config, seed=0)
    labels = dict(zip(task.texts("train"), task.labels("train").tolist(), strict=True))
    for c in (0, 1):
        sets = [teachers.texts(c, s) for s in range(3)]
        assert all(len(set(texts)) == 8 and {labels[t] for t in texts} == {c} for texts in sets)
        assert len({tuple(sorted(texts)) for texts in sets}) > 1


def test_representative_teachers_cover_the_class_better_than_random_ones(task, learner):
    def coverage(kind):
        config = GradientMatchingConfig(teacher_size=12, teacher_sets=4, teacher=kind)
        teachers = Teachers(task, learner, config, seed=0)
        everything = learner.features([t for t, c in zip(task.texts("train"), task.labels("train"), strict=True) if c])
        sets = [learner.features(teachers.texts(1, s)) for s in range(4)]
        return np.mean([(everything @ features.T).max(1).mean() for features in sets])

    assert coverage("representative") > coverage("random")


def test_fresh_learners_follow_one_trajectory_and_start_anew(task, learner):
    teachers = Teachers(task, learner, SMALL, seed=0)
    learners = FreshLearners(task, learner, teachers, SMALL, seed=5)
    states = []
    for step in range(4):
        learners.move_to(step)
        states.append(learner.output_layer.weight.detach().clone())
    expected = []
    for outer in (0, 1):
        trajectory = Trajectory(task, learner, SMALL, derived_seed(5, "trajectory", outer))
        expected += [learner.output_layer.weight.detach().clone() for _ in trajectory.points()]
    assert all(torch.equal(a, b) for a, b in zip(states, expected[:4], strict=True))
    assert not torch.equal(states[0], states[1]) and not torch.equal(states[0], states[3])
    learners.move_to(4)  # a jump, as after an interruption, leads to the same place
    again = FreshLearners(task, learner, teachers, SMALL, seed=5)
    again.move_to(4)
    assert torch.equal(learner.output_layer.weight, expected[4])


def test_pooled_learners_are_points_of_trajectories_and_keep_teacher_targets(task, learner, tmp_path):
    teachers = Teachers(task, learner, SMALL, seed=0)
    pooled = PooledLearners(task, learner, teachers, SMALL, 5, tmp_path)
    assert list(pooled.build()) == [1, 2, 3, 4, 5, 6] and pooled.size == 6
    assert len(list(tmp_path.glob("*.safetensors"))) == 6
    assert list(pooled.build()) == []  # nothing is made twice
    trajectory = Trajectory(task, learner, SMALL, derived_seed(5, "trajectory", 0))
    points = [learner.output_layer.weight.detach().to(torch.bfloat16).float() for _ in trajectory.points()]
    drawn = set()
    for step in range(30):
        pooled.move_to(step)
        drawn.add(pooled._at)
        if pooled._at < 3:
            assert torch.equal(learner.output_layer.weight, points[pooled._at])
    assert drawn == set(range(6))
    first = pooled.teacher_target(0, 1)
    assert pooled.teacher_target(0, 1) is first
    fresh = PooledLearners(task, learner, teachers, SMALL, 5, tmp_path)
    fresh.move_to(29)
    assert torch.equal(fresh.teacher_target(0, 1), first)


def test_classes_take_turns_when_there_are_many(generator, learner, task):
    class Many:
        num_classes, has_pairs = 10, False

    written = WrittenTexts(generator, learner, Many(), GradientMatchingConfig(max_classes=4), 0.9, seed=0)  # type: ignore[arg-type]
    subsets = [written.class_subset(number) for number in range(6)]
    assert all(len(subset) <= 4 for subset in subsets)
    assert sorted(chain(*subsets[:3])) == list(range(10)) == sorted(chain(*subsets[3:]))
    nine = WrittenTexts(generator, learner, Many(), GradientMatchingConfig(max_classes=9), 0.9, seed=0)  # type: ignore[arg-type]
    assert [len(nine.class_subset(number)) for number in range(2)] == [5, 5], "none stands alone, with all the weight"
    few_steps = GradientMatchingConfig(max_classes=4, max_steps=7, refresh_steps=100)
    assert WrittenTexts(generator, learner, Many(), few_steps, 0.9, seed=0).refresh_steps == 2  # type: ignore[arg-type]
    two = WrittenTexts(generator, learner, task, GradientMatchingConfig(max_classes=4), 0.9, seed=0)
    assert two.class_subset(0) == two.class_subset(7) == [0, 1]


def run_stage_2(generator, learner, task, config, folder):
    teachers = Teachers(task, learner, config, seed=1)
    learners = PooledLearners(task, learner, teachers, config, 1, folder)
    for _ in learners.build():
        pass
    real = [task.texts("dev", np.flatnonzero(task.labels("dev") == c)) for c in (0, 1)]
    return list(match_gradients(generator, learners, task, config, top_p=0.95, seed=1, real_texts=real))


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("scope", ["head", "all"])
def test_stage_2_moves_the_generator_and_reports_every_step(generator, learner, task, tmp_path, scope, bf16):
    from dataclasses import replace

    generator.bf16 = learner.bf16 = bf16
    start = generator.model.get_input_embeddings().weight.detach().clone()
    records = run_stage_2(generator, learner, task, replace(SMALL, scope=scope), tmp_path)
    assert len(records) == 4 and all(math.isfinite(value) for record in records for value in record.values())
    assert "real_cosine" in records[0] and -1 <= records[0]["real_cosine"] <= 1
    assert records[0]["loss"] == pytest.approx(1 - records[0]["cosine"])
    assert not torch.equal(generator.model.get_input_embeddings().weight, start)


def test_stage_2_is_the_same_for_any_micro_batch(generator, learner, task, tmp_path):
    import copy
    from dataclasses import replace

    twin = copy.deepcopy(generator)
    first = run_stage_2(generator, learner, task, SMALL, tmp_path / "a")
    second = run_stage_2(twin, learner, task, replace(SMALL, micro_batch_size=100), tmp_path / "b")
    assert [r["loss"] for r in first[:2]] == pytest.approx([r["loss"] for r in second[:2]], rel=1e-4)


def test_a_step_with_a_bad_gradient_is_left_out(generator, learner, task, tmp_path, monkeypatch):
    import dilm.training.gradient_matching as module

    real_match = module.match_class

    def poisoned(*arguments):
        match = real_match(*arguments)
        return match._replace(coefficients=match.coefficients * math.nan)

    monkeypatch.setattr(module, "match_class", poisoned)
    start = generator.model.get_input_embeddings().weight.detach().clone()
    records = run_stage_2(generator, learner, task, SMALL, tmp_path)
    assert all(record["skipped"] for record in records)
    assert torch.equal(generator.model.get_input_embeddings().weight, start)


def test_likelier_text_gains_weight_when_it_points_the_right_way(generator, learner, task, tmp_path):
    """Many steps on one refresh raise the cosine: the descent goes the right way."""
    from dataclasses import replace

    config = replace(
        SMALL, max_steps=30, refresh_steps=30, batch_size=12, teacher_sets=1, trajectories=1, inner_steps=1
    )
    records = run_stage_2(generator, learner, task, replace(config, learning_rate=5e-3), tmp_path)
    assert np.mean([r["loss"] for r in records[-5:]]) < np.mean([r["loss"] for r in records[:5]])

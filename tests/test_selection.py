"""Selection and mini-batches against slow, obvious versions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans

from dilm import InputError
from dilm.selection import METHODS
from dilm.selection.clustering import cluster, nearest_to_centers
from dilm.training.minibatches import DiverseBatches, RealBatches


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6), st.integers(1, 4), st.integers(0, 1000))
def test_every_method_gives_k_distinct_texts_of_every_class(method, k, classes, seed):
    random = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes).repeat(k), random.integers(classes, size=20)])
    features = random.normal(size=(len(labels), 5))
    chosen = METHODS[method](features, labels, k, seed)
    assert len(set(chosen.tolist())) == k * classes
    assert np.bincount(labels[chosen]).tolist() == [k] * classes
    assert np.array_equal(chosen, METHODS[method](features, labels, k, seed))


def test_k_centers_are_the_members_nearest_to_the_centroids():
    features = np.random.default_rng(0).normal(size=(60, 4))
    centers = KMeans(5, n_init=1, random_state=3).fit(features).cluster_centers_
    slow = [int(np.argmin([np.sum((point - center) ** 2) for point in features])) for center in centers]
    assert len(set(slow)) == 5
    assert nearest_to_centers(features, 5, 3).tolist() == slow


def test_k_centers_covers_separate_groups_once_each():
    groups = np.repeat(np.eye(6) * 10, 20, axis=0) + np.random.default_rng(1).normal(scale=0.1, size=(120, 6))
    assert sorted((nearest_to_centers(groups, 6, 0) // 20).tolist()) == list(range(6))


def test_identical_points_still_give_k_distinct_places():
    assert len(set(nearest_to_centers(np.ones((10, 3)), 4, 0).tolist())) == 4
    assert len(cluster(np.ones((3, 2)), 5, 0)) == 3


def test_too_few_texts_of_a_class_is_an_error():
    with pytest.raises(InputError, match="class 1 has 2 texts"):
        METHODS["random"](np.zeros((5, 1)), np.array([0, 0, 0, 1, 1]), 3, 0)


def test_large_problems_use_mini_batches_and_stay_close():
    features = np.repeat(np.eye(8) * 10, 500, axis=0) + np.random.default_rng(1).normal(scale=0.1, size=(4000, 8))
    assert sorted((nearest_to_centers(features, 8, 0) // 500).tolist()) == list(range(8))


def test_diverse_batches_take_one_of_every_group_and_use_up_each_group():
    features = np.repeat(np.eye(4) * 10, 6, axis=0) + np.random.default_rng(0).normal(scale=0.01, size=(24, 4))
    batches = DiverseBatches(24, 4, seed=0, features=features)
    drawn = [batches.draw() for _ in range(6)]
    assert all(sorted((batch // 6).tolist()) == [0, 1, 2, 3] for batch in drawn)
    assert sorted(np.concatenate(drawn).tolist()) == list(range(24))


def test_random_batches_use_up_all_texts_before_repeating():
    batches = DiverseBatches(10, 5, seed=0, features=None)
    assert sorted([*batches.draw(), *batches.draw()]) == list(range(10))
    assert len(DiverseBatches(3, 8, seed=0, features=None).draw()) == 3


def test_real_batches_visit_every_text_once_an_epoch_and_follow_the_seed(task):
    def epoch(seed):
        batches = iter(RealBatches(task, 27, seed))
        per_epoch = len(task.train) // 27
        return [text for _ in range(per_epoch) for text in next(batches)[0]]

    first = epoch(0)
    assert len(set(first)) == len(first) == len(task.train) // 27 * 27
    assert epoch(0) == first and epoch(1) != first


def test_real_batches_keep_text_and_label_together_and_sort_by_length(task):
    labels = dict(zip(task.texts("train"), task.labels("train").tolist(), strict=True))
    spreads = []
    for (texts, found), _ in zip(RealBatches(task, 16, 0), range(12), strict=False):
        assert found == [labels[text] for text in texts]
        lengths = [len(text) for text in texts]
        spreads.append(max(lengths) - min(lengths))
    everything = [len(text) for text in labels]
    assert np.mean(spreads) < (max(everything) - min(everything)) / 2

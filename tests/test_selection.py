"""Selection and mini-batches against slow, obvious versions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans

from dilm import InputError
from dilm.selection import METHODS, Reference, standardised
from dilm.selection.base import random_half
from dilm.selection.clustering import cluster, nearest_to_centers
from dilm.selection.kernel import RIDGE, RidgeSearch
from dilm.selection.learned import matching_pursuit
from dilm.training.minibatches import DiverseBatches, RealBatches


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=15)
@given(st.integers(1, 6), st.integers(1, 4), st.integers(0, 1000))
def test_every_method_gives_k_distinct_texts_of_every_class(method, k, classes, seed):
    random = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes).repeat(k), random.integers(classes, size=20)])
    features = random.normal(size=(len(labels), 5))
    chosen = METHODS[method](features, labels, k, seed)
    assert len(set(chosen.tolist())) == k * classes
    assert np.bincount(labels[chosen]).tolist() == [k] * classes
    assert np.array_equal(chosen, METHODS[method](features, labels, k, seed))


@pytest.mark.parametrize("method", METHODS)
def test_every_method_chooses_from_a_pool_that_stands_for_real_texts(method):
    random = np.random.default_rng(0)
    real = Reference(random.normal(size=(60, 5)), np.arange(60) % 3)
    pool, labels = random.normal(size=(30, 5)), np.arange(30) % 3
    chosen = METHODS[method](pool, labels, 2, 0, real)
    assert np.bincount(labels[chosen]).tolist() == [2, 2, 2]


@pytest.mark.parametrize("method", METHODS)
def test_another_seed_gives_another_set(method):
    random = np.random.default_rng(0)
    features, labels = random.normal(size=(200, 5)), np.arange(200) % 2
    sets = {tuple(sorted(METHODS[method](features, labels, 3, seed).tolist())) for seed in range(5)}
    assert len(sets) > 1


def test_greedy_k_center_takes_the_farthest_text_each_time():
    features = np.random.default_rng(0).normal(size=(30, 3))
    chosen = METHODS["greedy-k-center"](features, np.zeros(30, int), 6, 4).tolist()
    for count in range(1, 6):
        slow = [min(np.linalg.norm(point - features[c]) for c in chosen[:count]) for point in features]
        assert chosen[count] == int(np.argmax(slow))


def test_herding_keeps_the_mean_nearest_to_that_of_the_class():
    features = np.random.default_rng(0).normal(size=(40, 3))
    half = random_half(40, 5, 7).tolist()
    chosen: list[int] = []
    for _ in range(5):
        free = [i for i in half if i not in chosen]
        distance = [np.linalg.norm(features.mean(0) - features[[*chosen, i]].mean(0)) for i in free]
        chosen.append(free[int(np.argmin(distance))])
    assert METHODS["herding"](features, np.zeros(40, int), 5, 7).tolist() == chosen


def test_loss_rank_takes_typical_texts_and_no_mislabelled_ones():
    random = np.random.default_rng(0)
    labels = np.arange(100) % 2
    features = random.normal(scale=0.3, size=(100, 2)) + np.stack([labels, 1 - labels], 1)
    labels[:6] = 1 - labels[:6]
    assert not set(METHODS["loss-rank"](features, labels, 10, 0).tolist()) & set(range(6))


def test_matching_pursuit_finds_the_atoms_that_make_up_the_target():
    random = np.random.default_rng(0)
    atoms = np.linalg.qr(random.normal(size=(12, 12)))[0]
    target = 3 * atoms[4] + 2 * atoms[7] + atoms[1]
    assert matching_pursuit(atoms, target, 3).tolist() == [4, 7, 1]
    assert len(set(matching_pursuit(np.ones((5, 3)), np.ones(3), 4).tolist())) == 4


def ridge_loss(features, labels, chosen, reference, classes):
    """The literal version of the objective of `kernel`."""
    points, real = (np.hstack([f, np.ones((len(f), 1))]) for f in (features[chosen], reference.features))
    solved = np.linalg.solve(
        points.T @ points + RIDGE * np.eye(points.shape[1]), points.T @ np.eye(classes)[labels[chosen]]
    )
    losses = ((real @ solved - np.eye(classes)[reference.labels]) ** 2).sum(1)
    return np.mean([losses[reference.labels == label].mean() for label in range(classes)])


@settings(max_examples=20)
@given(st.integers(2, 4), st.integers(0, 1000))
def test_ridge_search_keeps_the_exact_loss_through_additions_and_removals(classes, seed):
    random = np.random.default_rng(seed)
    features, labels = random.normal(size=(30, 4)), np.arange(30) % classes
    features[1 + classes] = features[1]
    reference = Reference(
        random.normal(size=(50, 4)), np.append(np.arange(classes), random.integers(0, classes, 50 - classes))
    )
    search = RidgeSearch(features, labels, reference)
    rows = np.arange(30)
    for _ in range(8):  # more texts than features in the end
        losses = search.loss() + search.changes(rows)
        slow = [ridge_loss(features, labels, [*search.chosen, i], reference, classes) for i in rows]
        assert np.allclose(losses, slow, rtol=1e-6)
        search.add(int(random.choice([i for i in rows if i not in search.chosen])))
    search.remove(search.chosen[1])
    assert np.isclose(search.loss(), ridge_loss(features, labels, search.chosen, reference, classes), rtol=1e-6)


def test_kernel_chooses_the_same_whatever_share_of_the_reference_a_class_has():
    random = np.random.default_rng(2)
    features, labels = random.normal(size=(60, 5)), np.arange(60) % 2
    real, real_labels = random.normal(size=(40, 5)) + np.arange(40)[:, None] % 2, np.arange(40) % 2
    often = np.concatenate([np.arange(40), *[np.flatnonzero(real_labels == 0)] * 4])  # five times as many of class 0
    few, many = Reference(real, real_labels), Reference(real[often], real_labels[often])
    assert (METHODS["kernel"](features, labels, 3, 0, few) == METHODS["kernel"](features, labels, 3, 0, many)).all()


def test_standardised_features_are_the_same_wherever_they_lie_and_however_large_they_are():
    random = np.random.default_rng(3)
    features, real, labels = random.normal(size=(8, 5)), random.normal(size=(50, 5)) + 0.5, np.arange(50) % 5 // 4
    ours, reference = standardised(features, Reference(real, labels))
    weights = 0.5 / np.bincount(labels)[labels]  # classes count alike
    assert np.allclose(weights @ reference.features, 0) and np.isclose(weights @ (reference.features**2).sum(1), 1)
    moved, _ = standardised(3 * features + 7, Reference(3 * real + 7, labels))
    assert np.allclose(moved, ours)
    alike = standardised(np.ones((3, 5)), Reference(np.ones((4, 5)), np.arange(4) % 2))[0]
    assert (alike == 0).all(), "of texts that are all alike"


def test_no_swap_of_one_text_improves_what_kernel_chooses():
    random = np.random.default_rng(1)
    features, labels = random.normal(size=(16, 3)), np.arange(16) % 2
    chosen = METHODS["kernel"](features, labels, 2, 0).tolist()
    reference = Reference(features, labels)
    best = ridge_loss(features, labels, chosen, reference, 2)
    pools = np.random.default_rng(0)  # the halves that the seed draws
    half = [i for c in (0, 1) for i in pools.permutation(np.flatnonzero(labels == c))[:4].tolist()]
    assert set(chosen) <= set(half)
    for place in range(4):
        for other in half:
            if other not in chosen and labels[other] == labels[chosen[place]]:
                swapped = [*chosen[:place], other, *chosen[place + 1 :]]
                assert ridge_loss(features, labels, swapped, reference, 2) >= best - 1e-12


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

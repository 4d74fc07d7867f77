"""Signs of trouble: each figure and each warning."""

import pytest

from dilm.diagnostics import describe_matching, describe_texts, distinct_n, is_repetitive, warnings


def healthy() -> dict:
    texts = {"duplicate": 0.0, "repetitive": 0.0, "distinct_2": 0.8}
    matching = {"cosine": 0.5, "cosine_real": 0.6, "non_finite": 0.0, "vanishing": 0.0}
    return {
        "pool": dict(texts),
        "distilled": dict(texts),
        "real": dict(texts),
        "rejected": {"malformed": 0.0, "unfinished": 0.0},
        "agreement": 0.9,
        "cut": 0.02,
        "real_agreement": 0.92,
        "matching": matching,
    }


def test_a_healthy_run_gives_no_warning():
    assert warnings(healthy()) == []
    assert warnings(healthy() | {"matching": {}}) == []


@pytest.mark.parametrize(
    ("group", "key", "value", "words"),
    [
        ("rejected", "malformed", 0.1, "empty or malformed"),
        ("rejected", "unfinished", 0.5, "generator-max-length"),
        ("pool", "duplicate", 0.5, "duplicates"),
        ("pool", "repetitive", 0.4, "repeat themselves"),
        ("distilled", "distinct_2", 0.2, "less varied"),
        ("matching", "non_finite", 0.01, "NaN or infinite"),
        ("matching", "vanishing", 0.5, "vanished"),
        ("matching", "cosine", 0.1, "match the real gradient much less"),
    ],
)
def test_each_sign_of_trouble_is_told_in_words(group, key, value, words):
    facts = healthy()
    facts[group][key] = value
    (warning,) = warnings(facts)
    assert words in warning


def test_weak_class_conditioning_is_told():
    (warning,) = warnings(healthy() | {"agreement": 0.6})
    assert "60%" in warning and "92%" in warning


def test_invented_words_are_told_where_they_are_counted():
    (warning,) = warnings(healthy() | {"invented": 0.85})
    assert warning.startswith("85% of the pool have words that no training text has") and "dilm select" in warning
    assert warnings(healthy() | {"invented": 0.3}) == warnings(healthy() | {"invented": None}) == []


def test_training_texts_that_are_cut_are_told():
    (warning,) = warnings(healthy() | {"cut": 0.3})
    assert warning.startswith("30% of the training texts are longer") and "--generator-max-length" in warning


def test_figures_of_texts():
    facts = describe_texts(["a b c d", "a b c d", "x y x y x y x y x y", ("p q", "r")])
    assert facts["duplicate"] == pytest.approx(1 / 4)
    assert facts["repetitive"] == pytest.approx(1 / 4)
    assert facts["mean_words"] == pytest.approx((4 + 4 + 10 + 3) / 4)


def test_distinct_n_and_repetition_by_hand():
    assert distinct_n(["a b a", "a"], 1) == pytest.approx(2 / 4)
    assert distinct_n(["a b a b"], 2) == pytest.approx(2 / 3)
    assert is_repetitive("good good good good good") and not is_repetitive("a fine day at the sea")
    assert not is_repetitive("no no")


def test_matching_figures_tolerate_gaps_and_bad_steps():
    assert describe_matching([]) == {}
    history = [{"cosine": 0.1, "grad_norm": 1.0, "real_cosine": 0.5}, {"cosine": 0.3, "grad_norm": 1.0}]
    history.insert(1, {"cosine": float("nan"), "grad_norm": float("nan"), "real_cosine": float("nan")})
    facts = describe_matching(history)
    assert facts["cosine"] == 0.1 and facts["cosine_real"] == 0.5, "at the steps that have both"
    assert facts["steps"] == 3 and facts["non_finite"] == pytest.approx(1 / 3) and facts["vanishing"] == 0

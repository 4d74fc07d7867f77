"""Comparison of methods: by hand, with planted differences, and as Markdown and csv."""

import csv
import io

import numpy as np
import pytest
from scipy.stats import ttest_ind

from dilm import InputError
from dilm.evaluation.comparison import compare
from dilm.report.comparison import comparison_csv, comparison_markdown


def rows(method, accuracies, dpc=5, learner="probe:x", **more):
    return [
        {"task": "t", "learner": learner, "dpc": dpc, "method": method, "set": s, "seed": i, "accuracy": a,
         "collapsed": a == 0.5, **more}
        for s, values in enumerate(accuracies)
        for i, a in enumerate(values)
    ]  # fmt: skip


def simulated(random, mean, sets=10, seeds=3, seed_effect=(0.0, 0.02, -0.02)):
    """Sets differ by 0.02, runs on one set by 0.01, and every seed moves all methods alike."""
    by_set = random.normal(mean, 0.02, size=(sets, 1))
    return (by_set + random.normal(0, 0.01, size=(sets, seeds)) + np.array(seed_effect[:seeds])).tolist()


def line(comparison, method, dpc=5):
    return next(x for x in comparison["lines"] if x["method"] == method and x["dpc"] == dpc)


def test_a_comparison_by_hand():
    ours, random = [[0.8, 0.9], [0.7, 0.8]], [[0.5, 0.6], [0.6, 0.5]]
    found = compare(rows("dilm", ours) + rows("random", random) + rows("full", [[0.95]], dpc=0))
    dilm = line(found, "dilm")
    assert dilm["mean"] == pytest.approx(0.8) and dilm["sets"] == 2 and dilm["runs"] == 4
    assert dilm["sd"] == pytest.approx(np.std(ours, ddof=1))
    assert dilm["sd_seeds"] == pytest.approx(np.sqrt(0.005))
    assert dilm["gain"] == pytest.approx(0.25) and dilm["closed"] == pytest.approx(0.25 / 0.4)
    assert line(found, "random")["collapsed"] == 2 and "gain" not in line(found, "random")
    assert line(found, "full", 0)["mean"] == 0.95 and line(found, "full", 0)["sd"] is None


def test_the_test_is_welch_on_the_means_of_the_sets():
    random = np.random.default_rng(0)
    a, b = simulated(random, 0.7), simulated(random, 0.72)
    found = line(compare(rows("dilm", a) + rows("random", b)), "dilm")
    expected = ttest_ind(np.mean(a, 1), np.mean(b, 1), equal_var=False)
    assert found["p"] == pytest.approx(expected.pvalue) == found["p_corrected"]
    assert found["low"] == pytest.approx(expected.confidence_interval().low)
    assert found["low"] < found["gain"] < found["high"]


def test_seeds_that_only_one_method_has_are_left_out_of_the_test():
    random = np.random.default_rng(0)
    a, b = simulated(random, 0.7), [[values[0]] for values in simulated(random, 0.7)]
    found = line(compare(rows("dilm", a) + rows("random", b)), "dilm")
    assert found["p"] == pytest.approx(ttest_ind(np.array(a)[:, 0], np.ravel(b), equal_var=False).pvalue)


def test_gain_and_gap_are_told_on_the_same_seeds():
    measured = rows("dilm", [[0.6], [0.6]]) + rows("random", [[0.5, 0.1], [0.5, 0.1]]) + rows("full", [[0.9]], dpc=0)
    found = line(compare(measured), "dilm")
    assert found["gain"] == pytest.approx(0.1) and found["closed"] == pytest.approx(0.1 / 0.4)


def test_no_difference_between_two_halves_of_one_method_and_a_planted_one_is_found():
    false_alarms, found = 0, 0
    for seed in range(40):
        random = np.random.default_rng(seed)
        both = simulated(random, 0.7, sets=20)
        false_alarms += line(compare(rows("half", both[:10]) + rows("random", both[10:])), "half")["p"] < 0.05
        planted = compare(rows("better", simulated(random, 0.75)) + rows("random", both[:10]))
        found += line(planted, "better")["p_corrected"] < 0.05
    assert false_alarms <= 5 and found >= 38


def test_many_seeds_on_few_sets_do_not_pass_for_many_sets():
    """Methods whose sets differ by luck alone: runs as the unit would call most of these differences real."""
    alarms = 0
    for seed in range(40):
        random = np.random.default_rng(seed)
        a, b = (simulated(random, 0.7, sets=3, seeds=3) for _ in range(2))
        repeated = [[values * 10 for values in sets] for sets in (a, b)]
        found = compare(rows("dilm", repeated[0]) + rows("random", repeated[1]))
        alarms += line(found, "dilm")["p"] < 0.05
    assert alarms <= 6


def test_holm_by_hand():
    random = np.random.default_rng(3)
    data = [r for m, mean in (("a", 0.7), ("b", 0.72), ("c", 0.75)) for r in rows(m, simulated(random, mean))]
    found = compare(data, against="a")
    raw = sorted(pair["p"] for pair in found["pairs"])
    expected = np.maximum.accumulate([min(1, raw[0] * 3), min(1, raw[1] * 2), raw[2]])
    assert sorted(pair["p_corrected"] for pair in found["pairs"]) == pytest.approx(expected.tolist())
    gains = sorted((x["p"], x["p_corrected"]) for x in found["lines"] if "gain" in x)
    assert gains[0][1] == pytest.approx(min(1, 2 * gains[0][0]))
    assert gains[1][1] == pytest.approx(max(gains[0][1], gains[1][0]))


def test_one_set_is_no_evidence():
    found = line(compare(rows("dilm", [[0.9, 0.9]]) + rows("random", [[0.5, 0.5]])), "dilm")
    assert found["gain"] == pytest.approx(0.4) and found["p"] is None and found["p_corrected"] is None


def test_different_recipes_are_not_compared():
    with pytest.raises(InputError, match="2 different recipes"):
        compare(rows("dilm", [[0.9]], recipe="a") + rows("random", [[0.5]], recipe="b"))
    settings = {"a": {"steps": 200, "C": 1.0}, "b": {"steps": 40, "C": 1.0, "batch": 8}}
    with pytest.raises(InputError, match=r"recipes \(batch 8 and none, steps 200 and 40\)"):
        compare(rows("dilm", [[0.9]], recipe="a") + rows("random", [[0.5]], recipe="b"), recipes=settings)
    with pytest.raises(InputError, match="no metric 'bleu'"):
        compare(rows("dilm", [[0.9]]), metric="bleu")


def test_markdown_and_csv_say_the_same():
    random = np.random.default_rng(0)
    data = rows("a|b", simulated(random, 0.8)) + rows("random", simulated(random, 0.6)) + rows("full", [[0.9]], dpc=0)
    found = compare(data)
    text = comparison_markdown(found)
    mean, sd = (100 * line(found, "a|b")[key] for key in ("mean", "sd"))
    assert f"| a\\|b | {mean:.1f} ± {sd:.1f} \\*\\* |" in text
    assert "a\\|b over random" in text and "all training texts" in text and "Welch" in text
    assert "over random |" not in comparison_markdown(found, brief=True)
    lines = list(csv.DictReader(io.StringIO(comparison_csv(found))))
    assert [x["method"] for x in lines] == ["a|b", "random", "full"]
    assert float(lines[0]["gain"]) == pytest.approx(line(found, "a|b")["gain"])

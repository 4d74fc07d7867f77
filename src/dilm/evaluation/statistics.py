"""Means, spreads and tests over evaluation rows."""

from __future__ import annotations

import math
import warnings
from collections import defaultdict
from typing import Any

import numpy as np
from scipy.stats import ttest_ind

from ..errors import InputError

Row = dict[str, Any]
METRICS = ("accuracy", "f1", "mean")
FULL = "full"
"""Method of the rows of learners that were trained on all training texts; their DPC is 0."""


def row_key(row: Row) -> tuple:
    """The key of the run that a row came from."""
    return tuple(row.get(name) for name in ("method", "dpc", "set", "learner", "seed", "recipe", "content"))


def metric_of(row: Row, metric: str) -> float:
    """accuracy, f1, or the mean of both (as the paper has it for QQP); rows without f1 count by accuracy.

    Raises InputError for another metric.
    """
    if metric not in METRICS:
        raise InputError(f"no metric '{metric}'; metrics: {', '.join(METRICS)}")
    f1 = row.get("f1", row["accuracy"])
    return {"accuracy": row["accuracy"], "f1": f1, "mean": (row["accuracy"] + f1) / 2}[metric]


def best_sets(rows: list[Row], metric: str, count: int) -> dict[tuple[str, int], list[int]]:
    """By method and DPC the numbers of the `count` sets of the highest means over all their runs, in their order."""
    scores: dict[tuple[str, int], dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        scores[row["method"], row["dpc"]][row["set"]].append(metric_of(row, metric))
    means = {cell: {number: np.mean(of_set) for number, of_set in sets.items()} for cell, sets in scores.items()}
    return {cell: sorted(sorted(of, key=lambda number: (-of[number], number))[:count]) for cell, of in means.items()}


def summarize(rows: list[Row]) -> list[Row]:
    """One line per learner, DPC and method: mean and sd of accuracy over all runs, number of sets and runs.

    A set's runs are not independent of each other, so `p_random` and `p_k-centers` come from Welch's t-test on
    the means of the sets, two-sided. Lines keep the order in which the methods first occur.
    """
    groups: dict[tuple, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row["learner"], row["dpc"], row["method"]].append(row)
    summary = []
    for (learner, dpc, method), members in groups.items():
        accuracies = np.array([row["accuracy"] for row in members])
        line: Row = {
            "learner": learner,
            "dpc": dpc,
            "method": method,
            "mean": float(accuracies.mean()),
            "sd": float(accuracies.std(ddof=1)) if len(accuracies) > 1 else None,
            "sets": len({row["set"] for row in members}),
            "runs": len(members),
            "collapsed": sum(row["collapsed"] for row in members),
        }
        if "f1" in members[0]:
            line["f1"] = float(np.mean([row["f1"] for row in members]))
        for other in ("random", "k-centers"):
            baseline = groups.get((learner, dpc, other))
            if baseline and method not in (other, FULL):
                line[f"gain_{other}"] = line["mean"] - float(np.mean([row["accuracy"] for row in baseline]))
                line[f"p_{other}"] = welch(set_means(members), set_means(baseline))
        summary.append(line)
    return summary


def set_means(rows: list[Row]) -> np.ndarray:
    """Mean accuracy of each set over its runs, [sets]."""
    by_set: dict[Any, list[float]] = defaultdict(list)
    for row in rows:
        by_set[row["set"]].append(row["accuracy"])
    return np.array([np.mean(values) for values in by_set.values()])


def welch(first: np.ndarray, second: np.ndarray) -> float | None:
    """Two-sided p-value of Welch's t-test; None with fewer than two values on a side or no spread at all."""
    found = welch_interval(first, second)
    return None if found is None else found[0]


def welch_interval(first: np.ndarray, second: np.ndarray) -> tuple[float, float, float] | None:
    """p-value as in `welch`, and the 95% interval of the difference of the means; None where there is no test."""
    if min(len(first), len(second)) < 2 or np.ptp(first) + np.ptp(second) < 1e-12:
        return None
    with warnings.catch_warnings():
        # One side may be all but constant; the other's spread still makes a test.
        warnings.simplefilter("ignore", RuntimeWarning)
        result: Any = ttest_ind(first, second, equal_var=False)
        interval = result.confidence_interval()
    found = float(result.pvalue), float(interval.low), float(interval.high)
    return None if any(map(math.isnan, found)) else found

"""Methods side by side: gains, the share of the gap that is closed, and which differences are real.

Accuracy varies with the set (which texts) and with the seed (fresh head, order, dropout). Runs on one set share its
texts, so they are not independent; the unit is the set. A set's accuracy is its mean over the seeds, the same seeds
for every method, so that what a seed does to all of them falls out of the difference. Two methods are compared by
Welch's t-test on these means, two-sided: their spread holds both sources, sets may differ in number and in spread.
p-values are Holm-corrected over the family that is looked at: for the gains, all comparisons with the reference
method at all sizes of one task and learner; for the pairs, all pairs at all these sizes.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import InputError
from .statistics import FULL, Row, metric_of, welch_interval

TEST = (
    "p: Welch's t-test, two-sided, on the means of the sets (each over the same seeds: runs on one set are not "
    "independent, so the set is the unit); corrected by Holm, for a task and learner, over all comparisons with the "
    "reference method at all sizes, and in the list of pairs over all pairs at all sizes"
)


def compare(
    rows: Iterable[Row],
    metric: str = "accuracy",
    against: str = "random",
    recipes: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """{"lines": one per task, learner, DPC and method; "pairs": one per pair of methods; "metric"; "against"; "test"}.

    A line has mean, sd (all runs), sd_seeds (within a set), sets, runs, collapsed, gain over `against` at the same
    size with its 95% interval, closed (share of the gap between `against` and the full data), p and p_corrected.
    recipes: what the recipes of the rows stand for, to name what differs.
    Raises InputError for rows of one learner with different recipes, for an unknown metric, and for f1 where rows have
    none.
    """
    rows = list(rows)
    if metric == "f1" and (without := next((row["task"] for row in rows if "f1" not in row), None)):
        raise InputError(f"rows of {without} have no F1, which is kept for pairs in two classes; leave --metric out")
    cells = _cells(rows, metric, recipes or {})
    lines, pairs = [], []
    for task, learner in dict.fromkeys(key[:2] for key in cells):
        sized = {key[2:]: sets for key, sets in cells.items() if key[:2] == (task, learner)}
        ceiling = sized.pop((FULL, 0), None)
        full = None if ceiling is None else float(_means(ceiling).mean())
        here = [
            {"task": task, "learner": learner, "dpc": dpc, "method": first, "other": second}
            | _difference(sized[first, dpc], sized[second, dpc])
            for dpc in sorted({dpc for _, dpc in sized})
            for first, second in itertools.combinations([m for m, d in sized if d == dpc], 2)
        ]
        _holm(here)
        pairs += here
        gains = [dict(pair) for pair in here if against in (pair["method"], pair["other"])]
        _holm(gains)
        for (method, dpc), sets in sorted(sized.items(), key=lambda item: item[0][1]):
            line = {"task": task, "learner": learner, "dpc": dpc, "method": method} | _describe(sets)
            base = sized.get((against, dpc))
            if base is not None and method != against:
                line |= _against(gains, method, against, dpc)
                if full is not None:
                    start = float(_on_common_seeds(base, sets)[0].mean())
                    line["closed"] = line["gain"] / (full - start) if full > start else None
            lines.append(line)
        if ceiling is not None:
            lines.append({"task": task, "learner": learner, "dpc": 0, "method": FULL} | _describe(ceiling))
    return {"metric": metric, "against": against, "test": TEST, "lines": lines, "pairs": pairs}


Sets = dict[Any, dict[int, tuple[float, bool]]]
"""Of one method and size: set -> seed -> score, and whether that run collapsed."""


def _cells(
    rows: Iterable[Row], metric: str, recipes: Mapping[str, Mapping[str, Any]]
) -> dict[tuple[str, str, str, int], Sets]:
    """Scores by task, learner, method and DPC."""
    cells: dict[tuple, Sets] = defaultdict(lambda: defaultdict(dict))
    used: dict[tuple, set] = defaultdict(set)
    for row in rows:
        used[row["task"], row["learner"]].add(row.get("recipe"))
        key = row["task"], row["learner"], row["method"], row["dpc"]
        cells[key][row["set"], row.get("content")][row["seed"]] = (
            metric_of(row, metric),
            bool(row.get("collapsed")),
        )
    for (task, learner), found in used.items():
        if len(found) > 1:
            raise InputError(
                f"the results of {learner} on {task} were made with {len(found)} different recipes "
                f"({_differences([recipes.get(name) for name in found])}); evaluate all sets with the same one"
            )
    return {key: {name: dict(seeds) for name, seeds in sets.items()} for key, sets in cells.items()}


def _differences(recipes: Sequence[Mapping[str, Any] | None]) -> str:
    known = [recipe for recipe in recipes if recipe is not None]
    names = sorted({name for recipe in known for name in recipe})
    values = {name: sorted({str(recipe.get(name, "none")) for recipe in known}) for name in names}
    told = [f"{name} {' and '.join(found)}" for name, found in values.items() if len(found) > 1]
    return ", ".join(told) if told else "steps, learning rate, length, test texts, ..."


def _means(sets: Sets, seeds: set[int] | None = None) -> np.ndarray:
    """Mean of every set over its seeds, or over those given."""
    chosen = [[s for seed, (s, _) in runs.items() if seeds is None or seed in seeds] for runs in sets.values()]
    return np.array([np.mean(scores) for scores in chosen if scores])


def _describe(sets: Sets) -> dict[str, Any]:
    by_set = [[score for score, _ in runs.values()] for runs in sets.values()]
    scores = np.concatenate(by_set)
    within = [np.var(s, ddof=1) for s in by_set if len(s) > 1]
    return {
        "mean": float(scores.mean()),
        "sd": float(scores.std(ddof=1)) if len(scores) > 1 else None,
        "sd_seeds": float(np.sqrt(np.mean(within))) if within else None,
        "sets": len(by_set),
        "runs": len(scores),
        "collapsed": sum(collapsed for runs in sets.values() for _, collapsed in runs.values()),
    }


def _on_common_seeds(first: Sets, second: Sets) -> tuple[np.ndarray, np.ndarray]:
    """Means of the sets of two methods, over the seeds that all sets of both have (over all if there are none)."""
    seeds = set.intersection(*(set(runs) for runs in [*first.values(), *second.values()]))
    return _means(first, seeds or None), _means(second, seeds or None)


def _difference(first: Sets, second: Sets) -> dict[str, Any]:
    """Of two methods at one size."""
    one, two = _on_common_seeds(first, second)
    p, low, high = welch_interval(one, two) or (None, None, None)
    return {"difference": float(one.mean() - two.mean()), "low": low, "high": high, "p": p}


def _holm(pairs: Sequence[dict[str, Any]]) -> None:
    """Add "p_corrected": Holm's step-down correction over the pairs that could be tested."""
    for pair in pairs:
        pair["p_corrected"] = None
    tested = sorted((pair for pair in pairs if pair["p"] is not None), key=lambda pair: pair["p"])
    largest = 0.0
    for rank, pair in enumerate(tested):
        largest = max(largest, min(1.0, (len(tested) - rank) * pair["p"]))
        pair["p_corrected"] = largest


def _against(pairs: Sequence[dict[str, Any]], method: str, against: str, dpc: int) -> dict[str, Any]:
    pair = next(p for p in pairs if p["dpc"] == dpc and {p["method"], p["other"]} == {method, against})
    low, high = pair["low"], pair["high"]
    if pair["method"] == against:
        low, high = (None, None) if low is None else (-high, -low)
    gain = pair["difference"] if pair["method"] == method else -pair["difference"]
    return {"gain": gain, "low": low, "high": high, "p": pair["p"], "p_corrected": pair["p_corrected"]}

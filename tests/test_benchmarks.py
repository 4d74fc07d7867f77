"""The scripts behind the figures: too long to run here, but they must be able to start."""

import ast
import importlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from dilm.evaluation.comparison import compare
from dilm.run_folder import set_path, write_set

BENCHMARKS = sorted((Path(__file__).parent.parent / "benchmarks").glob("*.py"))


@pytest.mark.parametrize("path", BENCHMARKS, ids=lambda path: path.stem)
def test_a_benchmark_imports_what_there_is(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] == "dilm":
            module = importlib.import_module(str(node.module))
            for name in node.names:
                if not hasattr(module, name.name):
                    importlib.import_module(f"{node.module}.{name.name}")


@pytest.fixture
def benchmark(monkeypatch):
    """Imports a benchmark by name, as they import each other."""
    monkeypatch.syspath_prepend(BENCHMARKS[0].parent)
    return importlib.import_module


def test_the_page_has_the_tables_of_the_result_files(benchmark):
    """Results and page are committed together: what stands there is what the committed rows give."""
    page = (BENCHMARKS[0].parent.parent / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    assert page == benchmark("make_tables").with_tables(page)


def test_work_that_was_made_of_something_else_is_refused(benchmark, tmp_path):
    made_of = benchmark("common").made_of
    assert made_of(tmp_path / "new", pool="a", sizes=(5, 10)) == tmp_path / "new"
    assert made_of(tmp_path / "new", pool="a", sizes=(5, 10)) == tmp_path / "new"
    with pytest.raises(SystemExit, match="made of another pool"):
        made_of(tmp_path / "new", pool="b", sizes=(5, 10))
    (tmp_path / "old/dpc_5").mkdir(parents=True)
    with pytest.raises(SystemExit, match="does not tell what it was made of"):
        made_of(tmp_path / "old", pool="b", sizes=(5, 10))


def test_the_first_sets_come_with_their_embeddings_and_a_method_without_any_is_named(benchmark, tmp_path):
    origin = tmp_path / "tdd"
    for number in range(3):
        path = set_path(origin, 5, number)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_set(path, ["a", "b"], [0, 1], ("no", "yes"))
        path.with_suffix(".safetensors").write_bytes(b"learned")
    first_sets = benchmark("coresets").first_sets
    there = first_sets({"tdd": origin}, tmp_path / "first", [5, 10], 2, {("tdd", 5, 0)})
    assert there == [f"tdd={tmp_path / 'first/tdd'}"]
    found = {path.name for path in (tmp_path / "first/tdd/dpc_5").iterdir()}
    assert found == {"dataset_1.jsonl", "dataset_1.safetensors"}
    with pytest.raises(SystemExit, match="nowhere holds no set of 5"):
        first_sets({"tdd": origin, "typo": tmp_path / "nowhere"}, tmp_path / "first", [5], 2)


TABLES = sorted((BENCHMARKS[0].parent / "results").glob("coresets_*.json"))


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.stem)
def test_two_halves_of_the_random_sets_of_a_table_do_not_differ_and_a_planted_difference_is_found(benchmark, path):
    rows = benchmark("coresets").rows_of(json.loads(path.read_text(encoding="utf-8")))
    random = [row for row in rows if row["method"] == "random"]
    halves = [row | {"method": f"half {row['set'] % 2}"} for row in random]
    assert len({row["set"] for row in random}) >= 10
    assert all(pair["p_corrected"] > 0.05 for pair in compare(halves)["pairs"])
    spread = {
        cell: np.std([row["accuracy"] for row in random if (row["learner"], row["dpc"]) == cell])
        for cell in {(row["learner"], row["dpc"]) for row in random}
    }
    better = [row | {"accuracy": row["accuracy"] + 4 * spread[row["learner"], row["dpc"]]} for row in halves]
    planted = [one if row["set"] % 2 else row for row, one in zip(halves, better, strict=True)]
    found = compare(planted)["pairs"]
    assert len(found) == len(spread) and all(pair["p_corrected"] < 0.05 for pair in found)


@pytest.mark.parametrize("objective", ["bilevel_match", "gradient_match"])
def test_the_coefficients_of_an_objective_are_the_slopes_of_its_loss(benchmark, objective):
    module, random = benchmark("objectives"), torch.Generator().manual_seed(0)
    points, real = (torch.randn(n, 6, generator=random, dtype=torch.float64) for n in (12, 50))
    points[:, -1] = real[:, -1] = 1
    labels, classes = torch.arange(12) % 3, torch.arange(50) % 3
    scaled = real / (3 * torch.bincount(classes)[classes])[:, None]
    facts = module.Real(real, classes, real.T @ scaled, scaled.T @ torch.nn.functional.one_hot(classes).double())
    nll = 3 * torch.rand(12, generator=random, dtype=torch.float64)
    drawn = (1,) if objective == "gradient_match" else ()

    def match(losses):
        return getattr(module, objective)(losses, points, labels, facts, 0.7, *drawn)

    steps = 1e-5 * torch.eye(12, dtype=torch.float64)
    slopes = torch.tensor([(match(nll + step).loss - match(nll - step).loss) / 2e-5 for step in steps]).double()
    assert slopes.abs().max() > 0.01
    torch.testing.assert_close(match(nll).coefficients, slopes, atol=1e-8, rtol=1e-5)


def test_the_bilevel_loss_is_that_of_ridge_regression_on_the_weighted_texts(benchmark):
    module, random = benchmark("objectives"), np.random.default_rng(0)
    points, real = (np.hstack([random.normal(size=(n, 5)), np.ones((n, 1))]) for n in (12, 50))
    labels, classes = np.arange(12) % 3, np.arange(50) % 3
    nll = random.random(12)
    weights = np.exp(-nll) / np.array([np.exp(-nll[labels == c]).sum() for c in labels])
    ridge = Ridge(alpha=module.RIDGE, fit_intercept=False)
    ridge.fit(points, np.eye(3)[labels], sample_weight=module.SIZE * weights)
    errors = ((ridge.predict(real) - np.eye(3)[classes]) ** 2).sum(1)
    expected = np.mean([errors[classes == c].mean() for c in range(3)])
    inputs, real, scaled = (
        torch.from_numpy(x) for x in (points, real, real / (3 * np.bincount(classes)[classes])[:, None])
    )
    facts = module.Real(real, torch.from_numpy(classes), real.T @ scaled, scaled.T @ torch.eye(3).double()[classes])
    found = module.bilevel_match(torch.from_numpy(nll), inputs, torch.from_numpy(labels), facts, 1.0)
    assert found.loss == pytest.approx(expected)

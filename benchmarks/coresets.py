"""The table to beat: coresets of real texts and published sets, under several learners.

    python benchmarks/coresets.py path/to/sst2 --published path/to/sets --cheap
    torchrun --nproc-per-node 2 benchmarks/coresets.py path/to/sst2 --published path/to/sets --fine-tune 10

Selects 20 sets of every method and size, evaluates them with the cheap learners (--cheap: probe, TF-IDF, scratch; 20
sets x 5 seeds) or by fine-tuning (--fine-tune N: the first N sets, one seed), and writes the comparison to
benchmarks/results/coresets_TASK_{cheap,fine_tuned}.json. Both can be interrupted and called again.
"""

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

from common import write_result

import dilm
from dilm.config import RecipeConfig
from dilm.models.processes import process_state
from dilm.run_folder import set_path

METHODS = ("random", "k-centers", "greedy-k-center", "herding", "loss-rank", "gradient-match", "kernel")
FINE_TUNED = ("random", "k-centers", "herding", "gradient-match", "kernel")
SIZES = (5, 10, 20)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task")
    parser.add_argument("--published", help="folder of other people's sets for this task, measured as dilm-published")
    parser.add_argument("--cheap", action="store_true")
    parser.add_argument("--fine-tune", type=int, default=0, metavar="SETS")
    parser.add_argument("--full", action="store_true", help="with --fine-tune: also fine-tune on all training texts")
    parser.add_argument("--dpc", type=int, nargs="+", default=SIZES)
    parser.add_argument("--learner", default="offline")
    parser.add_argument("--metric", default="accuracy", choices=("accuracy", "f1", "mean"))
    parser.add_argument("--max-texts", type=int, default=10_000)
    parser.add_argument("--seeds", type=int, default=5, help="of the cheap learners that have any")
    parser.add_argument("--folder", type=Path, default=Path("runs/benchmarks"))
    args = parser.parse_args()
    state, task = process_state(), dilm.load_task(args.task)
    folder = args.folder / task.name
    if state.is_main_process:
        for method in METHODS:
            dilm.select(task, method=method, dpc=SIZES, output_dir=folder / method, learner=args.learner)
    state.wait_for_everyone()
    sources = [f"dilm-published={args.published}"] if args.published else []
    if args.cheap:
        learners = [f"probe:{args.learner}", "tfidf", f"scratch:{args.learner}"]
        sets = [*sources, *(folder / method for method in METHODS)]
        recipe = RecipeConfig(max_texts=args.max_texts, seeds=args.seeds)
        measure(task, sets, learners, folder / "cheap.json", args, recipe, "cheap", True)
    if args.fine_tune:
        origins = {method: folder / method for method in FINE_TUNED}
        if args.published:
            name = Path(args.published) / folder.name
            origins["dilm-published"] = name if name.is_dir() else Path(args.published)
        if state.is_main_process:
            first_sets(origins, folder / "first", args.dpc, args.fine_tune)
        state.wait_for_everyone()
        sets = [f"{method}={folder / 'first' / method}" for method in origins]
        recipe = RecipeConfig(seeds=1, max_texts=args.max_texts)
        learners = [f"finetune:{args.learner}"]
        measure(task, sets, learners, folder / "fine_tuned.json", args, recipe, "fine_tuned", args.full)


def first_sets(origins: dict[str, Path], folder: Path, sizes: Sequence[int], count: int) -> list[str]:
    """The first sets of each method in a folder of their own; returns what `dilm evaluate` takes."""
    for method, origin in origins.items():
        shutil.rmtree(folder / method, ignore_errors=True)
        for dpc in sizes:
            for number in range(count):
                path = set_path(folder / method, dpc, number)
                path.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(set_path(origin, dpc, number), path)
    return [f"{method}={folder / method}" for method in origins]


def scores_by_set(rows: Sequence[dict]) -> dict:
    """Every score, by learner, method, size and set."""
    scores: dict = {}
    for row in rows:
        cell = scores.setdefault(row["learner"], {}).setdefault(row["method"], {}).setdefault(str(row["dpc"]), {})
        values = [row["accuracy"], row["f1"]] if "f1" in row else row["accuracy"]
        cell.setdefault(str(row["set"]), []).append(values)
    return scores


def measure(task, sets, learners, output, args, recipe, name, full) -> None:
    """Evaluate, compare, and write the comparison with every score by learner, method, size and set."""
    results = dilm.evaluate(sets, task=task, learners=learners, output=output, recipe=recipe, full=full)
    if not process_state().is_main_process:
        return
    comparison = dilm.compare([output], metric=args.metric, output=output.with_name(f"{name}_comparison"))
    facts = {key: results[key] for key in ("task", "test_split", "test_texts", "recipe", "versions")}
    facts |= {key: comparison[key] for key in ("metric", "against", "test", "lines")}
    path = Path(__file__).parent / "results" / f"coresets_{task.name}_{name}.json"
    write_result(path, {**facts, "scores": scores_by_set(results["rows"])})
    print(f"wrote {path}")


if __name__ == "__main__":
    main()

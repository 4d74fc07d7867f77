"""The table to beat: coresets of real texts and published sets, under several learners.

    python benchmarks/coresets.py path/to/sst2 --published path/to/sets --cheap
    torchrun --nproc-per-node 2 benchmarks/coresets.py path/to/sst2 --published path/to/sets --fine-tune 10

Selects 20 sets of every method and size, evaluates them with the cheap learners (--cheap: probe, TF-IDF, scratch; 20
sets x 5 seeds) or by fine-tuning (--fine-tune N: the first N sets, one seed), and writes the comparison to
benchmarks/results/coresets_TASK_{cheap,fine_tuned}.json. Both can be interrupted and called again. Fine-tuning, which
takes days, also goes on from that file wherever it was made: a set with a score in it by the same recipe keeps it.
"""

import argparse
import dataclasses
import json
import shutil
from collections.abc import Collection, Sequence
from pathlib import Path

from common import write_result

import dilm
from dilm.config import RecipeConfig
from dilm.evaluation.comparison import compare
from dilm.evaluation.statistics import FULL, Row
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
        recipe = RecipeConfig(seeds=1, max_texts=args.max_texts)
        learners = [f"finetune:{args.learner}"]
        known = earlier_rows(result_path(task, "fine_tuned"), recipe, learners[0])
        own = folder / f"first_{state.process_index}"  # each process has its own copies, of the same sets
        sets = first_sets(origins, own, args.dpc, args.fine_tune, {set_of(row) for row in known})
        full = args.full and all(row["method"] != FULL for row in known)
        if sets or full:
            measure(task, sets, learners, folder / "fine_tuned.json", args, recipe, "fine_tuned", full, known)
        else:
            print("all these sets have been measured")


def result_path(task: dilm.Task, name: str) -> Path:
    return Path(__file__).parent / "results" / f"coresets_{task.name}_{name}.json"


def set_of(row: Row) -> tuple[str, int, int]:
    return row["method"], row["dpc"], row["set"]


def earlier_rows(path: Path, recipe: RecipeConfig, learner: str) -> list[Row]:
    """The scores in a result file as rows; exits if it was made with another recipe or learner.

    Machines with and without bfloat16 count as equal: every source in the file names its machine.
    """
    if not path.exists():
        return []
    facts = json.loads(path.read_text(encoding="utf-8"))
    own = dataclasses.asdict(recipe)
    others = [f"{name} {value}" for name, value in facts["recipe"].items() if own.get(name, value) != value]
    others += [name for name in facts["scores"] if name != learner]
    if others:
        raise SystemExit(f"{path} holds runs with {', '.join(others)}: move it away to begin a new table")
    return [
        {"task": facts["task"], "learner": learner, "method": method, "dpc": int(dpc), "set": int(number), "seed": seed}
        | ({"accuracy": score[0], "f1": score[1]} if isinstance(score, list) else {"accuracy": score})
        | {"collapsed": False}
        for learner, methods in facts["scores"].items()
        for method, sizes in methods.items()
        for dpc, sets in sizes.items()
        for number, scores in sets.items()
        for seed, score in enumerate(scores)
    ]


def first_sets(
    origins: dict[str, Path], folder: Path, sizes: Sequence[int], count: int, without: Collection = ()
) -> list[str]:
    """The first sets of each method, but for those without, in a folder of their own; what `dilm evaluate` takes."""
    for method, origin in origins.items():
        shutil.rmtree(folder / method, ignore_errors=True)
        (folder / method).mkdir(parents=True)
        for dpc in sizes:
            for number in range(count):
                if (method, dpc, number) not in without:
                    path = set_path(folder / method, dpc, number)
                    path.parent.mkdir(exist_ok=True)
                    shutil.copy(set_path(origin, dpc, number), path)
    return [f"{method}={folder / method}" for method in origins if any((folder / method).iterdir())]


def scores_by_set(rows: Sequence[Row]) -> dict:
    """Every score, by learner, method, size and set."""
    scores: dict = {}
    for row in rows:
        cell = scores.setdefault(row["learner"], {}).setdefault(row["method"], {}).setdefault(str(row["dpc"]), {})
        values = [row["accuracy"], row["f1"]] if "f1" in row else row["accuracy"]
        cell.setdefault(str(row["set"]), []).append(values)
    return scores


def measure(task, sets, learners, output, args, recipe, name, full, known=()) -> None:
    """Evaluate, compare, and write the comparison with every score by learner, method, size and set."""
    results = dilm.evaluate(sets, task=task, learners=learners, output=output, recipe=recipe, full=full)
    if not process_state().is_main_process:
        return
    made_by = results["rows"][0]["recipe"]
    rows = [row | {"recipe": made_by} for row in known] + results["rows"]
    comparison = compare(rows, metric=args.metric)
    facts = {key: results[key] for key in ("task", "test_split", "test_texts", "recipe", "versions")}
    facts |= {key: comparison[key] for key in ("metric", "against", "test", "lines")}
    path = result_path(task, name)
    if known:
        earlier = json.loads(path.read_text(encoding="utf-8"))
        before = earlier.get("earlier", [])
        runs = len(known) - sum(source["runs"] for source in before)
        facts["earlier"] = [*before, earlier["source"] | {"runs": runs}]
    write_result(path, {**facts, "scores": scores_by_set(rows)})
    print(f"wrote {path}")


if __name__ == "__main__":
    main()

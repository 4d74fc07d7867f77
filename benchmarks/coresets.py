"""The table to beat: coresets of real texts, published sets and our own, under several learners.

    python benchmarks/coresets.py path/to/sst2 --published path/to/sets --cheap
    torchrun --nproc-per-node 2 benchmarks/coresets.py path/to/sst2 --published path/to/sets --fine-tune 10
    python benchmarks/coresets.py path/to/sst2 --others distilled=runs/sst2 --cheap --fine-tune 10

Selects 20 sets of every method and size, evaluates them with the cheap learners (--cheap: probe, TF-IDF, scratch; 20
sets x 5 seeds) or by fine-tuning (--fine-tune N: the first N sets, --tune-seeds seeds), and writes the comparison to
benchmarks/results/coresets_TASK_{cheap,fine_tuned}.json. Can be interrupted and called again, and goes on from that
file wherever it was made: a set with all its scores in it keeps them, what is missing is measured, and a set with too
few seeds is measured anew. A method that --again names has other sets now: its earlier rows go, of all sizes, and its
sets are selected anew.
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
from dilm.evaluation.training_sets import embeddings_path
from dilm.models.processes import process_state
from dilm.run_folder import set_path

METHODS = ("random", "k-centers", "greedy-k-center", "herding", "loss-rank", "gradient-match", "kernel")
FINE_TUNED = ("random", "k-centers", "herding", "gradient-match", "kernel")
SIZES = (5, 10, 20)
RUN = ("learner", "method", "dpc", "set", "seed")
"""What tells a run of a table from the others."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task")
    parser.add_argument("--published", help="folder of other people's sets for this task, measured as dilm-published")
    parser.add_argument(
        "--others", nargs="+", default=[], metavar="NAME=FOLDER", help="more sets, such as a run folder"
    )
    parser.add_argument("--methods", nargs="+", choices=METHODS, help="coresets, those of the table unless told")
    parser.add_argument("--cheap", action="store_true")
    parser.add_argument("--fine-tune", type=int, default=0, metavar="SETS")
    parser.add_argument("--full", action="store_true", help="with --fine-tune: also fine-tune on all training texts")
    parser.add_argument("--again", nargs="+", default=(), metavar="METHOD", help="measure anew: it has other sets now")
    parser.add_argument("--dpc", type=int, nargs="+", default=SIZES)
    parser.add_argument("--learner", default="offline")
    parser.add_argument("--metric", default="accuracy", choices=("accuracy", "f1", "mean"))
    parser.add_argument("--max-texts", type=int, default=10_000)
    parser.add_argument("--seeds", type=int, default=5, help="of the cheap learners that have any")
    parser.add_argument("--tune-seeds", type=int, default=1, help="of fine-tuning")
    parser.add_argument(
        "--float32",
        action="store_true",
        help="also where there is bfloat16: on a GPU a small model waits for launches, and casting needs more of them",
    )
    parser.add_argument("--folder", type=Path, default=Path("runs/benchmarks"))
    args = parser.parse_args()
    task = dilm.load_task(args.task)
    others = {name: Path(folder) for name, _, folder in (other.partition("=") for other in args.others)}
    if args.published:
        own = Path(args.published) / task.name
        others["dilm-published"] = own if own.is_dir() else Path(args.published)
    if unknown := sorted({*args.again} - {*METHODS, *others, FULL}):
        raise SystemExit(f"--again {' '.join(unknown)}: no method of this table, and not among --others")
    if args.cheap:
        learners = [f"probe:{args.learner}", "tfidf", f"scratch:{args.learner}"]
        recipe = RecipeConfig(seeds=args.seeds, max_texts=args.max_texts)
        fill_table("cheap", task, args.methods or METHODS, others, learners, recipe, 20, True, args)
    if args.fine_tune:
        learners, recipe = [f"finetune:{args.learner}"], RecipeConfig(seeds=args.tune_seeds, max_texts=args.max_texts)
        methods = args.methods or FINE_TUNED
        fill_table("fine_tuned", task, methods, others, learners, recipe, args.fine_tune, args.full, args)


def fill_table(
    name: str,
    task: dilm.Task,
    methods: Sequence[str],
    others: dict[str, Path],
    learners: list[str],
    recipe: RecipeConfig,
    count: int,
    full: bool,
    args: argparse.Namespace,
) -> None:
    """Measure the first sets of every method and of the others that are missing, and write the whole table."""
    state, folder, path = process_state(), args.folder / task.name, result_path(task, name)
    known = [row for row in earlier_rows(path, recipe, learners) if row["method"] not in args.again]
    last = {learner: 0 if learner.startswith(("probe", "tfidf")) else recipe.seeds - 1 for learner in learners}
    finished = {learner: set() for learner in learners}
    for row in known:
        if row["seed"] >= last[row["learner"]]:
            finished[row["learner"]].add((row["method"], row["dpc"], row["set"]))
    measured = set.intersection(*finished.values())
    wanted = [m for m in methods if any((m, d, s) not in measured for d in args.dpc for s in range(count))]
    if state.is_main_process:
        for method in wanted:
            if method in args.again:
                shutil.rmtree(folder / method, ignore_errors=True)
            dilm.select(task, method=method, dpc=args.dpc, output_dir=folder / method, learner=args.learner)
    state.wait_for_everyone()
    origins = {method: folder / method for method in wanted} | others
    copies = folder / f"first_{state.process_index}"  # each process has its own copies, of the same sets
    sets = first_sets(origins, copies, args.dpc, count, measured)
    full = full and all(row["method"] != FULL for row in known)
    if not sets and not full:
        print("all these sets have been measured")
        return
    output = folder / f"{name}.json"
    bf16 = False if args.float32 else None
    results = dilm.evaluate(sets, task=task, learners=learners, output=output, recipe=recipe, full=full, bf16=bf16)
    if not state.is_main_process:
        return
    recipes = {row["learner"]: row["recipe"] for row in results["rows"]}
    new = {tuple(row[name] for name in RUN) for row in results["rows"]}
    kept = [row for row in known if tuple(row[name] for name in RUN) not in new]
    rows = [row | {"recipe": recipes.get(row["learner"])} for row in kept] + results["rows"]
    earlier = json.loads(path.read_text(encoding="utf-8")) if known else {}
    comparison = compare(rows, metric=earlier.get("metric", args.metric))
    facts = {key: results[key] for key in ("task", "test_split", "test_texts", "recipe", "versions")}
    facts |= {key: comparison[key] for key in ("metric", "against", "test", "lines")}
    facts["collapsed"] = [[row[name] for name in RUN] for row in rows if row["collapsed"]]
    if kept:
        facts["earlier"] = [*earlier.get("earlier", []), earlier["source"]]
    facts["recipe"]["seeds"] = max(recipe.seeds, earlier.get("recipe", {}).get("seeds", 0))
    write_result(path, {**facts, "scores": scores_by_set(rows)})
    print(f"wrote {path}")


def result_path(task: dilm.Task, name: str) -> Path:
    return Path(__file__).parent / "results" / f"coresets_{task.name}_{name}.json"


def earlier_rows(path: Path, recipe: RecipeConfig, learners: Collection[str]) -> list[Row]:
    """The scores in a result file as rows; exits if it was made with another recipe or other learners.

    Machines with and without bfloat16 count as equal: every source in the file names its machine.
    """
    if not path.exists():
        return []
    facts = json.loads(path.read_text(encoding="utf-8"))
    own = dataclasses.asdict(recipe) | {"seeds": facts["recipe"]["seeds"]}
    others = [f"{name} {value}" for name, value in facts["recipe"].items() if own.get(name, value) != value]
    others += [name for name in facts["scores"] if name not in learners]
    if others:
        raise SystemExit(f"{path} holds runs with {', '.join(others)}: move it away to begin a new table")
    return rows_of(facts)


def rows_of(facts: dict) -> list[Row]:
    """The scores of a result file as rows."""
    collapsed = {tuple(run) for run in facts.get("collapsed", ())}
    rows = [
        {"task": facts["task"], "learner": learner, "method": method, "dpc": int(dpc), "set": int(number), "seed": seed}
        | ({"accuracy": score[0], "f1": score[1]} if isinstance(score, list) else {"accuracy": score})
        for learner, methods in facts["scores"].items()
        for method, sizes in methods.items()
        for dpc, sets in sizes.items()
        for number, scores in sets.items()
        for seed, score in enumerate(scores)
    ]
    return [row | {"collapsed": tuple(row[name] for name in RUN) in collapsed} for row in rows]


def first_sets(
    origins: dict[str, Path], folder: Path, sizes: Sequence[int], count: int, without: Collection = ()
) -> list[str]:
    """The first sets of each method, as far as they are there and not `without`, in a folder of their own.

    Returns them as `dilm evaluate` takes them; exits if a method has no set at all.
    """
    there = {
        method: [(dpc, n) for dpc in sizes for n in range(count) if set_path(origin, dpc, n).exists()]
        for method, origin in origins.items()
    }
    if missing := [str(origins[method]) for method, found in there.items() if not found]:
        raise SystemExit(f"{missing[0]} holds no set of {', '.join(map(str, sizes))} texts per class")
    for method, origin in origins.items():
        shutil.rmtree(folder / method, ignore_errors=True)
        (folder / method).mkdir(parents=True)
        for dpc, number in there[method]:
            if (method, dpc, number) in without:
                continue
            source, path = set_path(origin, dpc, number), set_path(folder / method, dpc, number)
            path.parent.mkdir(exist_ok=True)
            shutil.copy(source, path)
            if embeddings_path(source).exists():
                shutil.copy(embeddings_path(source), embeddings_path(path))
    return [f"{method}={folder / method}" for method in origins if any((folder / method).iterdir())]


def scores_by_set(rows: Sequence[Row]) -> dict:
    """Every score, by learner, method, size and set."""
    scores: dict = {}
    for row in rows:
        cell = scores.setdefault(row["learner"], {}).setdefault(row["method"], {}).setdefault(str(row["dpc"]), {})
        values = [row["accuracy"], row["f1"]] if "f1" in row else row["accuracy"]
        cell.setdefault(str(row["set"]), []).append(values)
    return scores


if __name__ == "__main__":
    main()

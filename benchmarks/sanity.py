"""What a reviewer would ask of the evaluation, on the dev split, never on test.

    dilm select path/to/sst2 --method random --dpc 5 10 20 --sets 20 --output-dir runs/random
    python benchmarks/sanity.py path/to/sst2 runs/random --sets 10 --dpc 5

Do sets with shuffled labels score at chance, under every kind of learner? Does bfloat16 move the accuracy of
fine-tuning? Does a set that is measured twice get the same figure? How long do all sets take with frozen features, once
those of the held-out texts are in the cache? Writes benchmarks/results/sanity_TASK.json. Can be interrupted and called
again; times are only told by the call that measures.
"""

import argparse
import time
from pathlib import Path

import numpy as np
from common import write_result
from scipy.stats import ttest_1samp

import dilm
from dilm.config import RecipeConfig
from dilm.models.compute import default_device, native_bf16
from dilm.run_folder import read_rows, row_text, set_path, write_set


def shuffled(origin: Path, folder: Path, sizes: list[int], count: int, names: tuple[str, ...]) -> Path:
    """The first sets of a folder, each with its labels in another order."""
    for dpc in sizes:
        for number in range(count):
            rows, path = read_rows(set_path(origin, dpc, number)), set_path(folder, dpc, number)
            labels = np.random.default_rng(number).permutation([row["label"] for row in rows]).tolist()
            path.parent.mkdir(parents=True, exist_ok=True)
            write_set(path, [row_text(row) for row in rows], labels, names)
    return folder


def summary(rows: list[dict], chance: float) -> dict:
    """Mean over the sets (each a mean over its seeds), their spread, and p against chance."""
    by_set: dict[int, list[float]] = {}
    for row in rows:
        by_set.setdefault(row["set"], []).append(row["accuracy"])
    means = np.array([np.mean(scores) for scores in by_set.values()])
    p = float(ttest_1samp(means, chance).pvalue)
    return {"mean": float(means.mean()), "sd": float(means.std(ddof=1)), "sets": len(means), "p_against_chance": p}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task")
    parser.add_argument("sets_of", type=Path, metavar="FOLDER", help="random sets, as dilm select writes them")
    parser.add_argument("--dpc", type=int, nargs="+", default=[5])
    parser.add_argument("--sets", type=int, default=10)
    parser.add_argument("--learner", default="offline")
    parser.add_argument("--max-texts", type=int, default=1000)
    parser.add_argument("--folder", type=Path, default=Path("runs/benchmarks/sanity"))
    args = parser.parse_args()
    task = dilm.load_task(args.task)
    folder, names = args.folder / task.name, [f"probe:{args.learner}", "tfidf", f"scratch:{args.learner}"]
    tune = f"finetune:{args.learner}"
    on_dev = {"task": task, "split": "dev", "recipe": RecipeConfig(seeds=1, max_texts=args.max_texts)}
    wrong = shuffled(args.sets_of, folder / "shuffled", args.dpc, args.sets, task.label_names)
    chance = float(np.bincount(task.labels("dev")).max() / len(task.dev))

    def measure(sets: list[str], learners: list[str], name: str, **options) -> list[dict]:
        results = dilm.evaluate(sets, learners=learners, output=folder / f"{name}.json", **on_dev, **options)
        return results["rows"]

    figures: dict = {"task": task.name, "dpc": args.dpc, "sets": args.sets, "dev_texts": args.max_texts}
    rows = measure([f"shuffled={wrong}"], [*names, tune], "shuffled")
    figures["largest_class"] = chance
    figures["shuffled"] = {
        name: {str(d): summary([r for r in rows if (r["learner"], r["dpc"]) == (name, d)], 1 / task.num_classes)}
        for name in (*names, tune)
        for d in args.dpc
    }
    right = [str(set_path(args.sets_of, dpc, number)) for dpc in args.dpc for number in range(args.sets)]
    if native_bf16(default_device()):
        both = [measure(right, [tune], f"bfloat16_{bf16}", bf16=bf16) for bf16 in (False, True)]
        scores = [
            np.array([row["accuracy"] for row in sorted(rows, key=lambda r: (r["dpc"], r["set"]))]) for rows in both
        ]
        test = ttest_1samp(scores[1] - scores[0], 0)
        low, high = test.confidence_interval()
        figures["bfloat16_minus_float32"] = {
            "mean": float(np.mean(scores[1] - scores[0])),
            "low": float(low),
            "high": float(high),
            "p": float(test.pvalue),
            "pairs": len(scores[0]),
            "float32": float(scores[0].mean()),
        }
    once, again = (measure(right[:2], [*names, tune], f"twice_{time_}") for time_ in (1, 2))
    figures["same_twice"] = [row["accuracy"] for row in once] == [row["accuracy"] for row in again]
    start = time.perf_counter()
    frozen = measure([f"random={args.sets_of}"], names[:1], f"frozen_{time.time_ns()}")
    figures["seconds_with_frozen_features"] = time.perf_counter() - start
    figures["runs_with_frozen_features"] = len(frozen)
    write_result(Path(__file__).parent / "results" / f"sanity_{task.name}.json", figures)
    for key, value in figures.items():
        print(f"{key}: {value}")


if __name__ == "__main__":
    main()

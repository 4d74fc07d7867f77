"""Which method should choose the distilled texts from the pool? Measured on dev, never on test.

    python benchmarks/pool_selection.py runs/sst2 path/to/sst2 --fine-tune 3

Selects from a run's pool, and from the real training texts, with every method; the sets train a probe, TF-IDF and, the
first N of each, a fine-tuned learner, which are tested on the dev split. Writes
benchmarks/results/pool_selection_TASK.json. Can be interrupted and called again.
"""

import argparse
from pathlib import Path

from common import write_result
from coresets import first_sets, scores_by_set

import dilm
from dilm.config import RecipeConfig

METHODS = ("k-centers", "herding", "gradient-match", "kernel")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run folder, for its pool.parquet")
    parser.add_argument("task")
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--dpc", type=int, nargs="+", default=(5, 10, 20))
    parser.add_argument("--sets", type=int, default=10)
    parser.add_argument("--fine-tune", type=int, default=0, metavar="SETS")
    parser.add_argument("--learner", default="offline")
    parser.add_argument("--max-texts", type=int, default=2_000)
    parser.add_argument("--folder", type=Path, default=Path("runs/benchmarks/pool_selection"))
    args = parser.parse_args()
    task, folder, origins = dilm.load_task(args.task), args.folder, {}
    for method in args.methods:
        for name, pool in (("real", None), ("pool", args.run / "pool.parquet")):
            origins[f"{name}-{method}"] = target = folder / task.name / name / method
            options = {"pool": pool, "dpc": args.dpc, "sets": args.sets, "learner": args.learner}
            dilm.select(task, method=method, output_dir=target, **options)
    outputs = [folder / task.name / "cheap.json"]
    sets = [f"{method}={path}" for method, path in origins.items()]
    on_dev = {"task": task, "split": "dev", "recipe": RecipeConfig(seeds=1, max_texts=args.max_texts)}
    results = [dilm.evaluate(sets, learners=[f"probe:{args.learner}", "tfidf"], output=outputs[0], **on_dev)]
    if args.fine_tune:
        outputs.append(folder / task.name / "fine_tuned.json")
        sets = first_sets(origins, folder / task.name / "first", args.dpc, args.fine_tune)
        results.append(dilm.evaluate(sets, learners=[f"finetune:{args.learner}"], output=outputs[1], **on_dev))
    comparison = dilm.compare(outputs, against="real-k-centers", output=folder / task.name / "comparison")
    path = Path(__file__).parent / "results" / f"pool_selection_{task.name}.json"
    facts = {key: comparison[key] for key in ("metric", "against", "test", "lines")}
    write_result(path, {**facts, "scores": scores_by_set([row for result in results for row in result["rows"]])})
    print(f"wrote {path}")


if __name__ == "__main__":
    main()

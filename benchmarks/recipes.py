"""Does another recipe of fine-tuning learn more from the sets that we have? Learning rates and steps, on dev.

    python benchmarks/recipes.py path/to/sst2 dilm-sure=runs/sets/dilm-sure random=coresets/random --dpc 10 --sets 5

Every recipe is tried on the same sets with the same seeds, so recipes are compared with the paper's (the first) set by
set: mean gain in points and p of a paired t-test, not corrected. Writes benchmarks/results/recipes_TASK.json. Can be
interrupted and called again.
"""

import argparse
from pathlib import Path

import numpy as np
from common import write_result
from coresets import first_sets
from scipy.stats import ttest_rel

import dilm
from dilm.config import RecipeConfig
from dilm.evaluation.statistics import metric_of

RECIPES = ((1e-4, 200), (5e-5, 200), (3e-4, 200), (1e-4, 100), (1e-4, 400))
"""Learning rate and steps."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task")
    parser.add_argument("folders", nargs="+", metavar="NAME=FOLDER")
    parser.add_argument("--sets", type=int, default=5)
    parser.add_argument("--dpc", type=int, default=10)
    parser.add_argument("--metric", default="accuracy", choices=("accuracy", "f1", "mean"))
    parser.add_argument("--max-texts", type=int, default=1000)
    parser.add_argument("--folder", type=Path, default=Path("runs/benchmarks/recipes"))
    args = parser.parse_args()
    task = dilm.load_task(args.task)
    origins = {name: Path(place) for name, _, place in (one.partition("=") for one in args.folders)}
    sets = first_sets(origins, args.folder / task.name / "first", [args.dpc], args.sets)
    scores: dict[str, list[np.ndarray]] = {name: [] for name in origins}
    for rate, steps in RECIPES:
        recipe = RecipeConfig(learning_rate=rate, max_steps=steps, seeds=1, max_texts=args.max_texts)
        output = args.folder / task.name / f"{rate:g}_{steps}.json"
        on_dev = {"task": task, "split": "dev", "recipe": recipe, "learners": ["finetune:offline"]}
        rows = dilm.evaluate(sets, output=output, **on_dev)["rows"]
        for name, found in scores.items():
            own = sorted((row for row in rows if row["method"] == name), key=lambda row: row["set"])
            found.append(np.array([metric_of(row, args.metric) for row in own]))
    lines = []
    for name, found in scores.items():
        for (rate, steps), own in zip(RECIPES, found, strict=True):
            line = {"method": name, "learning_rate": rate, "steps": steps, "scores": own.tolist()}
            line |= {"mean": float(own.mean()), "sd": float(own.std(ddof=1)), "gain": float((own - found[0]).mean())}
            if own is not found[0]:
                line["p"] = float(ttest_rel(own, found[0]).pvalue)
            lines.append(line)
            print(f"{name:<16} {rate:g} x {steps}: {100 * own.mean():.1f}, {100 * line['gain']:+.1f} p {line.get('p')}")
    facts = {"task": task.name, "dpc": args.dpc, "metric": args.metric, "lines": lines}
    path = Path(__file__).parent / "results" / f"recipes_{task.name}.json"
    write_result(path, facts)
    print(f"wrote {path}")


if __name__ == "__main__":
    main()

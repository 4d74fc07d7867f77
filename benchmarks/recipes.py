"""Is there a better recipe than the paper's for a tiny set? Learning rates and steps of fine-tuning, asked of dev.

    python benchmarks/recipes.py path/to/sst2 runs/sets/dilm-sure --dpc 10 --sets 5

Fine-tunes on the first N sets of the folder by every recipe, all with the same seed, tests on the dev split, and
writes what each gains over the paper's 200 steps at 1e-4, set by set, to benchmarks/results/recipes_TASK.json. Can be
interrupted and called again.
"""

import argparse
import itertools
from pathlib import Path
from typing import Any

import numpy as np
from common import write_result
from coresets import first_sets
from scipy.stats import ttest_rel

import dilm
from dilm.config import RecipeConfig

PAPER = (RecipeConfig().learning_rate, RecipeConfig().max_steps)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task")
    parser.add_argument("sets_folder", type=Path)
    parser.add_argument("--sets", type=int, default=5)
    parser.add_argument("--dpc", type=int, default=10)
    parser.add_argument("--learning-rates", type=float, nargs="+", default=(5e-5, 1e-4, 2e-4, 4e-4))
    parser.add_argument("--steps", type=int, nargs="+", default=(100, 200))
    parser.add_argument("--max-texts", type=int, default=2000)
    parser.add_argument("--folder", type=Path, default=Path("runs/benchmarks/recipes"))
    parser.add_argument("--name", help="of the results; the task's unless told")
    args = parser.parse_args()
    task = dilm.load_task(args.task)
    folder = args.folder / (args.name or task.name)
    sets = first_sets({"sets": args.sets_folder}, folder / "first", [args.dpc], args.sets)
    scores = {}
    for rate, steps in dict.fromkeys([PAPER, *itertools.product(args.learning_rates, args.steps)]):
        recipe = RecipeConfig(learning_rate=rate, max_steps=steps, seeds=1, max_texts=args.max_texts)
        output = folder / f"results_{rate:g}_{steps}.json"
        on_dev = {"task": task, "split": "dev", "learners": ["finetune:offline"], "recipe": recipe}
        rows = dilm.evaluate(sets, output=output, **on_dev)["rows"]
        scores[rate, steps] = [row["accuracy"] for row in sorted(rows, key=lambda row: row["set"])]
    lines = []
    for (rate, steps), found in scores.items():
        line = {
            "learning_rate": rate,
            "steps": steps,
            "mean": float(np.mean(found)),
            "sd": float(np.std(found, ddof=1)),
        }
        gain = np.subtract(found, scores[PAPER])
        line |= {"gain": float(gain.mean())}
        if (rate, steps) != PAPER:
            test: Any = ttest_rel(found, scores[PAPER])
            line |= {"p": float(test.pvalue)}
        lines.append(line | {"scores": found})
        print(f"{rate:g} x {steps}: {100 * line['mean']:.1f} ± {100 * line['sd']:.1f}, {100 * line['gain']:+.1f}")
    path = Path(__file__).parent / "results" / f"recipes_{args.name or task.name}.json"
    write_result(path, {"task": task.name, "dpc": args.dpc, "sets": args.sets, "recipes": lines})
    print(f"wrote {path}")


if __name__ == "__main__":
    main()

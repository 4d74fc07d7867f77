"""Which sets are better? Asked of the dev split, never of test: for choosing methods, settings and sets.

    torchrun --nproc-per-node 2 benchmarks/on_dev.py path/to/sst2 one=runs/one other=runs/other --sets 10

Trains the learners on the first N sets of each folder by the paper's recipe, tests them on the dev split, and writes
the comparison to benchmarks/results/on_dev_TASK.json. With --keep N --keep-in PLACE the N sets of each size that do
best (all learners and seeds alike) go to PLACE/NAME: to be tested, since what was kept for its luck on dev comes out
too well there. Can be interrupted and called again.
"""

import argparse
import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from common import write_result
from coresets import first_sets, scores_by_set
from scipy.stats import ttest_rel

import dilm
from dilm.config import RecipeConfig
from dilm.evaluation.comparison import compare
from dilm.evaluation.statistics import best_sets
from dilm.models.processes import process_state
from dilm.run_folder import set_path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task")
    parser.add_argument("folders", nargs="+", metavar="NAME=FOLDER")
    parser.add_argument("--sets", type=int, default=10)
    parser.add_argument("--dpc", type=int, nargs="+", default=(5, 10, 20))
    parser.add_argument("--learners", nargs="+", default=["finetune:offline"])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--max-steps", type=int, default=RecipeConfig().max_steps, help="of fine-tuning")
    parser.add_argument("--metric", default="accuracy", choices=("accuracy", "f1", "mean"))
    parser.add_argument("--max-texts", type=int, default=2000)
    parser.add_argument("--min-words", type=int, default=0, help="of the dev texts that are looked at; not for pairs")
    parser.add_argument("--folder", type=Path, default=Path("runs/benchmarks/on_dev"))
    parser.add_argument("--soft-labels", action="store_true", help="also on those of sets that have them, as NAME-soft")
    parser.add_argument("--name", help="of the result file; on_dev_TASK if left out")
    parser.add_argument("--keep", type=int, help="sets of each size that are kept, the best ones")
    parser.add_argument("--keep-in", type=Path, help="where")
    args = parser.parse_args()
    if args.keep and (args.keep_in is None or args.soft_labels):
        parser.error("--keep needs --keep-in, and takes no --soft-labels")
    task, state = dilm.load_task(args.task), process_state()
    folder = args.folder / task.name
    origins = {name: Path(place) for name, _, place in (one.partition("=") for one in args.folders)}
    sets = first_sets(origins, folder / f"first_{state.process_index}", args.dpc, args.sets)
    if args.min_words:
        longer = task.dev.filter(lambda row: len(row["text"].split()) >= args.min_words)
        task = dataclasses.replace(task, dev=longer)
    recipe = RecipeConfig(seeds=args.seeds, max_steps=args.max_steps, max_texts=args.max_texts)
    soft, output = args.soft_labels, folder / "results.json"
    on_dev = {"task": task, "split": "dev", "recipe": recipe, "soft_labels": soft}
    results = dilm.evaluate(sets, learners=args.learners, output=output, **on_dev)
    if state.is_main_process:
        comparison = compare(results["rows"], metric=args.metric, against=next(iter(origins)))
        path = Path(__file__).parent / "results" / f"{args.name or f'on_dev_{task.name}'}.json"
        facts = {"task": task.name, "dev_texts": min(len(task.dev), args.max_texts)}
        facts |= {key: comparison[key] for key in ("metric", "against", "test", "lines")}
        scores = scores_by_set(results["rows"])
        write_result(path, facts | ({"soft_labels": by_soft_labels(scores)} if soft else {}) | {"scores": scores})
        for line in comparison["lines"]:
            figures = f"{100 * line['mean']:.1f} ± {100 * (line['sd'] or 0):.1f}"
            print(f"{line['learner']:<18} {line['dpc']:>3} {line['method']:<24} {figures}")
        print(f"wrote {path}")
        if args.keep:
            keep(best_sets(results["rows"], args.metric, args.keep), origins, args.keep_in)


def by_soft_labels(scores: dict) -> list[dict]:
    """What soft labels add to accuracy, set by set: mean gain and p of a paired t-test, not corrected."""
    lines = []
    for learner, methods in scores.items():
        for method in methods.keys() & {name.removesuffix("-soft") for name in methods if name.endswith("-soft")}:
            for dpc, sets in methods[method].items():
                hard, soft = (
                    np.array([np.mean([np.ravel(run)[0] for run in of[number]]) for number in sorted(sets)])
                    for of in (sets, methods[f"{method}-soft"][dpc])
                )
                test: Any = ttest_rel(soft, hard)
                line = {"learner": learner, "method": method, "dpc": int(dpc), "sets": len(hard)}
                lines.append(line | {"gain": float((soft - hard).mean()), "p": float(test.pvalue)})
    return sorted(lines, key=lambda line: (line["learner"], line["method"], line["dpc"]))


def keep(best: dict[tuple[str, int], list[int]], origins: dict[str, Path], place: Path) -> None:
    """Copy these sets of each method and size to PLACE/METHOD."""
    for (method, dpc), numbers in best.items():
        folder = set_path(place / method, dpc, 0).parent
        shutil.rmtree(folder, ignore_errors=True)  # perhaps more were kept before
        folder.mkdir(parents=True)
        for number, source in enumerate(numbers):
            shutil.copy(set_path(origins[method], dpc, source), set_path(place / method, dpc, number))


if __name__ == "__main__":
    main()

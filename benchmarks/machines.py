"""Does it matter on which machine a table was measured? Sets of a table are fine-tuned on once more, here.

    torchrun --nproc-per-node 2 benchmarks/machines.py path/to/qqp dilm-published=path/to/sets --dpc 10 --max-texts 2000

The same sets, seeds and test texts as in benchmarks/results/coresets_TASK_fine_tuned.json; the mean of the differences
set by set, with its confidence interval, goes to benchmarks/results/machines_TASK.json. Can be interrupted and called
again.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from common import write_result
from coresets import first_sets, result_path, rows_of
from scipy.stats import ttest_1samp

import dilm
from dilm.config import RecipeConfig
from dilm.evaluation.statistics import metric_of
from dilm.models.processes import process_state


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task")
    parser.add_argument("sets", metavar="NAME=FOLDER", help="the sets of a method of the table")
    parser.add_argument("--dpc", type=int, nargs="+", default=[10])
    parser.add_argument("--count", type=int, default=10)
    parser.add_argument("--max-texts", type=int, default=10_000)
    parser.add_argument("--folder", type=Path, default=Path("runs/benchmarks/machines"))
    args = parser.parse_args()
    task, state = dilm.load_task(args.task), process_state()
    folder, (method, _, place) = args.folder / task.name, args.sets.partition("=")
    table = json.loads(result_path(task, "fine_tuned").read_text(encoding="utf-8"))
    copies = first_sets({method: Path(place)}, folder / f"first_{state.process_index}", args.dpc, args.count)
    recipe = RecipeConfig(seeds=1, max_texts=args.max_texts)
    output = folder / f"{method}.json"
    results = dilm.evaluate(copies, task=task, learners=list(table["scores"]), output=output, recipe=recipe)
    if not state.is_main_process:
        return
    there, here = (
        {(row["dpc"], row["set"]): metric_of(row, table["metric"]) for row in rows if row["method"] == method}
        for rows in ([row for row in rows_of(table) if row["seed"] == 0], results["rows"])
    )
    changes = np.array([here[one] - there[one] for one in sorted(here)])
    low, high = ttest_1samp(changes, 0).confidence_interval()
    figures = {"mean": float(changes.mean()), "low": float(low), "high": float(high), "sd": float(changes.std(ddof=1))}
    means = {"here": float(np.mean([*here.values()])), "table": float(np.mean([there[one] for one in here]))}
    path = Path(__file__).parent / "results" / f"machines_{task.name}.json"
    facts = {"task": task.name, "method": method, "dpc": args.dpc, "metric": table["metric"], "sets": len(changes)}
    write_result(path, {**facts, "here_minus_table": figures, **means})
    print(f"{method}: {means}, difference {figures}\nwrote {path}")


if __name__ == "__main__":
    main()

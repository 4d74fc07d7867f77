"""Do soft labels teach more than labels? Asked of the dev split, never of test.

    python benchmarks/soft_labels.py path/to/sst2 dilm=runs/sets/sst2/dilm random=coresets/random --sets 10

Gives the texts of the first N sets of each folder the probabilities of a classifier of the full data (the same for
all, from a seed that no run uses), trains the learners on the labels and on these, NAME and NAME-soft, by the paper's
recipe, and writes the comparison to benchmarks/results/soft_labels_TASK.json. Can be interrupted and called again.
"""

import argparse
import dataclasses
from pathlib import Path

from common import write_result
from coresets import first_sets, scores_by_set
from safetensors.torch import load_file, save_file
from text_quality import judge

import dilm
from dilm.config import RecipeConfig
from dilm.durable import whole_file
from dilm.evaluation.comparison import compare
from dilm.models.learner import Learner
from dilm.progress import Reporter
from dilm.run_folder import add_label_probs, read_set


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task")
    parser.add_argument("folders", nargs="+", metavar="NAME=FOLDER")
    parser.add_argument("--sets", type=int, default=10)
    parser.add_argument("--dpc", type=int, nargs="+", default=(5, 10, 20))
    parser.add_argument("--learners", nargs="+", default=["probe:offline", "tfidf", "scratch:offline"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--metric", default="accuracy", choices=("accuracy", "f1", "mean"))
    parser.add_argument("--steps", type=int, default=1000, help="of the classifier")
    parser.add_argument("--folder", type=Path, default=Path("runs/benchmarks/soft_labels"))
    args = parser.parse_args()
    task = dilm.load_task(args.task)
    folder = args.folder / task.name
    weights = folder / f"judge_{task.fingerprint}_{args.steps}.safetensors"
    if not weights.exists():
        weights.parent.mkdir(parents=True, exist_ok=True)
        trained = judge(task, args.steps, Reporter()).model.state_dict()
        with whole_file(weights) as partial:
            save_file({name: value.cpu().contiguous() for name, value in trained.items()}, partial)
    teacher = Learner.from_pretrained("offline", task.num_classes)
    teacher.model.load_state_dict(load_file(weights))
    origins = {name: Path(place) for name, _, place in (one.partition("=") for one in args.folders)}
    sets = first_sets(origins, folder / "sets", args.dpc, args.sets)
    for path in (folder / "sets").rglob("*.jsonl"):
        add_label_probs(path, teacher.probabilities(read_set(path)[0]))
    on_dev = dataclasses.replace(task, test=task.dev, test_split="dev")
    recipe, output = RecipeConfig(seeds=args.seeds, max_texts=2000), folder / "results.json"
    results = dilm.evaluate(sets, task=on_dev, learners=args.learners, output=output, recipe=recipe, soft_labels=True)
    comparison = compare(results["rows"], metric=args.metric, against=next(iter(origins)))
    for line in comparison["lines"]:
        figures = f"{100 * line['mean']:.1f} ± {100 * (line['sd'] or 0):.1f}"
        print(f"{line['learner']:<18} {line['dpc']:>3} {line['method']:<24} {figures}")
    facts = {key: comparison[key] for key in ("metric", "against", "test", "lines", "pairs")}
    path = Path(__file__).parent / "results" / f"soft_labels_{task.name}.json"
    write_result(path, {"task": task.name, **facts, "scores": scores_by_set(results["rows"])})
    print(f"wrote {path}")


if __name__ == "__main__":
    main()

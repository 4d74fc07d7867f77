"""The parts of the method, each on and off: `dilm ablate`, its table kept beside the others.

    python benchmarks/ablation.py reviews --output-dir runs/ablation

Fine-tunes on the first sets, by the paper's recipe, and writes the comparison to
benchmarks/results/ablation_TASK.json. Can be interrupted and called again.
"""

import argparse
from pathlib import Path

from common import write_result

import dilm
from dilm.config import RecipeConfig


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task")
    parser.add_argument("--dpc", type=int, nargs="+", default=[10])
    parser.add_argument("--sets", type=int, default=5)
    parser.add_argument("--fine-tuned-sets", type=int, default=3)
    parser.add_argument("--learners", nargs="+", default=["probe", "tfidf", "finetune"])
    parser.add_argument("--output-dir", type=Path, required=True)
    args = parser.parse_args()
    evaluation = {"learners": args.learners, "fine_tuned_sets": args.fine_tuned_sets}
    evaluation["max_steps"] = RecipeConfig().max_steps
    settings = {"dpc": args.dpc, "sets": args.sets, "output_dir": str(args.output_dir)}
    comparison = dilm.ablate(args.task, **settings, evaluation=evaluation)
    name = comparison["lines"][0]["task"]
    path = Path(__file__).parent / "results" / f"ablation_{name}.json"
    write_result(path, {"task": name, **{key: comparison[key] for key in ("metric", "against", "test", "lines")}})
    print(f"wrote {path}")


if __name__ == "__main__":
    main()

"""Give any sets soft labels, all from one classifier of the full data, so that on_dev.py can ask what these teach.

    python benchmarks/soft_labels.py path/to/sst2 dilm=runs/sst2 random=coresets/random --output-dir runs/soft
    python benchmarks/on_dev.py path/to/sst2 dilm=runs/soft/dilm random=runs/soft/random --soft-labels

Copies the first N sets of each folder to OUTPUT-DIR/NAME, with the probabilities that the classifier gives each text.
It is fine-tuned on the full data from a seed that no run uses: sets of real texts have no soft labels of their own, and
ours, from their run's classifier, would not be comparable with theirs.
"""

import argparse
from pathlib import Path

from coresets import first_sets
from text_quality import judge

import dilm
from dilm.progress import Reporter
from dilm.run_folder import add_label_probs, read_set


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task")
    parser.add_argument("folders", nargs="+", metavar="NAME=FOLDER")
    parser.add_argument("--sets", type=int, default=10)
    parser.add_argument("--dpc", type=int, nargs="+", default=(5, 10, 20))
    parser.add_argument("--steps", type=int, default=1000, help="of the classifier, at most")
    parser.add_argument("--output-dir", type=Path, required=True)
    args = parser.parse_args()
    if args.output_dir.exists():
        raise SystemExit(f"{args.output_dir} is there already; pass another --output-dir")
    task = dilm.load_task(args.task)
    origins = {name: Path(place) for name, _, place in (one.partition("=") for one in args.folders)}
    first_sets(origins, args.output_dir, args.dpc, args.sets)
    classifier = judge(task, args.steps, Reporter())
    for path in args.output_dir.rglob("*.jsonl"):
        add_label_probs(path, classifier.probabilities(read_set(path)[0]))


if __name__ == "__main__":
    main()

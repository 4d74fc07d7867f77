"""Sets chosen by features of a partly trained learner, from the pool of a run; for on_dev.py.

    python benchmarks/partly_trained.py runs/sst2 path/to/sst2 --output-dir runs/partly

Trains the learner by the paper's recipe on real batches and looks at the texts after 60 and 140 of its 200 steps. The
sets in OUTPUT-DIR/late are chosen by what it sees after 140, those in OUTPUT-DIR/mix by this, by what it sees after 60
and by the pretrained features side by side; otherwise as the default preset does it.
"""

import argparse
from pathlib import Path

import numpy as np
from selections import way

import dilm
from dilm import pool as pools
from dilm.config import OptimizationConfig
from dilm.evaluation.coresets import real_sample
from dilm.models.compute import derived_seed
from dilm.models.feature_cache import pretrained_features
from dilm.progress import Reporter
from dilm.run_folder import read_pool, row_text, set_path, write_set
from dilm.selection import METHODS, Reference
from dilm.training.minibatches import RealBatches
from dilm.workspace import Workspace

SIZES, LOOKS, CANDIDATES, REFERENCE = (5, 10, 20), (60, 140), 10_000, 8000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run folder, for its pool.parquet and its settings")
    parser.add_argument("task")
    parser.add_argument("--sets", type=int, default=10)
    parser.add_argument("--output-dir", type=Path, required=True)
    args = parser.parse_args()
    task, config = dilm.load_task(args.task), way("default=", args.run, list(SIZES))[1]
    learner = Workspace(task, config, args.run, Reporter(quiet=True)).learner()
    rows = pools.with_new_words(read_pool(args.run / "pool.parquet"), task)
    learner.reinitialize(0)
    seed = derived_seed(config.seed, "selection", 0)
    found = pools.candidates_by_size(rows, config.dpc, config, task, learner, seed)[max(SIZES)]
    some = np.random.default_rng(1).permutation(len(found.rows))[:CANDIDATES]
    written = [row_text(found.rows[i]) for i in some]
    labels = np.array([found.rows[i]["label"] for i in some])
    texts, real_labels = real_sample(task, max(SIZES), derived_seed(0, "coresets"))
    part = np.random.default_rng(0).permutation(len(texts))[:REFERENCE]
    real = [texts[i] for i in part]
    views = [(found.features[some], pretrained_features(learner, texts)[part])]
    learner.reinitialize(derived_seed("partly"))
    recipe = OptimizationConfig(learning_rate=1e-4, max_steps=200, warmup_steps=0.5)
    batches = (learner.batch(*batch) for batch in RealBatches(task, 64, 5))
    for step, _ in enumerate(learner.train(batches, recipe, seed=5), 1):
        if step in LOOKS:
            views.append((learner.features(written), learner.features(real)))
    mix = tuple(np.hstack(side) / len(views) ** 0.5 for side in zip(*views, strict=True))
    for name, (own, others) in {"mix": mix, "late": views[-1]}.items():
        reference = Reference(others, real_labels[part])
        for number in range(args.sets):
            for dpc in SIZES:
                path = set_path(args.output_dir / name, dpc, number)
                path.parent.mkdir(parents=True, exist_ok=True)
                chosen = METHODS["kernel"](own, labels, dpc, derived_seed(0, "selection", number), reference)
                write_set(path, [written[i] for i in chosen], labels[chosen].tolist(), task.label_names)


if __name__ == "__main__":
    main()

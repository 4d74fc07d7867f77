"""Select sets from the pool of a run as `dilm distill` does, with other settings of the pool; for on_dev.py.

    python benchmarks/selections.py runs/sst2 path/to/sst2 --output-dir runs/selections \\
        kernel=shared:false,parts:1 shared=parts:1 joined=

Each NAME=SETTING:VALUE,... is a way of selecting that differs from the preset `embedded` in these settings of
`PoolConfig`; its sets lie in OUTPUT-DIR/NAME. In the place of a run, `real` selects from training texts in the same
ways, each as fluent as the others. Can be interrupted and called again; a NAME stays with its pool and settings.
"""

import argparse
import dataclasses
from pathlib import Path

import numpy as np
import yaml
from common import content, made_of

import dilm
from dilm import pool as pools
from dilm.config import DistillConfig, load_config
from dilm.evaluation.coresets import real_sample
from dilm.models.compute import derived_seed
from dilm.models.feature_cache import pretrained_features
from dilm.progress import Reporter
from dilm.run_folder import read_pool, set_path, text_row
from dilm.selection import Reference
from dilm.workspace import Workspace

REAL = Path("real")


def way(argument: str, run: Path, sizes: list[int]) -> tuple[str, DistillConfig]:
    """Name and configuration of NAME=SETTING:VALUE,..."""
    name, _, settings = argument.partition("=")
    pairs = [one.partition(":") for one in settings.split(",") if one]
    if run == REAL:
        own = dataclasses.asdict(load_config("embedded")[0])
    else:
        own = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    pool = {"texts_per_dpc": own["pool"]["texts_per_dpc"]} | {key: yaml.safe_load(value) for key, _, value in pairs}
    kept = {key: own[key] for key in ("sets", "learner", "learner_max_length", "generator_max_length", "seed")}
    return name, load_config("embedded", None, {"pool": pool, "dpc": sizes} | kept)[0]


def real_rows(task: dilm.Task, most: int | None) -> pools.Rows:
    """Training texts in the place of a pool, `most` at most: of their class, all equally sure and fluent."""
    texts, labels = real_sample(task, 1, derived_seed("real texts"))
    order = np.random.default_rng(0).permutation(len(texts)).tolist()[:most]
    return [
        text_row(texts[i])
        | {"label": int(labels[i]), "predicted_label": int(labels[i]), "set": 0}
        | {"confidence": 1.0, "nll": 0.0, "new_words": 0}
        for i in order
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run folder, for its pool.parquet and settings, or: real")
    parser.add_argument("task")
    parser.add_argument("ways", nargs="+", metavar="NAME=SETTING:VALUE,...")
    parser.add_argument("--sets", type=int, default=10)
    parser.add_argument("--dpc", type=int, nargs="+", default=(5, 10, 20))
    parser.add_argument("--max-real", type=int, help="training texts at most that are taken for a pool by: real")
    parser.add_argument("--output-dir", type=Path, required=True)
    args = parser.parse_args()
    task, reporter = dilm.load_task(args.task), Reporter()
    ways = dict(way(one, args.run, list(args.dpc)) for one in args.ways)
    real, pool = args.run == REAL, args.run / "pool.parquet"
    texts_of = " ".join(("training texts", *([str(args.max_real)] if args.max_real else []))) if real else content(pool)
    folders = {
        name: made_of(args.output_dir / name, pool=texts_of, seed=config.seed, **dataclasses.asdict(config.pool))
        for name, config in ways.items()
    }
    rows = real_rows(task, args.max_real) if real else pools.with_new_words(read_pool(pool), task)
    limits = [config.pool.max_overlap for config in ways.values() if config.pool.max_overlap is not None]
    if limits:
        rows = pools.with_shared_words(rows, task, max(limits))
    first = next(iter(ways.values()))
    learner = Workspace(task, first, args.run, Reporter(quiet=True)).learner()
    texts, labels = real_sample(task, max(args.dpc), derived_seed(first.seed, "coresets"))
    references = {
        depth: Reference(pretrained_features(learner, texts, depth), labels)
        for depth in {config.pool.depth for config in ways.values()}
    }
    learner.reinitialize(0)
    for name, config in ways.items():
        folder = folders[name]
        todo = [(n, d) for n in range(args.sets) for d in args.dpc if not set_path(folder, d, n).exists()]
        reference = references[config.pool.depth]
        writing = pools.write_selected(folder, rows, todo, config, task, learner, reference)
        for _ in reporter.track(writing, f"selection, {name}", len(todo)):
            pass


if __name__ == "__main__":
    main()

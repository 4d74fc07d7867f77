"""Select sets from the pool of a run as `dilm distill` does, with other settings of the pool; for on_dev.py.

    python benchmarks/selections.py runs/sst2 path/to/sst2 --output-dir runs/selections \\
        kernel=shared:false,parts:1 shared=parts:1 joined=

Each NAME=SETTING:VALUE,... is a way of selecting that differs from the preset `embedded` in these settings of
`PoolConfig`; its sets lie in OUTPUT-DIR/NAME. Can be interrupted and called again; a NAME stays with its pool and
settings.
"""

import argparse
import dataclasses
from pathlib import Path

import yaml
from common import content, made_of

import dilm
from dilm import pool as pools
from dilm.config import DistillConfig, load_config
from dilm.evaluation.coresets import real_sample
from dilm.models.compute import derived_seed
from dilm.models.feature_cache import pretrained_features
from dilm.progress import Reporter
from dilm.run_folder import read_pool, set_path
from dilm.selection import Reference
from dilm.workspace import Workspace


def way(argument: str, run: Path, sizes: list[int]) -> tuple[str, DistillConfig]:
    """Name and configuration of NAME=SETTING:VALUE,..."""
    name, _, settings = argument.partition("=")
    pairs = [one.partition(":") for one in settings.split(",") if one]
    own = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    pool = {"texts_per_dpc": own["pool"]["texts_per_dpc"]} | {key: yaml.safe_load(value) for key, _, value in pairs}
    kept = {key: own[key] for key in ("sets", "learner", "learner_max_length", "generator_max_length", "seed")}
    return name, load_config("embedded", None, {"pool": pool, "dpc": sizes} | kept)[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run folder, for its pool.parquet and its settings")
    parser.add_argument("task")
    parser.add_argument("ways", nargs="+", metavar="NAME=SETTING:VALUE,...")
    parser.add_argument("--sets", type=int, default=10)
    parser.add_argument("--dpc", type=int, nargs="+", default=(5, 10, 20))
    parser.add_argument("--output-dir", type=Path, required=True)
    args = parser.parse_args()
    task, reporter = dilm.load_task(args.task), Reporter()
    ways = dict(way(one, args.run, list(args.dpc)) for one in args.ways)
    pool = args.run / "pool.parquet"
    folders = {
        name: made_of(args.output_dir / name, pool=content(pool), seed=config.seed, **dataclasses.asdict(config.pool))
        for name, config in ways.items()
    }
    rows = pools.with_new_words(read_pool(pool), task)
    limits = [config.pool.max_overlap for config in ways.values() if config.pool.max_overlap is not None]
    if limits:
        rows = pools.with_shared_words(rows, task, max(limits))
    first = next(iter(ways.values()))
    learner = Workspace(task, first, args.run, Reporter(quiet=True)).learner()
    texts, labels = real_sample(task, max(args.dpc), derived_seed(first.seed, "coresets"))
    reference = Reference(pretrained_features(learner, texts), labels)
    learner.reinitialize(0)
    for name, config in ways.items():
        folder = folders[name]
        todo = [(n, d) for n in range(args.sets) for d in args.dpc if not set_path(folder, d, n).exists()]
        writing = pools.write_selected(folder, rows, todo, config, task, learner, reference)
        for _ in reporter.track(writing, f"selection, {name}", len(todo)):
            pass


if __name__ == "__main__":
    main()

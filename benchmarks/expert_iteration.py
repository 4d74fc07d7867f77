"""Expert iteration: the generator learns from those of its own texts that a set would choose, and writes a new pool.

    python benchmarks/expert_iteration.py runs/sst2 path/to/sst2 --output-dir runs/sst2_experts
    python benchmarks/selections.py runs/sst2_experts path/to/sst2 --output-dir runs/selections experts=

Selects set after set by kernel from the candidates of a run's pool, without putting texts back, until a share of each
class has been chosen; trains the run's generator on these texts alone; writes a pool as large as the run's. It can be
interrupted and called again: the trained generator and the blocks of the pool that are written are kept.
"""

import argparse
import dataclasses
import shutil
from pathlib import Path

import numpy as np
from common import content, made_of
from datasets import Dataset

import dilm
from dilm import pool as pools
from dilm.config import LanguageModelingConfig, load_config
from dilm.durable import whole_folder
from dilm.evaluation.coresets import real_sample
from dilm.models.feature_cache import pretrained_features
from dilm.models.generator import Generator
from dilm.progress import Reporter
from dilm.run_folder import read_pool, row_text
from dilm.selection import METHODS, Reference, standardised
from dilm.stages import write_texts
from dilm.task import Task
from dilm.training.language_modeling import learn_language, num_steps
from dilm.workspace import Workspace

AT_ONCE = 20
"""Texts of a class that are selected together, as a set that complements itself."""


def experts(rows: pools.Rows, work: Workspace, share: float) -> pools.Rows:
    """The share of every class that sets of AT_ONCE, selected one after the other, choose first."""
    config, task, learner = work.config, work.task, work.learner()
    found = pools.candidates(pools.with_new_words(rows, task), AT_ONCE, config, task.num_classes)
    texts, real_labels = real_sample(task, AT_ONCE, work.seed("coresets"))
    reference = Reference(pretrained_features(learner, texts, config.pool.depth), real_labels)
    features = learner.features([row_text(row) for row in found], depth=config.pool.depth)
    if config.pool.depth < 1:
        features, reference = standardised(features, reference)
    labels = np.array([row["label"] for row in found])
    rounds = int(share * np.bincount(labels, minlength=task.num_classes).min() / AT_ONCE)
    left, chosen = np.arange(len(found)), []
    for number in work.reporter.track(range(rounds), "selection of texts to learn from", rounds):
        places = left[METHODS["kernel"](features[left], labels[left], AT_ONCE, number, reference)]
        chosen += places.tolist()
        left = np.setdiff1d(left, places)
    return [found[place] for place in chosen]


def train_task(task: Task, rows: pools.Rows) -> Task:
    """The task with these rows in the place of its training texts."""
    columns = {name: [row[name] for row in rows] for name in task.train.column_names}
    return dataclasses.replace(task, train=Dataset.from_dict(columns, features=task.train.features))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("task")
    parser.add_argument("--output-dir", type=Path, required=True)
    parser.add_argument("--share", type=float, default=0.1)
    parser.add_argument("--steps", type=int, default=150, help="of training on them, 32 texts each")
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--depth", type=float, default=1.0)
    args = parser.parse_args()
    task, reporter = dilm.load_task(args.task), Reporter()
    facts = {key: getattr(args, key) for key in ("share", "steps", "learning_rate", "depth")}
    folder = made_of(args.output_dir, pool=content(args.run / "pool.parquet"), **facts)
    config = load_config(None, args.run / "config.yaml", {"pool": {"depth": args.depth}})[0]
    work = Workspace(task, dataclasses.replace(config, seed=config.seed + 1), folder, reporter)
    work.checkpoints.mkdir(exist_ok=True)
    shutil.copy(args.run / "config.yaml", folder)
    shutil.copy(args.run / "checkpoints" / "full_data.safetensors", work.judge_path)
    if not (folder / "generator").exists():
        rows = experts(read_pool(args.run / "pool.parquet"), work, args.share)
        learn = LanguageModelingConfig(args.learning_rate, args.steps, batch_size=32, num_train_epochs=1000)
        generator: Generator = work.generator(args.run / "generator")
        few = train_task(task, rows)
        losses = learn_language(generator, few, learn, work.seed("experts"))
        for _ in reporter.track(losses, f"learning from {len(rows):,} texts", num_steps(few, learn)):
            pass
        with whole_folder(folder / "generator") as place:
            generator.save_pretrained(place)
    rows = write_texts(work, work.generator(folder / "generator"), work.learner())
    confirmed = np.mean([row["predicted_label"] == row["label"] for row in rows])
    print(f"{len(rows):,} texts, {confirmed:.0%} confirmed, {len(pools.usable(rows)):,} different ones")


if __name__ == "__main__":
    main()

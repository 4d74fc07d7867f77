"""Are pooled learners as good as fresh ones, and how many steps of stage 2 pay? Measured on dev, never on test.

    python benchmarks/trajectories.py runs/sst2 path/to/sst2 --fine-tune 3

Takes the generator as a finished run had it after stage 1, trains it in several ways (constant learning rate, so that
one training passes through all numbers of steps), and from the generator at each number of steps writes pools, selects
sets as `distill` does and tests them on the dev split: a probe on every set, and fine-tuning on the first N sets of the
largest size.
Writes benchmarks/results/trajectories_TASK.json. Can be interrupted and called again; a folder stays with its run.
"""

import argparse
import dataclasses
import json
import time
from pathlib import Path

import numpy as np
from common import content, made_of, write_result
from coresets import first_sets, scores_by_set

import dilm
from dilm import pool as pools
from dilm.config import GradientMatchingConfig, RecipeConfig, load_config
from dilm.durable import whole_folder, write_json
from dilm.evaluation.coresets import real_sample
from dilm.models.feature_cache import pretrained_features
from dilm.models.learner import Learner
from dilm.progress import Reporter
from dilm.run_folder import set_path
from dilm.selection import Reference
from dilm.training.gradient_matching import match_gradients
from dilm.training.learners import FreshLearners, PooledLearners
from dilm.training.teachers import Teachers
from dilm.workspace import Workspace

WAYS = {
    "fresh": {"learners": "fresh"},
    "pool of 1": {"learners": "pool", "trajectories": 1},
    "pool of 2": {"learners": "pool", "trajectories": 2},
    "pool of 4": {"learners": "pool", "trajectories": 4},
    "pool of 2, rate x 10": {"learners": "pool", "trajectories": 2, "learning_rate": 1e-4},
}
START = "vanilla LM"
GENERATOR = "checkpoints/stage_1/model.safetensors"


def train(work: Workspace, learner: Learner, way: dict, steps: list[int], folder: Path, seed: int) -> None:
    """Stage 2 in one way; keeps the generator at each number of steps, and the seconds it took to get there."""
    if all((folder / str(count) / "seconds.json").exists() for count in steps):
        return
    config: GradientMatchingConfig = dataclasses.replace(
        work.config.gradient_matching, lr_scheduler_type="constant_with_warmup", max_steps=max(steps), **way
    )
    start = time.monotonic()
    teachers = Teachers(work.task, learner, config, seed)
    if config.learners == "pool":
        learners = PooledLearners(work.task, learner, teachers, config, seed, folder / "snapshots")
        for _ in learners.build():
            pass
    else:
        learners = FreshLearners(work.task, learner, teachers, config, seed)
    generator, labels = work.generator(work.checkpoints / "stage_1"), work.task.labels("dev")
    real = [work.task.texts("dev", np.flatnonzero(labels == c)[:256]) for c in range(work.task.num_classes)]
    trained = match_gradients(
        generator, learners, work.task, config, top_p=work.config.top_p, seed=seed, real_texts=real
    )
    cosines = []
    tracked = work.reporter.track(trained, folder.name, config.max_steps, lambda r: f"cosine {r['cosine']:.3f}")
    for count, record in enumerate(tracked, 1):
        cosines.append(record["cosine"])
        if count in steps and not (folder / str(count)).exists():
            with whole_folder(folder / str(count)) as place:
                generator.save_pretrained(place)
                write_json(
                    place / "seconds.json",
                    {"seconds": time.monotonic() - start, "cosine": float(np.mean(cosines[-25:]))},
                )


def write_sets(work: Workspace, learner: Learner, source: Path, folder: Path, sets: int) -> None:
    """Pools from one generator, and the sets selected from them."""
    if all(set_path(folder, dpc, number).exists() for dpc in work.config.dpc for number in range(sets)):
        return
    task, config = work.task, work.config
    generator = work.generator(source)
    work.become_judge(learner)
    rows, config = [], dataclasses.replace(config, sets=sets)
    for block in pools.pool_blocks(task, config):
        texts = dict(pools.write_block(generator, task, config, block))
        rows += pools.block_rows(texts, block, generator, learner)
    texts, labels = real_sample(task, max(config.dpc), work.seed("coresets"))
    reference = Reference(pretrained_features(learner, texts), labels)
    learner.reinitialize(config.seed)
    wanted = [(number, dpc) for number in range(sets) for dpc in config.dpc]
    list(pools.write_selected(folder, pools.with_new_words(rows, task), wanted, config, task, learner, reference))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run folder, for its generator after stage 1 and its classifier")
    parser.add_argument("task")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--steps", type=int, nargs="+", default=[25, 50, 100])
    parser.add_argument("--dpc", type=int, nargs="+", default=[5, 10, 20])
    parser.add_argument("--sets", type=int, default=5)
    parser.add_argument("--fine-tune", type=int, default=0, metavar="SETS")
    parser.add_argument("--max-texts", type=int, default=1_000)
    parser.add_argument("--folder", type=Path, default=Path("runs/benchmarks/trajectories"))
    args = parser.parse_args()
    task = dilm.load_task(args.task)
    wanted = {
        "pool": {"selection": "kernel", "fluent_share": 0.5, "shared": False},
        "dpc": args.dpc,
        "output_dir": None,
    }
    config, _ = load_config("embedded", args.run / "config.yaml", wanted)
    work = Workspace(task, config, args.run, Reporter(quiet=False))
    origin = {"config": content(args.run / "config.yaml"), "start": content(args.run / GENERATOR)}
    folder = made_of(args.folder / task.name, **origin, dpc=args.dpc)
    learner = work.learner()
    sources, costs = {START: (args.run / GENERATOR).parent}, {}
    for name in args.ways:
        place = folder / name.replace(" ", "-").replace(",", "")
        train(work, learner, WAYS[name], args.steps, place, work.seed("stage 2"))
        for count in args.steps:
            sources[f"{name}, {count} steps"] = place / str(count)
    origins = {}
    for name, source in sources.items():
        origins[name] = folder / "sets" / name.replace(" ", "-").replace(",", "")
        write_sets(work, learner, source, origins[name], args.sets)
        if name != START:
            costs[name] = json.loads((source / "seconds.json").read_text())
    on_dev = {"task": task, "split": "dev", "recipe": RecipeConfig(seeds=1, max_texts=args.max_texts)}
    outputs = [folder / "cheap.json"]
    sets = [f"{name}={path}" for name, path in origins.items()]
    results = [dilm.evaluate(sets, learners=["probe:offline"], output=outputs[0], **on_dev)]
    if args.fine_tune:
        outputs.append(folder / "fine_tuned.json")
        sets = first_sets(origins, folder / "first", [max(args.dpc)], args.fine_tune)
        results.append(dilm.evaluate(sets, learners=["finetune:offline"], output=outputs[1], **on_dev))
    comparison = dilm.compare(outputs, against=START, output=folder / "comparison")
    facts = {key: comparison[key] for key in ("metric", "against", "test", "lines")}
    facts |= {"costs": costs, "scores": scores_by_set([row for result in results for row in result["rows"]])}
    path = Path(__file__).parent / "results" / f"trajectories_{task.name}.json"
    write_result(path, facts)
    print(f"wrote {path}")


if __name__ == "__main__":
    main()

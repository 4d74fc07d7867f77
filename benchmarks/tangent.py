"""Sets chosen by what fine-tuning sees (tangent features) beside sets chosen by frozen features, for on_dev.py.

    torchrun --nproc-per-node 8 benchmarks/tangent.py path/to/sst2 --run runs/sst2 --output-dir runs/tangent/sst2

Selects by kernel from real texts and from the pool of a finished run, by several views of a text: pooled (mean of the
frozen encoder's states), tangent (`TangentFeatures`) and both beside each other. The processes share the sets.
"""

import argparse
import dataclasses
import functools
from pathlib import Path

import numpy as np

import dilm
from dilm import pool as pools
from dilm.config import load_config
from dilm.evaluation.coresets import real_sample
from dilm.models.compute import derived_seed
from dilm.models.feature_cache import pretrained_features
from dilm.models.processes import own_share, process_state
from dilm.models.tangent import TangentFeatures
from dilm.progress import Reporter
from dilm.run_folder import read_pool, row_text, set_path, write_set
from dilm.selection import Reference
from dilm.selection.kernel import kernel
from dilm.task import TextInput
from dilm.workspace import Workspace

RIDGES = {"pooled": (0.1,), "tangent": (0.1, 0.3), "both": (0.1,)}


class Views:
    """Features of texts by the name of the view."""

    def __init__(self, work: Workspace, texts: list[TextInput]):
        self.learner = work.learner()
        self.tangent = TangentFeatures(self.learner, texts)

    def __call__(self, texts: list[TextInput]) -> dict[str, np.ndarray]:
        pooled, tangent = pretrained_features(self.learner, texts), self.tangent(texts)
        return {"pooled": pooled, "tangent": tangent, "both": np.hstack([pooled, tangent]) / 2**0.5}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task")
    parser.add_argument("--run", type=Path, help="a run folder, for its pool.parquet and its settings")
    parser.add_argument("--sets", type=int, default=10)
    parser.add_argument("--dpc", type=int, nargs="+", default=(5, 10, 20))
    parser.add_argument("--real-texts", type=int, default=8000)
    parser.add_argument("--pool-texts", type=int, default=20_000)
    parser.add_argument("--output-dir", type=Path, required=True)
    args = parser.parse_args()
    task, state = dilm.load_task(args.task), process_state()
    config, _ = load_config("embedded", args.run / "config.yaml" if args.run else None, {"output_dir": None})
    config = dataclasses.replace(config, pool=dataclasses.replace(config.pool, shared=True))
    work = Workspace(task, config, args.run or args.output_dir, Reporter(quiet=True))
    folder = args.output_dir / "features"
    texts, labels = real_sample(task, max(args.dpc), derived_seed(0, "coresets"))
    some = np.random.default_rng(0).permutation(len(texts))[: args.real_texts]
    texts, labels = [texts[i] for i in some], labels[some]
    sources = {"real": (texts, labels)}
    if args.run:
        rows = pools.with_new_words(read_pool(args.run / "pool.parquet"), task)
        rows = [rows[i] for i in np.random.default_rng(0).permutation(len(rows))[: args.pool_texts]]
        found = pools.candidates_by_size(rows, args.dpc, config, task, work.learner(), 0)[max(args.dpc)].rows
        sources["pool"] = ([row_text(row) for row in found], np.array([row["label"] for row in found]))
    if state.is_main_process:
        folder.mkdir(parents=True, exist_ok=True)
        views = Views(work, texts[:4000])
        for name, (own, _) in sources.items():
            np.savez(folder / f"{name}.npz", **views(own))
            print(f"{name}: {len(own)} texts")
    state.wait_for_everyone()
    features = {name: dict(np.load(folder / f"{name}.npz")) for name in sources}
    wanted = [
        (name, view, ridge, dpc, number)
        for number in range(args.sets)
        for name in sources
        for view, ridges in RIDGES.items()
        for ridge in ridges
        for dpc in args.dpc
    ]
    for name, view, ridge, dpc, number in own_share(wanted):
        path = set_path(args.output_dir / f"{name}-{view}-{ridge}", dpc, number)
        if not path.exists():
            (own, own_labels), choose = sources[name], functools.partial(kernel, ridge=ridge)
            reference = Reference(features["real"][view], labels)
            chosen = choose(features[name][view], own_labels, dpc, derived_seed(0, "selection", number), reference)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_set(path, [own[i] for i in chosen], own_labels[chosen].tolist(), task.label_names)
    state.wait_for_everyone()


if __name__ == "__main__":
    main()

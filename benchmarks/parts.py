"""Do distilled texts of several parts teach more? Measured on dev, never on test.

    python benchmarks/parts.py runs/sst2 path/to/sst2 --parts 1 2 3 --fine-tune 3

Selects from the pool of a finished run, each set from its own texts, with other numbers of written texts joined to one,
and in the same way from as many real training texts; the sets train the cheap learners and, the first N of each, a
fine-tuned one by the paper's recipe, which are tested on the dev split, or on its texts of so many words at least.
Writes benchmarks/results/parts_TASK.json. Can be interrupted and called again: all lies in a folder named like the run.
"""

import argparse
import dataclasses
from pathlib import Path

import numpy as np
from common import content, made_of, write_result
from coresets import first_sets, scores_by_set

import dilm
from dilm import pool as pools
from dilm.config import RecipeConfig, load_config
from dilm.evaluation.coresets import real_sample
from dilm.models.compute import derived_seed
from dilm.models.feature_cache import pretrained_features
from dilm.progress import Reporter
from dilm.run_folder import read_pool, set_path, text_row
from dilm.selection import Reference
from dilm.task import TextInput
from dilm.workspace import Workspace


def real_rows(texts: list[TextInput], labels: np.ndarray, number: int) -> pools.Rows:
    """Real texts in the place of a set's pool, in random order; all of a class are equally fluent."""
    order = np.random.default_rng(number).permutation(len(texts)).tolist()
    facts = [{"label": int(labels[i]), "predicted_label": int(labels[i]), "set": number, "nll": 0.0} for i in order]
    return [text_row(texts[i]) | own | {"new_words": 0} for i, own in zip(order, facts, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run folder, for its pool.parquet and its settings")
    parser.add_argument("task")
    parser.add_argument("--parts", type=int, nargs="+", default=(1, 2, 3))
    parser.add_argument("--sets", type=int, default=5)
    parser.add_argument("--dpc", type=int, nargs="+", help="sizes; those of the run if left out")
    parser.add_argument("--fine-tune", type=int, default=0, metavar="SETS")
    parser.add_argument("--min-words", type=int, default=0, help="of the dev texts that are looked at")
    parser.add_argument("--folder", type=Path, default=Path("runs/benchmarks/parts"))
    args = parser.parse_args()
    task, own = dilm.load_task(args.task), {"config": "config.yaml", "pool": "pool.parquet"}
    contents = {key: content(args.run / name) for key, name in own.items()}
    folder = made_of(args.folder / args.run.resolve().name, **contents)
    config, _ = load_config("embedded", args.run / "config.yaml", {"output_dir": None})
    config = dataclasses.replace(config, dpc=tuple(args.dpc or config.dpc))
    pool = pools.with_new_words(read_pool(args.run / "pool.parquet"), task)
    learner = Workspace(task, config, args.run, Reporter(quiet=True)).learner()
    texts, labels = real_sample(task, max(config.dpc), derived_seed(config.seed, "coresets"))
    reference = Reference(pretrained_features(learner, texts), labels)
    origins: dict[str, Path] = {}
    for parts in args.parts:
        settings = dataclasses.replace(
            config, pool=dataclasses.replace(config.pool, parts=parts, max_overlap=None, shared=False)
        )
        for name in ("pool", "real"):
            place = origins[f"{name}-{parts}"] = folder / name / f"parts_{parts}"
            for number in range(min(args.sets, config.sets)):
                own = [row for row in pool if row["set"] == number]
                rows = own if name == "pool" else real_rows(texts, labels, number)
                wanted = [(number, dpc) for dpc in config.dpc if not set_path(place, dpc, number).exists()]
                if wanted:
                    list(pools.write_selected(place, rows, wanted, settings, task, learner, reference))
    dev = task.dev.filter(lambda row: len(row["text"].split()) >= args.min_words)
    on_dev = dataclasses.replace(task, test=dev, test_split="dev")
    recipe, outputs = RecipeConfig(seeds=1), [folder / "cheap.json"]
    sets = [f"{method}={path}" for method, path in origins.items()]
    cheap = ["probe:offline", "tfidf", "scratch:offline"]
    results = [dilm.evaluate(sets, task=on_dev, learners=cheap, output=outputs[0], recipe=recipe)]
    if args.fine_tune:
        outputs.append(folder / "fine_tuned.json")
        sets = first_sets(origins, folder / "first", config.dpc, args.fine_tune)
        results.append(
            dilm.evaluate(sets, task=on_dev, learners=["finetune:offline"], output=outputs[1], recipe=recipe)
        )
    comparison = dilm.compare(outputs, against="pool-1", output=folder / "comparison")
    facts = {"dev_texts": len(dev), "metric": comparison["metric"], "against": "pool-1", "lines": comparison["lines"]}
    path = Path(__file__).parent / "results" / f"parts_{task.name}.json"
    write_result(path, {**facts, "scores": scores_by_set([row for result in results for row in result["rows"]])})
    print(f"wrote {path}")


if __name__ == "__main__":
    main()

"""The last stages of a run: the sets measured beside coresets, the diagnosis, and all that results.json holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from . import pool as pools
from .diagnostics import COMPARED, describe_matching, describe_texts, learning_curve, warnings
from .evaluation.coresets import real_sample, stored_set, write_coresets
from .evaluation.fine_tuning import FineTuning
from .evaluation.protocol import check_runs, in_words
from .evaluation.statistics import FULL, summarize
from .evaluation.store import RowStore
from .evaluation.training_sets import TrainingSet
from .models.compute import describe_machine
from .models.feature_cache import pretrained_features
from .models.learner import Learner
from .models.processes import own_share
from .run_folder import row_text, set_path
from .task import TextInput
from .workspace import Workspace


def distilled_sets(work: Workspace) -> list[TrainingSet]:
    """The sets in the run folder."""
    return [
        stored_set(work.folder, work.method, dpc, number)
        for dpc in work.config.dpc
        for number in range(work.config.sets)
    ]


def baseline_sets(work: Workspace, learner: Learner) -> list[TrainingSet]:
    """As many coresets of every baseline and size as there are distilled sets, made if they are not there yet."""
    config, seed = work.config, work.seed("coresets")
    folders = {method: work.checkpoints / "coresets" / method for method in config.evaluation.baselines}
    wanted = [(dpc, number) for dpc in config.dpc for number in range(config.sets)]
    todo = {m: [(d, n) for d, n in wanted if not set_path(folder, d, n).exists()] for m, folder in folders.items()}
    if any(todo.values()):
        texts, labels = real_sample(work.task, max(config.dpc), seed)
        features = pretrained_features(learner, texts)

        def write() -> Iterator[Path]:
            for method, missing in todo.items():
                names = work.task.label_names
                yield from write_coresets(folders[method], method, missing, texts, labels, features, names, seed)

        total = sum(map(len, todo.values()))
        with work.timed("coresets"):
            for _ in work.reporter.track(write(), "coresets of real texts", total):
                pass
    return [stored_set(folder, m, dpc, n) for m, folder in folders.items() for dpc, n in wanted]


def evaluate(work: Workspace, learner: Learner) -> list[dict[str, Any]]:
    """Distilled sets and coresets through the protocol; every finished run is stored at once (section 4.1)."""
    config = work.config
    evaluator = work.evaluator(learner)
    store = RowStore(work.checkpoints / "evaluation")
    sets = [*distilled_sets(work), *(work.first(lambda: baseline_sets(work, learner)) or baseline_sets(work, learner))]
    planned = [*evaluator.plan_full_data(), *evaluator.plan(sets, config.evaluation.fine_tuned_sets)]
    missing = store.missing(planned)
    # All of them in every process: none is to wait for one that has ended.
    check_runs(missing)
    missing = own_share(missing)
    work.processes.wait_for_everyone()  # each has read what the others had finished before any writes more

    def run() -> Iterator[dict[str, Any]]:
        for one in missing:
            tuned = one.learner if isinstance(one.learner, FineTuning) else None
            if one.training_set.method == FULL and tuned and tuned.learner is learner:  # it has been trained already
                work.become_judge(learner)
                yield evaluator.row(one, tuned.test(evaluator.held_out))
            else:
                yield from evaluator.run([one])

    work.write("recipes", evaluator.recipes)
    if missing:
        with work.timed("evaluation"):
            for _ in work.reporter.track(store.keep(run()), "evaluation, runs", len(missing), in_words):
                pass
    work.processes.wait_for_everyone()
    return store.finished(planned)


def results(
    work: Workspace, pool: pools.Rows, rows: list[dict[str, Any]], samples: dict[str, Any], text_map: dict[str, Any]
) -> dict[str, Any]:
    """All that results.json holds: everything that a report needs besides the texts and the configuration."""
    task, diagnostics = work.task, diagnose(work, pool)
    curves = {stage: learning_curve(work.read(f"{stage}_history")["history"]) for stage in ("stage_1", "stage_2")}
    return {
        "task": task.name,
        "label_names": list(task.label_names),
        "split_sizes": {split: len(task.labels(split)) for split in ("train", "dev", "test")},
        "test_split": task.test_split,
        "notes": list(task.notes),
        "rows": rows,
        "recipes": work.read("recipes", {}),
        "summary": summarize(rows),
        "diagnostics": diagnostics,
        "warnings": warnings(diagnostics),
        "samples": samples,
        "learning_curves": curves,
        "map": text_map,
        "seconds": work.read("seconds", {}),
        "peak_memory": work.read("peak_memory", {}),
        "machine": describe_machine(work.device, work.bf16),
    }


def in_random_order(texts: Sequence[TextInput]) -> list[TextInput]:
    """The same texts; files are often sorted by class, and the first few are to stand for all."""
    return [texts[int(i)] for i in np.random.default_rng(0).permutation(len(texts))]


def diagnose(work: Workspace, pool: pools.Rows) -> dict[str, Any]:
    """Figures that show trouble, of the distilled texts in set 0 of the largest size; real held-out texts are the
    yardstick."""
    tries, stage_1 = work.read("pool_tries", {}), work.read("stage_1_history")
    largest = max(work.config.dpc)
    distilled = in_random_order(next(o for o in distilled_sets(work) if (o.dpc, o.number) == (largest, 0)).texts)
    compared = min(COMPARED, len(distilled))
    dev = np.random.default_rng(0).permutation(len(work.task.dev))[:2000]
    return {
        "pool": describe_texts(in_random_order([row_text(row) for row in pool]), compared),
        "rejected": {kind: tries.get(kind, 0) / max(tries.get("all", 0), 1) for kind in ("malformed", "unfinished")},
        "distilled": describe_texts(distilled, compared),
        "real": describe_texts(work.task.texts("dev", dev), compared),
        "agreement": float(np.mean([row["label"] == row["predicted_label"] for row in pool])),
        "real_agreement": work.read("full_data")["dev_accuracy"],
        "cut": stage_1.get("cut", 0.0),
        "invented": work.read("pool_words", {}).get("invented"),
        "bits_per_character": stage_1["bits_per_character"],
        "matching": describe_matching(work.read("stage_2_history")["history"]),
    }

"""distill(): task -> language modelling -> gradient matching -> pool -> selection -> overlap -> evaluation -> report.

Every stage leaves its result in the run folder before the next one starts; when a run is gone on with, the stages that
are finished are read back instead of run. All random numbers come from seeds derived from the run's seed and the name
of what they are for, so a resumed run goes on as if it had not been interrupted.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from pathlib import Path
from typing import Any

from accelerate.utils import broadcast_object_list
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
)

from . import closing, stages
from .config import DistillConfig, base_preset, flatten, load_config
from .durable import write_json
from .errors import InputError
from .evaluation.learners import check_learner
from .models.compute import libraries_set_aside
from .models.loading import check_model
from .models.lora import check_lora
from .models.offline import OFFLINE, minilm_folder, resolve
from .models.processes import process_state
from .overlap import measure_overlap
from .progress import LogFormat, Reporter
from .report.write import write_report
from .run_folder import Run, open_run_folder, plain
from .samples import show_samples
from .selection import check_method
from .task import Task, check_dpc, load_task
from .text_map import measure_map
from .tracking import check_trackers, log_results, tracked
from .workspace import Workspace


def distill(
    task: Any = None,
    *,
    preset: str | None = None,
    config: str | Path | None = None,
    resume_from_checkpoint: bool = False,
    quiet: bool = False,
    log_format: LogFormat = "text",
    **overrides: Any,
) -> Run:
    """Distil a labelled text dataset into a few texts per class, and measure them.

    task: what `load_task` takes, or a Task; by default the embedded task `reviews`.
    preset, config: the preset's name (by default the one that the file names, else `embedded`), and a YAML file laid
    over it.
    resume_from_checkpoint: go on with the run in `output_dir` (by default the last one of the task), from the newest
    checkpoint that is whole; `--resume` on the command line.
    quiet, log_format: print nothing; or, as `json`, one object per line (see `Reporter`) in place of bars and text.
    overrides: any setting of `DistillConfig`, nested ones as dicts: `dpc=20, gradient_matching={"max_steps": 100}`.

    Returns the finished Run (`run.datasets`, `run.results`). Raises InputError for anything wrong with the input,
    before any training. Under `accelerate launch` or torchrun the processes share one run.
    """
    state = process_state()
    base = base_preset(preset, config)
    loaded, settings, origins = prepare(task, base, config, overrides)
    with contextlib.ExitStack() as held:
        opened = Path()
        if state.is_main_process:
            opened = held.enter_context(open_run_folder(loaded, settings, base, resume_from_checkpoint))
        folder = broadcast_object_list([opened])[0]
        work = Workspace(loaded, settings, folder, Reporter(quiet or not state.is_main_process, log_format))
        held.enter_context(tracked(work))
        held.enter_context(libraries_set_aside())
        announce(work, origins)
        return run(work)


def prepare(
    task: Any, preset: str | None, config: str | Path | None, overrides: dict[str, Any]
) -> tuple[Task, DistillConfig, dict[str, str]]:
    """The task, the settings and where each came from, as `distill` takes them; InputError for what cannot be run."""
    if task is not None:
        task = os.fspath(task) if isinstance(task, os.PathLike) else task
        overrides["task"] = task if isinstance(task, str) else str(getattr(task, "source", "in memory"))
    settings, origins = load_config(preset, config, overrides)
    source = settings.task if task is None else task
    # Splits do not depend on the run's seed: runs of several seeds are tested on the same texts.
    loaded = load_task(source, text=settings.text, text_pair=settings.text_pair, label=settings.label)
    if loaded is task:  # its columns were named to load_task: the record is to load the same ones
        settings = dataclasses.replace(settings, **loaded.columns)
        origins |= {key: "given" for key, column in loaded.columns.items() if column is not None}
    check(loaded, settings)
    return loaded, settings, origins


def run(work: Workspace) -> Run:
    """The way of the data. Several processes share training, writing and evaluation; the first does the rest."""
    learner = work.learner()
    stages.rehearse(work, learner)
    work.first(lambda: stages.full_data_classifier(work, learner))
    generator = stages.language_modeling(work)
    before = work.first(lambda: show_samples(work, generator, "before"))
    trained = stages.gradient_matching(work, generator, learner)
    after = work.first(lambda: show_samples(work, trained, "after"))
    pool = stages.write_texts(work, trained, learner)
    work.first(lambda: stages.select_sets(work, pool, learner))
    stages.keep_best_sets(work, learner)
    work.first(lambda: stages.add_soft_labels(work, learner))
    work.first(lambda: measure_overlap(work, closing.distilled_sets(work), learner))
    rows = closing.evaluate(work, learner)

    def finish() -> None:
        text_map = measure_map(work, pool, learner)
        results = closing.results(work, pool, rows, {"before": before, "after": after}, text_map)
        write_json(work.folder / "results.json", results)
        log_results(work, results["summary"])
        write_report(Run(work.folder), work.reporter)

    work.first(finish)
    return Run(work.folder)


def check(task: Task, config: DistillConfig) -> None:
    """InputError, before any long work, for sizes and models that no run could work with."""
    for dpc in config.dpc:
        check_dpc(task, dpc)
    check_trackers(config.report_to)
    for method in (config.pool.selection, *config.evaluation.baselines):
        check_method(method)
    if not len(task.dev):
        raise InputError(
            f"task {task.name} has no two different texts in any class, which leaves none to check on; add texts"
        )
    check_model(
        resolve(config.learner), "learner", lambda c: c.model_type in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES
    )
    for name in config.evaluation.learners:
        check_learner(name, own=config.learner)
    if (config.gradient_matching.objective, config.gradient_matching.scope) == ("gumbel", "all"):
        raise InputError("objective gumbel matches gradients of the head; give --gradient-matching.scope head")
    if config.lora_r:
        check_lora(config.generator, OFFLINE)
    if config.generator == OFFLINE:
        minilm_folder()
    else:
        check_model(config.generator, "generator", lambda c: c.model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)


def announce(work: Workspace, origins: dict[str, str]) -> None:
    """Say what is about to be done: the task, the folder, and where each setting came from."""
    task, say = work.task, work.reporter.say
    sizes = " ".join(f"{split} {len(task.labels(split)):,}" for split in ("train", "dev", "test"))
    kind = "pairs" if task.has_pairs else "texts"
    say(f"task {task.name}: {kind}, {task.num_classes} classes, {sizes} (test is the {task.test_split} split)")
    for note in task.notes:
        say(f"  {note}")
    say(f"run folder {work.folder}; device {work.device}, {'bfloat16' if work.bf16 else 'float32'}")
    if work.reporter.json:
        settings = plain(dataclasses.asdict(work.config))
        work.reporter.event("configuration", folder=str(work.folder), settings=settings, origins=origins)
        return
    values = {key: " ".join(map(str, v)) if isinstance(v, tuple) else v for key, v in flatten(work.config).items()}
    width = max(map(len, values))
    say("configuration:")
    for origin in sorted(set(origins.values()) - {"default"}):
        for key, value in values.items():
            if origins[key] == origin:
                say(f"  {key:<{width}}  {value!s:<12}  {origin}")
    say("  default: " + ", ".join(f"{key} {value}" for key, value in values.items() if origins[key] == "default"))

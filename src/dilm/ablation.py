"""ablate(): the parts of the method, each on or off, on one stage 1; the paper's table of ablations (section 4.4)."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from pathlib import Path
from typing import Any

from . import closing, stages
from .config import DistillConfig, load_config
from .durable import whole_file, whole_folder, write_json
from .errors import InputError
from .evaluation.protocol import check_runs, in_words
from .evaluation.statistics import summarize
from .evaluation.store import RowStore
from .models.compute import libraries_set_aside
from .pipeline import check
from .progress import LogFormat, Reporter
from .run_folder import check_links, open_run_folder, versions
from .side_by_side import compare
from .task import Task, load_task
from .tracking import tracked
from .workspace import Workspace

UNFILTERED = {"keep": "all", "sure_share": 1.0, "fluent_share": 1.0, "known_words": False, "parts": 1, "shared": False}
"""Each of these chooses among texts too, before the method of selection does."""
VARIANTS: dict[str, dict[str, Any]] = {
    "dilm": {},
    "random teacher": {"gradient_matching": {"teacher": "random"}},
    "random mini-batches": {"gradient_matching": {"minibatches": "random"}},
    "no selection": {"pool": {"selection": "random", "tries": 1, **UNFILTERED}},
    "distribution matching": {"gradient_matching": {"objective": "distribution"}},
    "Gumbel softmax": {"gradient_matching": {"objective": "gumbel", "scope": "head"}},
    "no gradient matching": {"gradient_matching": {"max_steps": 0}},
}
"""What each variant changes. Gradients through sampled tokens are those of the head, whatever the others match."""
SHARED = ("stage_1", "stage_1_history.json", "full_data.json", "full_data.safetensors")
"""Of the first variant's checkpoints: they do not depend on what is varied."""


def ablate(
    task: Any = None,
    *,
    preset: str | None = None,
    config: str | Path | None = None,
    quiet: bool = False,
    log_format: LogFormat = "text",
    **overrides: Any,
) -> dict[str, Any]:
    """Make the sets of every variant from one stage 1, evaluate them alike, and compare them with the whole method.

    The arguments are those of `distill`. OUTPUT_DIR (by default runs/TASK-ablation) gets a run folder per variant,
    results.json, and comparison.md, .csv and .json. The same call goes on after an interruption. Returns the
    comparison. Raises InputError as `distill` does.
    """
    settings, _ = load_config(preset, config, overrides | ({} if task is None else {"task": str(task)}))
    loaded = load_task(
        settings.task if task is None else task, text=settings.text, text_pair=settings.text_pair, label=settings.label
    )
    check(loaded, settings)
    if settings.gradient_matching.max_steps == 0:
        raise InputError("an ablation of stage 2 needs a stage 2; give gradient_matching.max_steps above 0")
    folder, reporter = Path(settings.output_dir or f"runs/{loaded.name}-ablation"), Reporter(quiet, log_format)
    _check_folder(folder)
    workspaces: dict[str, Workspace] = {}
    with contextlib.ExitStack() as held, libraries_set_aside():
        for name, changes in VARIANTS.items():
            first = workspaces.get("dilm")
            workspaces[name] = _variant(loaded, settings, name, changes, folder, reporter, first, held)
        return _measure(workspaces, folder, reporter)


def _check_folder(folder: Path) -> None:
    """InputError for a folder that holds something, and no ablation."""
    if not folder.exists():
        return
    there = {path.name for path in folder.glob("[!.]*")} if folder.is_dir() else {folder.name}
    variants = {_folder_name(name) for name in VARIANTS}
    if there and not there & variants:
        raise InputError(f"{folder} is not empty and holds no ablation; pass another --output-dir")
    check_links(folder)


def _folder_name(variant: str) -> str:
    return variant.replace(" ", "-")


def _variant(
    task: Task,
    settings: DistillConfig,
    name: str,
    changes: dict[str, Any],
    folder: Path,
    reporter: Reporter,
    first: Workspace | None,
    held: contextlib.ExitStack,
) -> Workspace:
    """Make one variant's sets; stage 1 and the full-data classifier are those of the first variant.

    The variant's folder stays locked as long as `held`.
    """
    groups = {group: dataclasses.replace(getattr(settings, group), **values) for group, values in changes.items()}
    place = folder / _folder_name(name)
    varied = dataclasses.replace(settings, **groups, output_dir=str(place))
    known = any((place / "checkpoints").glob("[!.]*"))
    opened = held.enter_context(open_run_folder(task, varied, "ablation", resume=known))
    work = Workspace(task, varied, opened, reporter)
    reporter.say(f"variant {name}: {place}")
    for shared in SHARED:
        source, target = (first or work).checkpoints / shared, work.checkpoints / shared
        if source != target and not target.exists():
            if source.is_dir():
                with whole_folder(target) as partial:
                    shutil.copytree(source, partial, dirs_exist_ok=True)
            else:
                with whole_file(target) as partial:
                    shutil.copyfile(source, partial)
    learner = work.learner()
    stages.rehearse(work, learner)
    stages.full_data_classifier(work, learner)
    with tracked(work):
        generator = stages.gradient_matching(work, stages.language_modeling(work), learner)
    stages.select_sets(work, stages.write_texts(work, generator, learner), learner)
    stages.keep_best_sets(work, learner)
    stages.add_soft_labels(work, learner)
    return work


def _measure(workspaces: dict[str, Workspace], folder: Path, reporter: Reporter) -> dict[str, Any]:
    """All variants beside coresets of real texts, through one evaluator."""
    work = workspaces["dilm"]
    config, learner = work.config, work.learner()
    evaluator, store = work.evaluator(learner), RowStore(folder / "evaluation")
    sets = [
        dataclasses.replace(one, method=name)
        for name, variant in workspaces.items()
        for one in closing.distilled_sets(variant)
    ]
    planned = evaluator.plan([*sets, *closing.baseline_sets(work, learner)], config.evaluation.fine_tuned_sets)
    missing = store.missing(planned)
    check_runs(missing)
    runs = store.keep(evaluator.run(missing))
    for _ in reporter.track(runs, "evaluation, runs", len(missing), in_words):
        pass
    rows = store.finished(planned)
    facts: dict[str, Any] = {"task": work.task.name, "rows": rows, "recipes": evaluator.recipes}
    facts |= {"summary": summarize(rows), "versions": versions()}
    write_json(folder / "results.json", facts)
    reporter.event("results", folder=str(folder), summary=facts["summary"])
    return compare([folder / "results.json"], against="dilm", output=folder / "comparison")

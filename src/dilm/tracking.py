"""Learning curves and accuracies to the experiment trackers that `report_to` names, through accelerate."""

from __future__ import annotations

import contextlib
import functools
import math
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker, filter_trackers, get_available_trackers

from .config import flatten
from .errors import InputError, suggest
from .training.language_modeling import num_steps
from .workspace import Workspace

RUN_NAME = {"trackio": "name", "wandb": "name", "mlflow": "run_name"}
"""What these call the name of a run inside a project; the others name it themselves."""


def check_trackers(names: Sequence[str]) -> list[str]:
    """The trackers that are asked for; InputError for one that is unknown or not installed."""
    wanted, available = [name for name in names if name != "none"], [str(name) for name in get_available_trackers()]
    known = [*LOGGER_TYPE_TO_CLASS, "all", "none"]
    for name in wanted:
        if name not in known:
            raise InputError(f"no tracker '{name}'{suggest(name, known)}; report_to takes {', '.join(known)}")
        if name != "all" and name not in available:
            extra = " or 'dilm[tracking]'" if name in ("tensorboard", "trackio") else ""
            raise InputError(f"report_to {name} needs the package {name}; run pip install {name}{extra}")
    return wanted


@contextlib.contextmanager
def tracked(work: Workspace) -> Iterator[None]:
    """Inside, the run's trackers are open, in the first process; InputError if one cannot be started."""
    try:
        if work.processes.is_main_process:
            for name in filter_trackers(list(check_trackers(work.config.report_to)), work.folder):
                work.trackers = (*work.trackers, _started(work, str(name)))
        yield
    finally:
        for tracker in work.trackers:
            _does(work, tracker, tracker.finish)
        work.trackers = ()


def _started(work: Workspace, name: str) -> GeneralTracker:
    """Project dilm-TASK, run as the run folder is called; what needs a folder has RUN/logs."""
    kind: Any = LOGGER_TYPE_TO_CLASS[name]
    options = {RUN_NAME[name]: work.folder.name} if name in RUN_NAME else {}
    if kind.requires_logging_directory:
        options["logging_dir"] = str(work.folder / "logs")
    settings = {k: v if isinstance(v, (bool, int, float)) else str(v) for k, v in flatten(work.config).items()}
    try:
        with contextlib.redirect_stdout(sys.stderr):  # trackers greet there, and standard output may be a JSON log
            tracker = kind(plain_name(f"dilm-{work.task.name}"), **options)
            tracker.start()
            tracker.store_init_configuration(settings)
    except Exception as error:
        reason = " ".join(str(error).split())
        raise InputError(f"report_to {name} cannot be started: {reason}; leave it out, or mend that") from error
    return tracker


def with_trackers(
    work: Workspace, records: Iterable[dict[str, float]], stage: str, before: int = 0
) -> Iterator[dict[str, float]]:
    """Pass on the records of a training stage; every `logging_steps`, and at the end, their figures go to the trackers.

    before: steps of the stages before, because the steps of a tracker may only rise. A stage that goes on from a
    checkpoint passes on its earlier records too, so the curves of a resumed run are whole.
    """
    latest: dict[str, float] = {}
    step = logged = before
    for step, record in enumerate(records, before + 1):
        latest |= {f"{plain_name(stage)}/{key}": value for key, value in record.items() if math.isfinite(value)}
        if (step - before) % work.config.logging_steps == 0:
            log(work, latest, step)
            latest, logged = {}, step
        yield record
    if step > logged:
        log(work, latest, step)


def log_results(work: Workspace, summary: Iterable[dict[str, Any]]) -> None:
    """The mean accuracies of the table."""
    last = num_steps(work.task, work.config.language_modeling) + work.config.gradient_matching.max_steps
    lines = {
        f"accuracy/{plain_name(line['learner'])}/{plain_name(line['method'])}/dpc_{line['dpc']}": line["mean"]
        for line in summary
    }
    log(work, lines, last)


def log(work: Workspace, values: dict[str, float], step: int) -> None:
    """Values to all trackers that are open; one that fails gets nothing more."""
    work.trackers = [t for t in work.trackers if _does(work, t, functools.partial(t.log, values, step=step))]


def _does(work: Workspace, tracker: GeneralTracker, action: Callable[[], Any]) -> bool:
    """Whether the action succeeds. If not it is told, and the run goes on: a lost connection is no reason to end it."""
    try:
        with contextlib.redirect_stdout(sys.stderr):
            action()
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        name = tracker.name  # type: ignore[attr-defined]  # every kind has one
        work.reporter.say(f"report_to {name} fails from here on, and the run goes on without it: {reason}")
        return False
    return True


def plain_name(name: str) -> str:
    """Letters, digits, dots and dashes, which every tracker takes."""
    return re.sub(r"[^\w.-]+", "_", name)

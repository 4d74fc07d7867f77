"""What each verb of the command line does with its arguments; heavy libraries are imported inside.

A verb takes the arguments after its name and returns the exit code.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from pathlib import Path
from typing import Any

import yaml

from .arguments import (
    AblateArguments,
    AuditArguments,
    CompareArguments,
    DistillArguments,
    DoctorArguments,
    EvaluateArguments,
    PromptArguments,
    PushArguments,
    ReportArguments,
    SelectArguments,
)
from .config import RECORD, RecipeConfig, base_preset, check_numbers, flatten, load_config, preset_names
from .errors import InputError
from .parsing import completion, parse
from .parsing import values as shallow
from .places import check_place, check_run
from .plain_text import from_markdown, visible
from .spread import spread


def distill_settings(verb: str, arguments: list[str]) -> tuple[argparse.Namespace, DistillArguments, dict[str, Any]]:
    """Preset and file, all options, and those that were given, as nested keywords."""
    # The preset and the file decide the defaults of all other options, so they are read first.
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for options in (["--preset"], ["--config"], ["--output-dir", "--output_dir"]):
        first.add_argument(*options)
    first.add_argument("--resume", action="store_true")
    chosen, _ = first.parse_known_args(arguments)
    if chosen.resume and chosen.output_dir and not (chosen.preset or chosen.config):
        chosen.preset, chosen.config = recorded_settings(Path(chosen.output_dir) / "config.yaml")
    chosen.preset = base_preset(chosen.preset, chosen.config)
    defaults, _ = load_config(chosen.preset, chosen.config)
    form = FORMS[verb]
    default = form(**shallow(defaults), preset=chosen.preset, config=chosen.config)
    parsed = parse(form, verb, arguments, default)
    known, values = flatten(defaults), flatten(parsed)
    given = nested({key: values[key] for key in known if values[key] != known[key] or key == "task"})
    # What can be told without heavy imports is told before them.
    load_config(chosen.preset, chosen.config, given)
    check_place(given["task"])
    return chosen, parsed, given


def recorded_settings(record: Path) -> tuple[str | None, str | None]:
    """The preset and the file that hold all settings of a run that is gone on with: nothing has to be given again."""
    try:
        there = yaml.safe_load(record.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError):  # told when the folder is opened
        return None, None
    if not isinstance(there, dict) or not there.keys() >= RECORD or there["preset"] not in preset_names():
        return None, None
    return there["preset"], str(record)


def distill(arguments: list[str]) -> int:
    """The verb `distill`."""
    chosen, parsed, given = distill_settings("distill", arguments)
    quiet_libraries()
    if parsed.num_processes > 1 and not launched():
        # What cannot be run is told once, here; the processes go on with the folder that is opened here.
        from .pipeline import prepare
        from .run_folder import open_run_folder

        loaded, settings, _ = prepare(given.pop("task"), chosen.preset, chosen.config, given)
        with open_run_folder(loaded, settings, chosen.preset, parsed.resume) as folder:
            pass
        return spread(parsed.num_processes, ["distill", *arguments, "--resume", "--output-dir", str(folder)])
    from .pipeline import distill as run

    told = {"quiet": parsed.quiet, "log_format": parsed.log_format}
    resume = parsed.resume
    run(given.pop("task"), preset=chosen.preset, config=chosen.config, resume_from_checkpoint=resume, **told, **given)
    return 0


def launched() -> bool:
    """Whether this is one of several processes already; launchers set RANK for a single one too."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def nested(flat: dict[str, Any]) -> dict[str, Any]:
    """Dotted keys as nested dicts: the inverse of `flatten`."""
    tree: dict[str, Any] = {}
    for key, value in flat.items():
        *groups, name = key.split(".")
        place = tree
        for group in groups:
            place = place.setdefault(group, {})
        place[name] = value
    return tree


def ablate(arguments: list[str]) -> int:
    """The verb `ablate`: the options of `distill`."""
    from .report.comparison import comparison_markdown

    chosen, parsed, given = distill_settings("ablate", arguments)
    quiet_libraries()
    from .ablation import ablate as run

    task = given.pop("task")
    told = {"quiet": parsed.quiet, "log_format": parsed.log_format}
    comparison = run(task, preset=chosen.preset, config=chosen.config, **told, **given)
    if not parsed.quiet and parsed.log_format == "text":
        print(from_markdown(comparison_markdown(comparison)), end="")
    return 0


def evaluate(arguments: list[str]) -> int:
    """The verb `evaluate`."""
    parsed = parse(EvaluateArguments, "evaluate", arguments)
    check_numbers({key: value for key, value in shallow(parsed).items() if key not in ("sets", "learner")})
    check_place(parsed.task)
    if not parsed.sets:
        raise InputError("no sets; pass jsonl files or folders of them, as in dilm evaluate runs/mine --task mine.csv")
    quiet_libraries()
    if parsed.num_processes > 1 and not launched():
        return spread(parsed.num_processes, ["evaluate", *arguments])
    from .measure import RESULTS
    from .measure import evaluate as run

    recipe = RecipeConfig(**{f.name: getattr(parsed, f.name) for f in dataclasses.fields(RecipeConfig)})
    own = {key: value for key, value in shallow(parsed).items() if key not in (*flatten(recipe), "num_processes")}
    results = run(own.pop("sets"), learners=own.pop("learner"), recipe=recipe, **own)
    if not parsed.quiet and parsed.log_format == "text" and int(os.environ.get("RANK", "0")) == 0:
        from .evaluation.comparison import compare as compare_rows
        from .report.comparison import comparison_markdown

        print(from_markdown(comparison_markdown(compare_rows(results["rows"]), brief=True)))
        where, output = " on dev" if parsed.split == "dev" else "", parsed.output or RESULTS[parsed.split]
        print(f"results{where}: {output}; every figure: dilm compare {output}")
    return 0


def select(arguments: list[str]) -> int:
    """The verb `select`."""
    parsed = parse(SelectArguments, "select", arguments)
    check_numbers(shallow(parsed))
    check_place(parsed.task)
    quiet_libraries()
    from .baselines import select as run

    paths = run(**shallow(parsed))
    if not parsed.quiet:
        print(f"{len(paths)} sets in {parsed.output_dir}; measure them with dilm evaluate {parsed.output_dir}")
    return 0


def compare(arguments: list[str]) -> int:
    """The verb `compare`."""
    parsed = parse(CompareArguments, "compare", arguments)
    if not parsed.results:
        raise InputError("no results; pass files of dilm evaluate or run folders")
    quiet_libraries()
    from .report.comparison import comparison_markdown
    from .side_by_side import compare as run

    comparison = run(parsed.results, metric=parsed.metric, against=parsed.against, output=parsed.output)
    print(from_markdown(comparison_markdown(comparison)), end="")
    return 0


def audit(arguments: list[str]) -> int:
    """The verb `audit`."""
    parsed = parse(AuditArguments, "audit", arguments)
    if parsed.task is not None:
        check_place(parsed.task)
    quiet_libraries()
    from .membership import audit as run

    run(**shallow(parsed))
    return 0


def prompt(arguments: list[str]) -> int:
    """The verb `prompt`."""
    parsed = parse(PromptArguments, "prompt", arguments)
    if not os.path.isdir(parsed.folder):
        raise InputError(f"no folder '{parsed.folder}'; pass the folder of a run")
    quiet_libraries()
    from .prompts import prompt as run

    text = run(**shallow(parsed))
    if sys.stdout.isatty():
        text = "\n".join(map(visible, text.split("\n")))
    sys.stdout.buffer.write(
        (text if text.endswith("\n") else text + "\n").encode(errors="replace")
    )  # UTF-8, whatever the terminal
    return 0


def push(arguments: list[str]) -> int:
    """The verb `push`."""
    parsed = parse(PushArguments, "push", arguments)
    if not os.path.isdir(parsed.run):
        raise InputError(f"no folder '{parsed.run}'; pass the folder of a run")
    quiet_libraries()
    from .hub import push as run

    print("pushed to " + " and ".join(run(**shallow(parsed))))
    return 0


def doctor(arguments: list[str]) -> int:
    """The verb `doctor`."""
    parsed = parse(DoctorArguments, "doctor", arguments)
    quiet_libraries()
    from .doctor import doctor as run

    return 0 if run(parsed.quick) else 1


def report(arguments: list[str]) -> int:
    """The verb `report`."""
    parsed = parse(ReportArguments, "report", arguments)
    check_run(parsed.run)
    quiet_libraries()
    from .progress import Reporter
    from .report.write import remake_report

    remake_report(parsed.run, Reporter(parsed.quiet))
    return 0


def quiet_libraries() -> None:
    """No warnings about forks."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def complete(arguments: list[str]) -> int:
    """The verb `completion`."""
    completion(FORMS, arguments)
    return 0


FORMS = {
    "distill": DistillArguments,
    "ablate": AblateArguments,
    "select": SelectArguments,
    "evaluate": EvaluateArguments,
    "compare": CompareArguments,
    "prompt": PromptArguments,
    "push": PushArguments,
    "report": ReportArguments,
    "audit": AuditArguments,
    "doctor": DoctorArguments,
}
VERBS = {
    "distill": distill,
    "ablate": ablate,
    "select": select,
    "evaluate": evaluate,
    "compare": compare,
    "prompt": prompt,
    "push": push,
    "report": report,
    "audit": audit,
    "doctor": doctor,
    "completion": complete,
}

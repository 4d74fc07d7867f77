"""The command line: dilm VERB. Heavy libraries are imported inside the verbs, so that --help answers at once.

Exit codes: 0 done, 2 the user's input (one readable message), 1 anything else, 130 and 143 when interrupted.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import signal
import sys
from dataclasses import dataclass, field
from typing import Any

import tyro
from tyro.conf import Suppress

from .config import (
    DistillConfig,
    EvaluationConfig,
    GradientMatchingConfig,
    LanguageModelingConfig,
    PoolConfig,
    flatten,
    load_config,
)
from .errors import GenerationError, InputError

USAGE = """\
usage: dilm VERB [OPTIONS]

Distil a labelled text dataset into a few readable texts that train any classifier.

  dilm distill [TASK]   learn to write, over-generate, select, evaluate, report
  dilm --version        print the version

Example: dilm distill mine.csv --text review --label stars --dpc 20
Options: dilm distill --help
"""


@dataclass(frozen=True)
class DistillArguments(DistillConfig):
    """Distil a labelled text dataset into a few texts per class, and measure them.

    Example: dilm distill mine.csv --text review --label stars --dpc 5 10 20

    The settings of the stages are options too, as in --gradient-matching.max-steps 100: see --help-all.
    """

    preset: str = "embedded"
    """Values that fit together: embedded, fast or paper."""
    config: str | None = None
    """YAML file with settings, laid over the preset."""
    resume: bool = False
    """Go on with the run in the output folder (by default the last one of the task)."""
    quiet: bool = False
    """Print nothing."""


@dataclass(frozen=True)
class DistillDials(DistillArguments):
    language_modeling: Suppress[LanguageModelingConfig] = field(default_factory=LanguageModelingConfig)
    gradient_matching: Suppress[GradientMatchingConfig] = field(default_factory=GradientMatchingConfig)
    pool: Suppress[PoolConfig] = field(default_factory=PoolConfig)
    evaluation: Suppress[EvaluationConfig] = field(default_factory=EvaluationConfig)


# The short help says the same with the stages left out.
DistillDials.__doc__ = DistillArguments.__doc__


def main(arguments: list[str] | None = None) -> int:
    """Run a verb and return its exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE, end="")
        return 0
    if arguments[0] == "--version":
        from . import __version__

        print(f"dilm {__version__}")
        return 0
    verb, rest = arguments[0], arguments[1:]
    if verb not in VERBS:
        print(f"error: no verb '{verb}'; verbs: {', '.join(VERBS)} (see dilm --help)", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, _terminate)
    try:
        return VERBS[verb](rest)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except GenerationError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, Terminated) as interruption:
        print("\ninterrupted; finished stages are kept: the same command with --resume goes on", file=sys.stderr)
        return 143 if isinstance(interruption, Terminated) else 130


class Terminated(BaseException):
    """SIGTERM, as an exception that no `except Exception` swallows."""


def _terminate(*_: object) -> None:
    raise Terminated


def distill(arguments: list[str]) -> int:
    """The verb `distill`."""
    # The preset and the file decide the defaults of all other options, so they are read first.
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--preset", default="embedded")
    first.add_argument("--config")
    chosen, _ = first.parse_known_args(arguments)
    defaults, _ = load_config(chosen.preset, chosen.config)
    form = DistillDials if {"-h", "--help"} & set(arguments) else DistillArguments
    parsed = tyro.cli(
        form,
        prog="dilm distill",
        args=["--help" if argument == "--help-all" else argument for argument in arguments],
        default=form(**shallow(defaults), preset=chosen.preset, config=chosen.config),
    )
    known, values = flatten(defaults), flatten(parsed)
    given = nested({key: values[key] for key in known if values[key] != known[key] or key == "task"})
    load_config(chosen.preset, chosen.config, given)  # a value out of range is told before anything heavy is imported
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from .pipeline import distill as run

    run(
        given.pop("task"), preset=chosen.preset, config=chosen.config, resume=parsed.resume, quiet=parsed.quiet, **given
    )
    return 0


def shallow(config: DistillConfig) -> dict[str, Any]:
    """The fields of a configuration as keywords."""
    return {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}


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


VERBS = {"distill": distill}


if __name__ == "__main__":
    sys.exit(main())

"""The command that makes a run again, from its config.yaml."""

from __future__ import annotations

import re
import shlex
from typing import Any

from ..config import NOT_SETTINGS, DistillConfig, flatten, load_config, preset_names

IN_MEMORY = re.compile(r"in memory|an? \w+")
"""What stands for the source of a task that was given from Python: `a Dataset`."""


def command(config: dict[str, Any]) -> str | None:
    """`dilm distill mine.csv --text review ...`: what differs from the preset; None for a task given from Python."""
    if IN_MEMORY.fullmatch(config["task"]):
        return None
    known = config["preset"] in preset_names()
    defaults = flatten(load_config(config["preset"])[0] if known else DistillConfig())
    plain = flatten(DistillConfig())  # a flag is True or False there, what takes the word True or False is None
    words = ["dilm", "distill", config["task"]]
    if known and config["preset"] != "embedded":
        words += ["--preset", config["preset"]]
    # A setting that did not exist when the run was made had its default.
    given = plain | flatten({key: value for key, value in config.items() if key not in NOT_SETTINGS})
    for key, value in given.items():
        value = tuple(value) if isinstance(value, list) else value
        if key == "task" or value == defaults.get(key):
            continue
        option = key.replace("_", "-")
        if isinstance(plain.get(key), bool):
            group, dot, name = option.rpartition(".")
            words.append(f"--{option}" if value else f"--{group}{dot}no-{name}")
        else:
            words += [f"--{option}", *map(str, value if isinstance(value, tuple) else [value])]
    return shlex.join(words)

"""Distil a labelled text dataset into a few texts: the public names. Importing this does not import torch."""

import os
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from .errors import InputError

if TYPE_CHECKING:
    from .ablation import ablate
    from .baselines import select
    from .config import DistillConfig, RecipeConfig, load_config
    from .hub import push
    from .measure import evaluate
    from .membership import audit
    from .models.generator import Generator
    from .models.learner import Learner
    from .pipeline import distill
    from .prompts import prompt
    from .run_folder import Run
    from .side_by_side import compare
    from .task import Task, load_task

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # huggingface_hub reads it when it is first imported

__all__ = [
    "DistillConfig",
    "Generator",
    "InputError",
    "Learner",
    "RecipeConfig",
    "Run",
    "Task",
    "ablate",
    "audit",
    "compare",
    "distill",
    "evaluate",
    "load_config",
    "load_task",
    "prompt",
    "push",
    "select",
]

_HOMES = {
    "DistillConfig": ".config",
    "Generator": ".models.generator",
    "Learner": ".models.learner",
    "RecipeConfig": ".config",
    "Run": ".run_folder",
    "Task": ".task",
    "ablate": ".ablation",
    "audit": ".membership",
    "compare": ".side_by_side",
    "distill": ".pipeline",
    "evaluate": ".measure",
    "load_config": ".config",
    "prompt": ".prompts",
    "push": ".hub",
    "select": ".baselines",
    "load_task": ".task",
}

try:
    __version__ = version("dilm")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0.0.0"


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name], __name__), name)
    raise AttributeError(f"module 'dilm' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])

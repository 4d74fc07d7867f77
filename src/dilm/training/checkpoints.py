"""Checkpoints inside a training stage: a stage that is cut off goes on from the last whole one, to the last bit.

    FOLDER/step_500/state.safetensors   weights, optimizer, random state
    FOLDER/step_500/notes.json          step, schedule, history, and what else the stage keeps
    FOLDER/step_500/manifest.json       size and sha256 of both, written last

A checkpoint is written under another name, synced, and renamed when it is whole. Nothing in it is pickled.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ..durable import whole_folder
from ..interruption import Terminated, heed, is_interrupted
from ..models.compute import RandomStream
from ..models.processes import any_process, process_state

STATE, NOTES, MANIFEST = "state.safetensors", "notes.json", "manifest.json"


class Progress(NamedTuple):
    """Where a training stage is: steps done, their records, and what else the stage keeps (JSON)."""

    step: int
    history: list[dict[str, float]]
    extra: Any


class Training:
    """All that a training loop changes."""

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        scheduler: torch.optim.lr_scheduler.LRScheduler,
        dropout: RandomStream | None = None,
    ):
        self.model, self.optimizer, self.scheduler, self.dropout = model, optimizer, scheduler, dropout

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and notes from which `restore` makes the same training again."""
        tensors = {f"model.{name}": value for name, value in self._trained()}
        for place, values in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{place}.{name}": value for name, value in values.items()}
        if self.dropout is not None:
            tensors |= {f"dropout.{i}": part for i, part in enumerate(self.dropout.state) if part is not None}
        tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
        rates = [group["lr"] for group in self.optimizer.param_groups]
        plain = {k: v for k, v in self.scheduler.state_dict().items() if isinstance(v, (int, float, list))}
        return tensors, {"rates": rates, "scheduler": {k: v for k, v in plain.items() if k != "lr_lambdas"}}

    def restore(self, tensors: dict[str, Tensor], notes: dict[str, Any]) -> None:
        """Make the training what it was when `state` was called."""
        with torch.no_grad():
            for name, value in self._trained():
                value.copy_(tensors[f"model.{name}"])
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            kind, _, rest = key.partition(".")
            if kind == "optimizer":
                place, _, name = rest.partition(".")
                moments.setdefault(int(place), {})[name] = value
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": moments, "param_groups": groups})
        self.scheduler.load_state_dict(self.scheduler.state_dict() | notes["scheduler"])
        for group, rate in zip(self.optimizer.param_groups, notes["rates"], strict=True):
            group["lr"] = rate
        if self.dropout is not None:
            self.dropout.state = (tensors["dropout.0"], tensors.get("dropout.1"))

    def _trained(self) -> Iterator[tuple[str, nn.Parameter]]:
        """The weights that change: of a model with adapters these."""
        return ((name, value) for name, value in self.model.named_parameters() if value.requires_grad)


class Checkpoints:
    """The checkpoints of one stage."""

    def __init__(self, folder: Path, save_steps: int, save_total_limit: int, say: Callable[[str], None]):
        self.folder, self.save_steps, self.save_total_limit, self.say = folder, save_steps, save_total_limit, say

    def restore(self, training: Training) -> Progress:
        """Go on from the newest checkpoint that is whole, if there is any; says which, and why others are not."""
        for path in self._newest_first():
            broken = what_is_broken(path)
            if broken:
                self.say(f"  checkpoint {path} is passed over: {broken}")
                continue
            notes = json.loads((path / NOTES).read_text(encoding="utf-8"))
            training.restore(load_file(path / STATE), notes)
            self.say(f"  going on from step {notes['step']} ({path})")
            return Progress(notes["step"], notes["history"], notes["extra"])
        return Progress(0, [], None)

    def after_step(
        self, training: Training, step: int, history: list[dict[str, float]], extra: Callable[[], Any] = lambda: None
    ) -> None:
        """To be called once a step is done: saves every `save_steps`, and before an interruption is heeded."""
        pending = any_process(is_interrupted())  # processes stop after the same step, or one would wait for ever
        if pending or step % self.save_steps == 0:
            if process_state().is_main_process:
                self._save(training, step, history, extra())
            if pending:
                self.say(f"  interrupted; kept step {step}")
                heed()
                raise Terminated  # the interruption was another process's

    def clear(self) -> None:
        """Away with all: the stage is done."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _save(self, training: Training, step: int, history: list[dict[str, float]], extra: Any) -> None:
        tensors, notes = training.state()
        with whole_folder(self.folder / f"step_{step}") as folder:
            save_file(tensors, folder / STATE)
            notes |= {"step": step, "history": history, "extra": extra}
            (folder / NOTES).write_text(json.dumps(notes, ensure_ascii=False), encoding="utf-8")
            manifest = {name: _facts(folder / name) for name in (STATE, NOTES)}
            (folder / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        for path in self._newest_first()[self.save_total_limit :]:
            shutil.rmtree(path, ignore_errors=True)

    def _newest_first(self) -> list[Path]:
        found = [path for path in self.folder.glob("step_*") if path.name[5:].isdigit()]
        return sorted(found, key=lambda path: int(path.name[5:]), reverse=True)


def what_is_broken(path: Path) -> str | None:
    """Why a checkpoint cannot be gone on from, or None if its manifest holds."""
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        for name in (STATE, NOTES):
            if _facts(path / name) != manifest[name]:
                return f"{name} is not what the manifest says"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())}"
    return None


def _facts(path: Path) -> dict[str, Any]:
    with open(path, "rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}

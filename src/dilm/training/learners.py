"""Learner trajectories of stage 2: trained anew along the way (the paper), or drawn from snapshots made once.

The learner never sees synthetic texts, so its trajectory does not depend on the generator. `PooledLearners` uses
that: it makes a few trajectories, keeps points of them in bfloat16 on disk, and computes each teacher gradient at
a point once.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..config import GradientMatchingConfig, OptimizationConfig
from ..durable import whole_file
from ..models.compute import derived_seed
from ..models.learner import Learner
from ..models.processes import own_share, process_state
from ..task import Task, TextInput
from .matching_loss import (
    Losses,
    Match,
    linear_head_gradient,
    match_any_parameters,
    match_linear_head,
    match_means,
    mean_gradient,
    residuals,
)
from .minibatches import RealBatches
from .teachers import Teachers

GRADIENT_CACHE_BYTES = 256 * 2**20
"""Teacher gradients that are kept; beyond this they are computed again when needed."""


def real_target(learner: Learner, texts: list[TextInput], label: int, config: GradientMatchingConfig) -> Tensor:
    """What synthetic texts of a class are to match: the real texts' gradient, or the mean of their features [d]."""
    if config.objective == "distribution":
        return learner.head_view(texts).inputs.mean(0)
    return real_gradient(learner, texts, label, config.scope)


def real_gradient(learner: Learner, texts: list[TextInput], label: int, scope: str) -> Tensor:
    """Mean gradient of the learner's loss on texts of one class: [c, d+1] for a linear head, else flat [p]."""
    labels = torch.full((len(texts),), label, device=learner.device)
    if scope == "head" and learner.has_linear_head:
        view = learner.head_view(texts)
        weights = torch.full((len(texts),), 1 / len(texts), dtype=view.inputs.dtype, device=learner.device)
        return linear_head_gradient(view.inputs, residuals(view.logits, labels), weights)
    parameters = matched_parameters(learner, scope)
    total = torch.zeros(sum(p.numel() for p in parameters.values()), dtype=learner.model.dtype, device=learner.device)
    for start in range(0, len(texts), 64):
        part = texts[start : start + 64]
        with _losses(learner, part, labels[: len(part)], scope) as losses:
            total += mean_gradient(losses, parameters, torch.full_like(total[: len(part)], 1 / len(texts)))
    return total


def head_gradient(learner: Learner, loss: Tensor) -> Tensor:
    """Gradient of a loss with respect to the head, flat and differentiable, in the order of `real_gradient`.

    Only the head's gradient needs a graph: the encoder is passed through backwards once.
    """
    parameters = learner.head_parameters()
    gradients = torch.autograd.grad(loss, list(parameters.values()), create_graph=True)
    if learner.has_linear_head:
        by_name = dict(zip(parameters, gradients, strict=True))
        weight, bias = (next(g for name, g in by_name.items() if name.endswith(end)) for end in ("weight", "bias"))
        return torch.cat([weight, bias[:, None]], dim=1).flatten()
    return torch.cat([g.flatten() for g in gradients])


def match_class(
    learner: Learner, texts: list[TextInput], label: int, nll: Tensor, real: Tensor, config: GradientMatchingConfig
) -> Match:
    """Loss and coefficients of one class's synthetic texts at the learner's present weights."""
    scope, temperature = config.scope, config.temperature
    if config.objective == "distribution":
        inputs = learner.head_view(texts).inputs
        return match_means(nll.detach().to(inputs.dtype), inputs, real, temperature)
    labels = torch.full((len(texts),), label, device=learner.device)
    if scope == "head" and learner.has_linear_head:
        view = learner.head_view(texts)
        nll = nll.detach().to(view.inputs.dtype)
        return match_linear_head(nll, view.inputs, residuals(view.logits, labels), real, temperature)
    with _losses(learner, texts, labels, scope) as losses:
        nll = nll.detach().to(learner.model.dtype)
        return match_any_parameters(nll, losses, matched_parameters(learner, scope), real, temperature)


def matched_parameters(learner: Learner, scope: str) -> dict[str, Tensor]:
    """Named parameters whose gradients are matched: those of the head, or all."""
    return dict(learner.head_parameters() if scope == "head" else learner.model.named_parameters())


@contextlib.contextmanager
def _losses(learner: Learner, texts: list[TextInput], labels: Tensor, scope: str) -> Iterator[Losses]:
    """The learner's losses on texts as a function of the matched parameters."""
    batch = learner.collate(learner.encode(texts))
    with learner.frozen_encoder(batch) if scope == "head" else contextlib.nullcontext():
        yield lambda parameters: learner.losses(parameters, batch, labels)


class Trajectory:
    """A learner on its way: fresh at first, then trained `learner_steps` steps on real texts between two points."""

    def __init__(self, task: Task, learner: Learner, config: GradientMatchingConfig, seed: int):
        self.learner, self.config, self.seed = learner, config, seed
        self._batches = RealBatches(task, config.learner_batch_size, seed)

    def points(self) -> Iterator[int]:
        """Moves the learner from point to point and yields each one's number, `inner_steps` in all."""
        config = self.config
        self.learner.reinitialize(self.seed)
        steps = OptimizationConfig(
            learning_rate=config.learner_learning_rate,
            lr_scheduler_type="constant",
            max_steps=config.learner_steps * (config.inner_steps - 1),
        )
        batches = (self.learner.batch(*batch) for batch in self._batches)
        training = self.learner.train(batches, steps, seed=self.seed)
        yield 0
        for number in range(1, config.inner_steps):
            for _ in range(config.learner_steps):
                next(training)
            yield number


class FreshLearners:
    """The paper's way: every `inner_steps` steps a new trajectory; teacher gradients at the learner as it is."""

    def __init__(self, task: Task, learner: Learner, teachers: Teachers, config: GradientMatchingConfig, seed: int):
        self.task, self.learner, self.teachers, self.config, self.seed = task, learner, teachers, config, seed
        self._points: Iterator[int] = iter(())
        self._at = -1

    def move_to(self, step: int) -> None:
        """Put the learner where step `step` needs it."""
        outer, inner = divmod(step, self.config.inner_steps)
        if inner == 0 or self._at != step - 1:
            seed = derived_seed(self.seed, "trajectory", outer)
            self._points = Trajectory(self.task, self.learner, self.config, seed).points()
            for _ in range(inner):
                next(self._points)
        next(self._points)
        self._at = step

    def teacher_target(self, class_index: int, set_index: int) -> Tensor:
        texts = self.teachers.texts(class_index, set_index)
        return real_target(self.learner, texts, class_index, self.config)


class PooledLearners:
    """Snapshots of `trajectories` x `inner_steps` points in `folder`; each step draws one."""

    def __init__(
        self,
        task: Task,
        learner: Learner,
        teachers: Teachers,
        config: GradientMatchingConfig,
        seed: int,
        folder: Path,
    ):
        self.task, self.learner, self.teachers, self.config, self.seed = task, learner, teachers, config, seed
        self.folder = folder
        self.size = config.trajectories * config.inner_steps
        self._at = -1
        self._gradients: dict[tuple[int, int, int], Tensor] = {}
        self._cached_bytes = 0

    def build(self) -> Iterator[int]:
        """Make the snapshots that are missing, one trajectory after the other; yields how many are there.

        Several processes share the trajectories.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        for number in own_share(range(self.config.trajectories)):
            first = number * self.config.inner_steps
            paths = [self._path(first + p) for p in range(self.config.inner_steps)]
            if not all(path.exists() for path in paths):
                seed = derived_seed(self.seed, "trajectory", number)
                for point in Trajectory(self.task, self.learner, self.config, seed).points():
                    self._save(paths[point])
                    yield first + point + 1
        process_state().wait_for_everyone()

    def _path(self, snapshot: int) -> Path:
        return self.folder / f"snapshot_{snapshot}.safetensors"

    def _save(self, path: Path) -> None:
        state = {
            name: (value.to(torch.bfloat16) if value.is_floating_point() else value).contiguous().cpu()
            for name, value in self.learner.model.state_dict().items()
        }
        with whole_file(path) as partial:
            save_file(state, partial)

    def move_to(self, step: int) -> None:
        """Put the learner at a random snapshot, the same one whenever the step is asked for."""
        random = np.random.default_rng(derived_seed(self.seed, "snapshot", step))
        snapshot = int(random.integers(self.size))
        if snapshot != self._at:
            self.learner.model.load_state_dict(load_file(self._path(snapshot)))
            self._at = snapshot

    def teacher_target(self, class_index: int, set_index: int) -> Tensor:
        key = (self._at, class_index, set_index)
        if key in self._gradients:
            return self._gradients[key]
        texts = self.teachers.texts(class_index, set_index)
        gradient = real_target(self.learner, texts, class_index, self.config)
        size = gradient.numel() * gradient.element_size()
        if self._cached_bytes + size <= GRADIENT_CACHE_BYTES:
            self._gradients[key] = gradient
            self._cached_bytes += size
        return gradient

"""What the stages of a run share: task, configuration, folder, seeds, times, and where progress is told."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate.tracking import GeneralTracker
from safetensors.torch import load_file, save_file

from .config import DistillConfig
from .durable import whole_file, write_json
from .evaluation.learners import make_learners
from .evaluation.protocol import Evaluator
from .evaluation.training_sets import method_name
from .models.compute import default_device, derived_seed, native_bf16, peak_memory, release_memory
from .models.generator import Generator
from .models.learner import Learner
from .models.offline import OFFLINE
from .models.processes import process_state
from .progress import Reporter
from .task import Task
from .training.checkpoints import Checkpoints

T = TypeVar("T")

TOKENIZER_TEXTS = 500_000
"""Training texts at most, give or take a thousand, from which the offline generator's tokenizer is made."""


class Workspace:
    """One run at work. Every stage leaves its result in the folder; a stage that finds it there is not run again."""

    def __init__(self, task: Task, config: DistillConfig, folder: Path, reporter: Reporter):
        self.task, self.config, self.folder, self.reporter = task, config, folder, reporter
        self.checkpoints = folder / "checkpoints"
        self.device = process_state().device or default_device()
        self.bf16 = native_bf16(self.device) if config.bf16 is None else config.bf16
        self.processes = process_state()
        self.trackers: Sequence[GeneralTracker] = ()
        """The experiment trackers that are open."""

    def seed(self, *names: object) -> int:
        """The seed for what is named."""
        return derived_seed(self.config.seed, *names)

    def read(self, name: str, default: Any = None) -> Any:
        """A JSON note of an earlier stage."""
        path = self.checkpoints / f"{name}.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else default

    def write(self, name: str, value: Any) -> None:
        """Keep a JSON note; the first process does, for all."""
        if self.processes.is_main_process:
            write_json(self.checkpoints / f"{name}.json", value)

    def stage_checkpoints(self, stage: str) -> Checkpoints:
        """The checkpoints inside a training stage."""
        config, folder = self.config, self.checkpoints / f"{stage}_steps"
        return Checkpoints(folder, config.save_steps, config.save_total_limit, self.reporter.say)

    def has(self, path: Path) -> bool:
        """Whether something is there: no process goes on, to make it perhaps, before all have looked."""
        found = path.exists()
        self.processes.wait_for_everyone()
        return found

    def first(self, stage: Callable[[], T]) -> T | None:
        """Let the first process do it while the others wait; they get None."""
        result = stage() if self.processes.is_main_process else None
        self.processes.wait_for_everyone()
        return result

    @contextlib.contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Adds the block's wall time to the run's times, and notes the peak of memory, also when it is interrupted."""
        start = time.monotonic()
        try:
            yield
        finally:
            times = self.read("seconds", {})
            times[stage] = round(times.get(stage, 0) + time.monotonic() - start, 1)
            self.write("seconds", times)
            peaks = self.read("peak_memory", {})
            now, before = peak_memory(), peaks.get(stage, {})
            peaks[stage] = {kind: max(value, before.get(kind, 0)) for kind, value in now.items()}
            self.write("peak_memory", peaks)
        release_memory()

    @property
    def method(self) -> str:
        """The name of the run's sets in the results: without stage 2 they are the paper's vanilla LM."""
        return method_name(dataclasses.asdict(self.config)) or ""

    def evaluator(self, learner: Learner) -> Evaluator:
        """The protocol with the run's learners; a kind alone, as in `probe`, means the run's own learner."""
        config, names = self.config, self.config.evaluation.learners
        learners = make_learners(
            [name if ":" in name or name == "tfidf" else f"{name}:{config.learner}" for name in names],
            self.task,
            config.evaluation,
            max_length=config.learner_max_length,
            bf16=self.bf16,
            device=self.device,
            loaded={config.learner: learner},
        )
        return Evaluator(self.task, learners, config.evaluation)

    # -- models ------------------------------------------------------------------------------------------------

    def learner(self) -> Learner:
        """The learner, fresh."""
        config = self.config
        return Learner.from_pretrained(
            config.learner,
            self.task.num_classes,
            max_length=config.learner_max_length,
            bf16=self.bf16,
            device=self.device,
            seed=config.seed,
        )

    def generator(self, source: str | Path) -> Generator:
        """A generator from a folder or the Hub; `offline` is made from the task's own texts."""
        kwargs: dict[str, Any] = {
            "max_length": self.config.generator_max_length,
            "bf16": self.bf16,
            "device": self.device,
            "seed": self.seed("generator"),
        }
        if source == OFFLINE:
            return Generator.from_texts(self._some_texts(), self.task.num_classes, **kwargs)
        return Generator.from_pretrained(str(source), self.task.num_classes, **kwargs)

    def _some_texts(self) -> Iterator[str]:
        """Training texts, both sides of a pair, without holding them all; of a large dataset an even share."""
        starts = range(0, len(self.task.train), 1000)
        for start in starts[:: -(-len(starts) * 1000 // TOKENIZER_TEXTS)]:
            rows = self.task.train[start : start + 1000]
            yield from rows["text"]
            yield from rows.get("text_pair", ())

    @property
    def judge_path(self) -> Path:
        return self.checkpoints / "full_data.safetensors"

    def keep_judge(self, learner: Learner) -> None:
        """Store the learner as the full-data classifier."""
        weights = learner.model.state_dict().items()
        with whole_file(self.judge_path) as partial:
            save_file(
                {name: value.cpu().clone(memory_format=torch.contiguous_format) for name, value in weights}, partial
            )

    def become_judge(self, learner: Learner) -> None:
        """Make the learner the full-data classifier again."""
        learner.model.load_state_dict(load_file(self.judge_path))

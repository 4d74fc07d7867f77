"""Stage 2: the generator learns to write texts whose gradients match those of real texts (section 3.2).

every refresh_steps: write texts of some classes, cluster them
every step:          learner to its next point; for each class a mini-batch of written texts, their losses l,
                     the coefficients k = dL/dl (matching_loss.py), then one step along sum_i k_i grad l_i
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from ..config import GradientMatchingConfig
from ..errors import GenerationError
from ..models.batching import runs_within
from ..models.compute import derived_seed, make_optimizer
from ..models.generator import Generator
from ..models.learner import Learner
from ..models.processes import gathered, gathered_rows, of_the_first, own_share, process_state, sum_gradients
from ..task import Task, TextInput
from .checkpoints import Checkpoints, Progress, Training
from .learners import match_class, real_target
from .matching_loss import Match, cosine_and_slope
from .minibatches import DiverseBatches
from .straight_through import TokenEmbeddings, straight_through_gradient

NOTHING_WRITTEN = (
    "the generator wrote no usable text; start again with more --language-modeling.max-steps and "
    "--language-modeling.num-train-epochs (the first to come ends the stage), or with a longer "
    "--generator-max-length if the texts are long"
)

WRITING_BLOCK = 1024
"""Texts that one process writes in one go: what is written does not depend on the number of processes."""

YARDSTICKS = 20
"""Steps, at most, at which the cosine that real texts reach is measured too; evenly spread."""


class Learners(Protocol):
    """Where the learner is at each step, and the teacher gradients there."""

    learner: Learner

    def move_to(self, step: int) -> None: ...
    def teacher_target(self, class_index: int, set_index: int) -> Tensor: ...


class WrittenClass(NamedTuple):
    """The texts that the generator wrote for one class at the last refresh."""

    texts: list[TextInput]
    encoded: list[list[int]]
    batches: DiverseBatches


class WrittenTexts:
    """The synthetic texts in use: written anew at every refresh, for at most `max_classes` classes at a time."""

    def __init__(
        self,
        generator: Generator,
        learner: Learner,
        task: Task,
        config: GradientMatchingConfig,
        top_p: float,
        seed: int,
    ):
        self.generator, self.learner, self.task, self.config = generator, learner, task, config
        self.top_p, self.seed = top_p, seed
        self.classes: dict[int, WrittenClass] = {}
        self.rounds = math.ceil(task.num_classes / config.max_classes)
        # With many classes texts are written anew so often that every class has its turn, if there are steps enough.
        self.refresh_steps = max(1, min(config.refresh_steps, config.max_steps // self.rounds))

    def class_subset(self, refresh: int) -> list[int]:
        """The classes of one refresh: all, or the next ones of a random order that is drawn anew when used up."""
        round_, place = divmod(refresh, self.rounds)
        order = np.random.default_rng(derived_seed(self.seed, "classes", round_)).permutation(self.task.num_classes)
        # Parts of equal size, or one class more: all are trained on for as long, and share a step's weight.
        return sorted(np.array_split(order, self.rounds)[place].tolist())

    def refresh(self, number: int) -> None:
        """Write, and cluster by the features of the learner as it is now."""
        config, classes = self.config, self.class_subset(number)
        labels = [c for c in classes for _ in range(config.generated_texts)]
        seed = derived_seed(self.seed, "written", number)
        blocks = [(start, labels[start : start + WRITING_BLOCK]) for start in range(0, len(labels), WRITING_BLOCK)]
        own = [
            self.generator.write(
                block, pairs=self.task.has_pairs, top_p=self.top_p, seed=derived_seed(seed, "block", start)
            )
            for start, block in own_share(blocks)
        ]
        written: dict[int, list[TextInput]] = {c: [] for c in classes}
        texts = [text for block in gathered(own, len(blocks)) for text in block]
        for label, text in zip(labels, texts, strict=True):
            if text is not None:
                written[label].append(text)
        self.arrange(written, number)

    def arrange(self, written: dict[int, list[TextInput]], number: int) -> None:
        """Put the texts that were written at a refresh, by class, into mini-batches."""
        config, seed = self.config, derived_seed(self.seed, "written", number)
        self.classes = {}
        for c, texts in written.items():
            if not texts:
                continue
            features = None
            if config.minibatches == "diverse":  # to the last bit the same clusters in all processes
                features = of_the_first(self.learner.features(texts))
            batches = DiverseBatches(len(texts), config.batch_size, derived_seed(seed, c), features)
            self.classes[c] = WrittenClass(texts, self.generator.encode(texts, [c] * len(texts)), batches)

    def texts(self) -> list[tuple[int, list[TextInput]]]:
        """Class and texts of all that is in use, for a checkpoint."""
        return [(c, members.texts) for c, members in self.classes.items()]

    def go_on(self, learners: Learners, texts: list[tuple[int, list[Any]]], done: int) -> None:
        """Be again what it was after `done` steps: the same texts, clustered by the same learner, as many drawn."""
        number, drawn = divmod(done, self.refresh_steps)
        if drawn:
            learners.move_to(done - drawn)
            self.arrange({c: [t if isinstance(t, str) else (t[0], t[1]) for t in found] for c, found in texts}, number)
            for members in self.classes.values():
                for _ in range(drawn):
                    members.batches.draw()


def generator_gradient(
    generator: Generator, encoded: list[list[int]], micro_batch_size: int, coefficients_of: CoefficientsOf
) -> Match:
    """Add sum_i k_i grad l_i to the generator's gradients, in micro-batches; the same result for any size of them.

    A micro-batch has at most `micro_batch_size` texts, and fewer where they are long.

    Of several processes each takes its share of the texts, and leaves its part of the sum in the gradients: the losses
    are gathered, so that the softmax spans all texts.
    """
    own, most = own_share(encoded), generator.tokens_at_once
    parts = [
        chunk[run]
        for chunk in (own[i : i + micro_batch_size] for i in range(0, len(own), micro_batch_size))
        for run in runs_within([len(text) for text in chunk], most)
    ]
    if len(parts) == 1 and process_state().num_processes == 1:
        nll = generator.nll(encoded)
        match = coefficients_of(nll.detach())
        (match.coefficients.to(nll) * nll).sum().backward()
        return match
    # The softmax needs all losses before any coefficient: a first pass without a graph bounds the memory.
    with torch.no_grad():
        nll = torch.cat([generator.nll(part) for part in parts] or [torch.zeros(0, device=generator.device)])
        match = coefficients_of(gathered_rows(nll, len(encoded)))
    own_coefficients = match.coefficients[process_state().process_index :: process_state().num_processes]
    for part, coefficients in zip(parts, own_coefficients.split([len(part) for part in parts]), strict=True):
        nll = generator.nll(part)
        (coefficients.to(nll) * nll).sum().backward()
    return match


class CoefficientsOf(Protocol):
    """Maps the texts' losses to L and k."""

    def __call__(self, nll: Tensor) -> Match: ...


def match_gradients(
    generator: Generator,
    learners: Learners,
    task: Task,
    config: GradientMatchingConfig,
    *,
    top_p: float,
    seed: int,
    real_texts: list[list[TextInput]],
    checkpoints: Checkpoints | None = None,
) -> Iterator[dict[str, float]]:
    """Train the generator; yields loss, cosine and gradient norm of every step.

    `real_texts` are held-out texts by class, from which the cosine that real texts reach is measured as a yardstick
    ("real_cosine", at some steps: each meets another learner, and the cosine depends on it). A step whose gradient is
    not finite is left out and yields "skipped". Dropout is off throughout: the coefficients belong to the very losses
    that are stepped along. With checkpoints it goes on from the last one, after yielding the records of the steps
    before it.
    """
    generator.model.eval()
    optimizer, scheduler = make_optimizer(list(generator.model.parameters()), config, config.max_steps)
    tokens = TokenEmbeddings(generator, learners.learner) if config.objective == "gumbel" else None
    written = WrittenTexts(generator, learners.learner, task, config, top_p, seed)
    training = Training(generator.model, optimizer, scheduler)
    done, history, texts_of = checkpoints.restore(training) if checkpoints else Progress(0, [], None)
    yield from tuple(history)
    if done:
        written.go_on(learners, texts_of, done)
    for step in range(done, config.max_steps):
        learners.move_to(step)
        if step % written.refresh_steps == 0:
            written.refresh(step // written.refresh_steps)
            if not written.classes:
                raise GenerationError(NOTHING_WRITTEN)
        random = np.random.default_rng(derived_seed(seed, "teacher set", step))
        matches = []
        for c in written.classes:
            real = learners.teacher_target(c, int(random.integers(config.teacher_sets)))
            noise = derived_seed(seed, "gumbel", step, c)
            matches.append(_class_gradient(written, c, learners.learner, real, tokens, noise))
        sum_gradients(generator.model.parameters())
        norm = float(nn.utils.clip_grad_norm_(generator.model.parameters(), config.max_grad_norm))
        record = {
            "loss": float(np.mean([m.loss for m in matches])),
            "cosine": float(np.mean([m.cosine for m in matches])),
            "grad_norm": norm,
        }
        if math.isfinite(norm):
            optimizer.step()
            scheduler.step()
        else:
            record["skipped"] = 1.0
        optimizer.zero_grad(set_to_none=True)
        if step % math.ceil(config.max_steps / YARDSTICKS) == 0:
            held_out = [c for c in written.classes if real_texts[c]]
            reached = [_real_cosine(learners, real_texts[c], c, config, random) for c in held_out]
            if reached:
                record["real_cosine"] = float(np.mean(reached))
        history.append(record)
        if checkpoints:
            checkpoints.after_step(training, step + 1, history, written.texts)
        yield record


def _class_gradient(
    written: WrittenTexts, c: int, learner: Learner, real: Tensor, tokens: TokenEmbeddings | None, noise: int
) -> Match:
    """Draw a mini-batch of one class and add the class's share of the gradient to the generator's.

    With `tokens` by straight-through Gumbel softmax, whose noise has the seed `noise`.
    """
    generator, config, classes = written.generator, written.config, len(written.classes)
    texts, encoded, batches = written.classes[c]
    rows = batches.draw()
    batch, chosen = [texts[i] for i in rows], [encoded[i] for i in rows]
    if tokens is not None:
        share = 1 / classes / process_state().num_processes  # every process computes the whole
        return straight_through_gradient(generator, learner, tokens, chosen, c, real, config, share, noise)

    def coefficients_of(nll: Tensor) -> Match:
        match = match_class(learner, batch, c, nll, real, config)
        return match._replace(coefficients=match.coefficients / classes)

    return generator_gradient(generator, chosen, config.micro_batch_size, coefficients_of)


def _real_cosine(
    learners: Learners, texts: list[TextInput], c: int, config: GradientMatchingConfig, random: np.random.Generator
) -> float:
    """Cosine between a teacher gradient and that of as many held-out real texts as a mini-batch has."""
    sample = [texts[i] for i in random.permutation(len(texts))[: config.batch_size]]
    teacher = learners.teacher_target(c, int(random.integers(config.teacher_sets)))
    real = real_target(learners.learner, sample, c, config)
    return cosine_and_slope(teacher.flatten(), real.flatten())[0]

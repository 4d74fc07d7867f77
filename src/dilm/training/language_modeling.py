"""Stage 1: the generator learns the task's language, each text after its class token (section 3.1)."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from ..config import LanguageModelingConfig
from ..models.batching import runs_within
from ..models.compute import RandomStream, make_optimizer
from ..models.generator import Generator
from ..models.processes import own_share, sum_gradients
from ..task import Task
from .checkpoints import Checkpoints, Progress, Training
from .minibatches import RealBatches, training_steps

MIN_STEPS = 300
"""A generator needs that many updates before it writes words, however few the texts; max_steps can still be less."""


def num_steps(task: Task, config: LanguageModelingConfig) -> int:
    """Steps of stage 1: num_train_epochs or max_steps, whichever comes first; MIN_STEPS on a small dataset."""
    return training_steps(task, config.batch_size, config.num_train_epochs, MIN_STEPS, config.max_steps)


def learn_language(
    generator: Generator,
    task: Task,
    config: LanguageModelingConfig,
    seed: int,
    checkpoints: Checkpoints | None = None,
) -> Iterator[dict[str, float]]:
    """Train the generator; yields {"loss": nats per token} after every step.

    With checkpoints it goes on from the last one, after yielding the records of the steps before it.
    Several processes share each batch: the loss is over the tokens of all. Only dropout tells them from one process,
    because each drops out its own texts.
    """
    max_steps = num_steps(task, config)
    optimizer, scheduler = make_optimizer(list(generator.model.parameters()), config, max_steps)
    dropout = RandomStream(seed)
    training = Training(generator.model, optimizer, scheduler, dropout)
    done, history, _ = checkpoints.restore(training) if checkpoints else Progress(0, [], None)
    yield from tuple(history)
    batches = RealBatches(task, config.batch_size, seed).after(done)
    for step, (texts, labels) in zip(range(done + 1, max_steps + 1), batches, strict=False):
        generator.model.train()
        encoded = generator.encode(texts, labels)
        tokens = sum(len(text) - 1 for text in encoded)
        loss = torch.zeros((), device=generator.device)
        own = own_share(encoded)
        for run in runs_within([len(text) for text in own], generator.tokens_at_once):
            with dropout:
                part = generator.token_losses(own[run])[0].sum() / tokens
            part.backward()
            loss += part.detach()
        sum_gradients(generator.model.parameters(), loss)
        nn.utils.clip_grad_norm_(generator.model.parameters(), config.max_grad_norm)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad(set_to_none=True)
        generator.model.eval()
        history.append({"loss": float(loss)})
        if checkpoints:
            checkpoints.after_step(training, step, history)
        yield history[-1]


def bits_per_character(generator: Generator, task: Task, split: str, max_texts: int = 500) -> float:
    """-log2 p of the texts of a split, end token included, over their characters: comparable between tokenizers."""
    rows = np.random.default_rng(0).permutation(len(task.labels(split)))[:max_texts]
    texts, labels = task.texts(split, rows), task.labels(split)[rows].tolist()
    encoded = generator.encode(texts, labels)
    # Score only what the generator reads: a text that is cut counts with the characters of its tokens.
    nats = float((generator.score(texts, labels).numpy() * np.array([len(e) - 1 for e in encoded])).sum())
    characters = sum(len(part) for e in encoded for part in generator.texts_of(e[1:-1]))
    return nats / math.log(2) / max(characters, 1)

"""Embedding-level distillation (TDD): the same gradient matching, but what is learned are a few texts' word embeddings.

    X [c * k, l, d]: starts at real texts; for every class  L = 1 - cos(g_real, g_syn(X)),  g_syn = gradient of the mean
    loss on the class's rows of X, with respect to the learner's head

Such sets are no texts and fit only the learner they were made with: an upper bound for what texts can teach it.
Replacing every embedding by that of the nearest word gives texts again (TDD text), at the price of most of the gain.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..config import GradientMatchingConfig
from ..durable import whole_file
from ..errors import InputError
from ..models.compute import derived_seed
from ..models.learner import Learner
from ..task import Task, TextInput
from .learners import PooledLearners, head_gradient

LEARNING_RATE = 0.1
"""Of Adam, in units of the spread of the learner's word embeddings."""


@dataclass(frozen=True)
class EmbeddedSet:
    """Learned inputs: embeddings [n, l, d], mask [n, l] (1 where there is a word), labels [n]."""

    embeddings: Tensor
    mask: Tensor
    labels: Tensor

    def inputs(self, device: torch.device) -> dict[str, Tensor]:
        """What a model takes in place of token ids."""
        return {"inputs_embeds": self.embeddings.to(device), "attention_mask": self.mask.to(device)}

    def batch(self, rows: list[int], device: torch.device) -> tuple[dict[str, Tensor], Tensor]:
        """The inputs of some rows, and their labels."""
        chosen = EmbeddedSet(self.embeddings[rows], self.mask[rows], self.labels[rows])
        return chosen.inputs(device), chosen.labels.to(device)

    def save(self, path: Path) -> None:
        """As safetensors, whole or not at all."""
        tensors = {"embeddings": self.embeddings, "mask": self.mask, "labels": self.labels}
        with whole_file(path) as partial:
            save_file({name: value.contiguous() for name, value in tensors.items()}, partial)

    @classmethod
    def load(cls, path: Path) -> EmbeddedSet:
        """What `save` wrote; InputError for anything else."""
        try:
            learned = cls(**load_file(path))
            whole = learned.embeddings.ndim == 3 and learned.mask.shape == learned.embeddings.shape[:2]
            if not whole or learned.labels.shape != learned.mask.shape[:1] or learned.labels.is_floating_point():
                raise TypeError("its tensors do not fit together")
        except (OSError, TypeError, SafetensorError) as error:
            raise InputError(f"{path} holds no learned embeddings: {' '.join(str(error).split())}") from None
        return learned


def distill_embeddings(
    learners: PooledLearners, task: Task, config: GradientMatchingConfig, dpc: int, seed: int
) -> Iterator[EmbeddedSet]:
    """Learn one set of `dpc` inputs per class for config.max_steps; yields it as it is after every step."""
    learner = learners.learner
    texts, labels = _start(task, dpc, seed)
    inputs = learner.collate(learner.encode(texts))
    words = learner.word_embeddings()
    mask = inputs["attention_mask"]
    embeddings = words[inputs["input_ids"]].clone().requires_grad_()
    optimizer = torch.optim.Adam([embeddings], lr=LEARNING_RATE * float(words.std()))
    targets = torch.tensor(labels, device=learner.device)
    for step in range(config.max_steps):
        learners.move_to(step)
        random = np.random.default_rng(derived_seed(seed, "teacher set", step))
        embeddings.grad = torch.zeros_like(embeddings)
        for c in range(task.num_classes):  # one by one: the loss is their mean, so memory need not grow with them
            own = embeddings.detach()[targets == c].requires_grad_()
            logits = learner.model(inputs_embeds=own, attention_mask=mask[targets == c]).logits.float()
            found = head_gradient(learner, torch.nn.functional.cross_entropy(logits, targets[targets == c]))
            real = learners.teacher_target(c, int(random.integers(config.teacher_sets)))
            loss = 1 - torch.cosine_similarity(found, real.flatten(), dim=0)
            (embeddings.grad[targets == c],) = torch.autograd.grad(loss / task.num_classes, [own])
        optimizer.step()
        yield EmbeddedSet(embeddings.detach().cpu().clone(), mask.cpu(), targets.cpu())


def _start(task: Task, dpc: int, seed: int) -> tuple[list[TextInput], list[int]]:
    """Random real texts, class by class."""
    random, labels = np.random.default_rng(seed), task.labels("train")
    rows = np.concatenate([random.permutation(np.flatnonzero(labels == c))[:dpc] for c in range(task.num_classes)])
    return task.texts("train", rows), labels[rows].tolist()


def nearest_texts(learner: Learner, learned: EmbeddedSet) -> list[str]:
    """TDD text: every embedding replaced by the nearest word's; control tokens are no words."""
    words = learner.word_embeddings().clone()
    special = torch.tensor(sorted(set(learner.tokenizer.all_special_ids)), device=words.device)
    norms = (words**2).sum(1)
    norms[special] = torch.inf
    # Where control tokens stand: first and last in BERT, the last two in XLNet.
    control: Any = learner.tokenizer("a", return_special_tokens_mask=True)["special_tokens_mask"]
    before, after = control.index(0), control[::-1].index(0)
    texts = []
    for embeddings, mask in zip(learned.embeddings, learned.mask, strict=True):
        own = embeddings[mask.bool()].to(words.device)
        own = own[before : len(own) - after]
        ids = (norms - 2 * own @ words.T).argmin(1).tolist()
        texts.append(str(learner.tokenizer.decode(ids)).strip() or str(learner.tokenizer.decode(int(norms.argmin()))))
    return texts

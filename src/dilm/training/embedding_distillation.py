"""Embedding-level distillation (TDD): the same gradient matching, but what is learned are a few texts' word embeddings.

    X [c * k, l, d]: starts at real texts; for every class  L = 1 - cos(g_real, g_syn(X)),  g_syn = gradient of the mean
    loss on the class's rows of X, with respect to the learner's head

Such sets are no texts and fit only the learner they were made with; the paper has them as an upper bound for what texts
can teach it. Replacing every embedding by that of the nearest word gives texts again (TDD text), at the price of most
of the gain.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

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
    """Learned inputs: embeddings [n, l, d], mask [n, l] (1 where there is a word), labels [n]; token types [n, l] where
    the tokenizer tells so which text of a pair a word is of."""

    embeddings: Tensor
    mask: Tensor
    labels: Tensor
    token_types: Tensor | None = None

    def batch(self, rows: Tensor | list[int], device: torch.device) -> tuple[dict[str, Tensor], Tensor]:
        """What a model takes in place of the token ids of some rows, and their labels."""
        inputs = {"inputs_embeds": self.embeddings[rows], "attention_mask": self.mask[rows]}
        if self.token_types is not None:
            inputs["token_type_ids"] = self.token_types[rows]
        return {name: value.to(device) for name, value in inputs.items()}, self.labels[rows].to(device)

    def save(self, path: Path) -> None:
        """As safetensors, whole or not at all."""
        tensors = {name: value.contiguous() for name, value in vars(self).items() if value is not None}
        with whole_file(path) as partial:
            save_file(tensors, partial)

    @classmethod
    def load(cls, path: Path) -> EmbeddedSet:
        """What `save` wrote; InputError for anything else."""
        try:
            learned = cls(**load_file(path))
            whole = learned.embeddings.ndim == 3 and learned.mask.shape == learned.embeddings.shape[:2]
            types = learned.token_types
            whole &= types is None or (types.shape == learned.mask.shape and types.dtype == torch.long)
            if not whole or learned.labels.shape != learned.mask.shape[:1] or learned.labels.is_floating_point():
                raise TypeError("its tensors do not fit together")
        except (OSError, TypeError, SafetensorError) as error:
            raise InputError(f"{path} holds no learned embeddings: {' '.join(str(error).split())}") from None
        return learned


def starting_texts(task: Task, dpc: int, seed: int) -> tuple[list[TextInput], list[int]]:
    """Random real texts or pairs, class by class, `dpc` of each, and their labels."""
    random, labels = np.random.default_rng(seed), task.labels("train")
    rows = np.concatenate([random.permutation(np.flatnonzero(labels == c))[:dpc] for c in range(task.num_classes)])
    return task.texts("train", rows), labels[rows].tolist()


def distill_embeddings(
    learners: PooledLearners, texts: list[TextInput], labels: list[int], config: GradientMatchingConfig, seed: int
) -> Iterator[EmbeddedSet]:
    """Learn one set for config.max_steps, starting at these texts; yields it as it is after every step."""
    learner = learners.learner
    inputs, targets = learner.collate(learner.encode(texts)), torch.tensor(labels, device=learner.device)
    words, mask, types = learner.word_embeddings(), inputs["attention_mask"], inputs.get("token_type_ids")
    embeddings = words[inputs["input_ids"]].clone().requires_grad_()
    optimizer = torch.optim.Adam([embeddings], lr=LEARNING_RATE * float(words.std()))
    learned = EmbeddedSet(embeddings.detach(), mask, targets, types)  # shares what the optimiser changes
    for step in range(config.max_steps):
        learners.move_to(step)
        random = np.random.default_rng(derived_seed(seed, "teacher set", step))
        embeddings.grad = torch.zeros_like(embeddings)
        for c in range(learner.num_classes):  # one by one: the loss is their mean, so memory need not grow with them
            rows = targets == c
            batch, own_targets = learned.batch(rows, learner.device)
            own = batch["inputs_embeds"].requires_grad_()
            loss = torch.nn.functional.cross_entropy(learner.model(**batch).logits.float(), own_targets)
            real = learners.teacher_target(c, int(random.integers(config.teacher_sets)))
            loss = 1 - torch.cosine_similarity(head_gradient(learner, loss), real.flatten(), dim=0)
            (embeddings.grad[rows],) = torch.autograd.grad(loss / learner.num_classes, [own])
        optimizer.step()
        own_types = None if types is None else types.cpu()
        yield EmbeddedSet(embeddings.detach().cpu().clone(), mask.cpu(), targets.cpu(), own_types)


def nearest_texts(learner: Learner, learned: EmbeddedSet, texts: list[TextInput]) -> list[TextInput]:
    """TDD text: every embedding replaced by the nearest word's. Control tokens are no words; `texts`, at which the
    embeddings started, tell where they stand and where a pair's second text begins."""
    words = learner.word_embeddings().clone()
    special = torch.tensor(sorted(set(learner.tokenizer.all_special_ids)), device=words.device)
    norms = (words**2).sum(1)
    norms[special] = torch.inf
    found: list[TextInput] = []
    for text, segments, embeddings, mask in zip(
        texts, learner.segments(texts), learned.embeddings, learned.mask, strict=True
    ):
        ids = (norms - 2 * embeddings[mask.bool()].to(words.device) @ words.T).argmin(1).tolist()
        parts = []
        for part in (1,) if isinstance(text, str) else (1, 2):
            own = [i for i, segment in zip(ids, segments, strict=True) if segment == part]
            decoded = str(learner.tokenizer.decode(own)).strip()
            parts.append(decoded or str(learner.tokenizer.decode(int(norms.argmin()))))
        found.append(parts[0] if isinstance(text, str) else (parts[0], parts[1]))
    return found

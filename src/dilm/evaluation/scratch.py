"""A small network trained from scratch on an encoder's word embeddings: a convolution over words (Kim 2014)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ..config import OptimizationConfig
from ..models.compute import make_optimizer, seeded
from ..models.learner import Batch, Learner
from .fine_tuning import optimization, shuffled_batches
from .training_sets import HeldOut, TrainingSet

RATE_FACTOR = 10
"""Of the learning rate, times the recipe's: nothing here is pretrained but the embeddings, which stay as they are."""
FILTERS = 32
"""Of each window size: enough for a few dozen texts, and a run takes half a second."""


Groups = list[tuple[Int[Tensor, "n l"], Float[Tensor, "n l"]]]
"""Of each group of texts the places of its words among the different ones, and 1 where there is a word."""


class Words(NamedTuple):
    """A batch of texts in groups of similar length, by the different words in it."""

    different: Float[Tensor, "w d"]
    """Their embeddings."""
    groups: Groups


class WordConvolution(nn.Module):
    """Windows of 1 to 3 words, the strongest response of each filter, dropout, a linear layer.

    A filter over a window is a sum of linear maps of its words, so one matrix product, over the different words of the
    texts, serves all windows.
    """

    WINDOWS = (1, 2, 3)

    def __init__(self, width: int, num_classes: int, filters: int):
        super().__init__()
        self.filters = filters
        self.words = nn.Linear(width, filters * sum(self.WINDOWS), bias=False)
        self.bias = nn.Parameter(torch.zeros(filters * len(self.WINDOWS)))
        self.output = nn.Sequential(nn.Dropout(0.5), nn.Linear(filters * len(self.WINDOWS), num_classes))

    def forward(self, batch: Words) -> Float[Tensor, "n c"]:
        # One look-up for all groups: the gradient of each would fill a matrix of all words.
        places = torch.cat([places.flatten() for places, _ in batch.groups])
        mapped = nn.functional.embedding(places, self.words(batch.different))
        shares = mapped.split([places.numel() for places, _ in batch.groups])
        responses = [
            self._responses(share.view(*mask.shape, -1) * mask[..., None])
            for share, (_, mask) in zip(shares, batch.groups, strict=True)
        ]
        return self.output((torch.cat(responses) + self.bias).relu())

    def _responses(self, mapped: Float[Tensor, "n l f"]) -> Float[Tensor, "n g"]:
        """The strongest response of each filter to each text."""
        maps = iter(mapped.split(self.filters, dim=2))
        strongest = []
        for size in self.WINDOWS:
            response = next(maps)
            for offset in range(1, size):
                response = response + nn.functional.pad(next(maps)[:, offset:], (0, 0, 0, offset))
            strongest.append(response.amax(1))
        return torch.cat(strongest, 1)


class Scratch:
    """Trains a `WordConvolution` on each set, with the recipe's steps and schedule."""

    seeded = True

    def __init__(self, name: str, learner: Learner, config: OptimizationConfig):
        self.name, self.learner = name, learner
        self.config = dataclasses.replace(config, learning_rate=RATE_FACTOR * config.learning_rate)
        self._read: WeakKeyDictionary[HeldOut, list[tuple[list[int], Tensor, Groups]]] = WeakKeyDictionary()
        words = learner.word_embeddings()
        self._words: Float[Tensor, "v d"] = words / words.std()

    @property
    def recipe(self) -> dict[str, Any]:
        network = f"windows {WordConvolution.WINDOWS}, {FILTERS} filters each"
        return {"model": self.learner.fingerprint, "network": network, **optimization(self.config)}

    def check(self, training_set: TrainingSet) -> None:
        """Any set will do."""

    def predict(self, training_set: TrainingSet, held_out: HeldOut, seed: int) -> Int[np.ndarray, " m"]:
        with seeded(seed):
            network = WordConvolution(self._words.shape[1], self.learner.num_classes, FILTERS).to(self._words.device)
            self._train(network, training_set, seed)
        network.eval()
        predictions = np.empty(len(held_out.texts), np.int64)
        with torch.inference_mode():
            for rows, ids, groups in self._batches(held_out):
                predictions[rows] = network(Words(self._words[ids], groups)).argmax(1).cpu().numpy()
        return predictions

    def _batches(self, held_out: HeldOut) -> list[tuple[list[int], Tensor, Groups]]:
        """Batches of the texts with their places, as numbers; they are read once for all runs."""
        if held_out not in self._read:
            batches = self.learner.padded_batches(held_out.texts, 256)
            self._read[held_out] = [(rows, *_by_words([batch])) for rows, batch in batches]
        return self._read[held_out]

    def _train(self, network: WordConvolution, training_set: TrainingSet, seed: int) -> None:
        encoded, targets = self.learner.encode(training_set.texts), training_set.targets
        batches = shuffled_batches(
            lambda rows: self.learner.padded_batch([encoded[i] for i in rows], [targets[i] for i in rows]),
            len(encoded),
            self.config.batch_size,
            seed,
        )
        optimizer, scheduler = make_optimizer(list(network.parameters()), self.config, self.config.max_steps)
        for _, (words, wanted) in zip(range(self.config.max_steps), self._prepared(batches), strict=False):
            nn.functional.cross_entropy(network(words), wanted).backward()
            nn.utils.clip_grad_norm_(network.parameters(), self.config.max_grad_norm)
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad(set_to_none=True)

    def _prepared(self, batches: Iterator[Batch]) -> Iterator[tuple[Words, Tensor]]:
        """Words and labels of each batch; a set that fits into one batch is the same batch always, and read once."""
        last: tuple[Batch, Words, Tensor] | None = None
        for batch in batches:
            if last is None or batch is not last[0]:
                ids, groups = _by_words([inputs for inputs, _ in batch])
                last = batch, Words(self._words[ids], groups), torch.cat([labels for _, labels in batch])
            yield last[1:]


def _by_words(batches: list[dict[str, Tensor]]) -> tuple[Tensor, Groups]:
    """The different words of padded texts as ids [w], and where each group has them."""
    ids = [batch["input_ids"] for batch in batches]
    different, places = torch.cat([i.flatten() for i in ids]).unique(return_inverse=True)
    shares = places.split([i.numel() for i in ids])
    masks = [batch["attention_mask"].float() for batch in batches]
    return different, [(p.view_as(m), m) for p, m in zip(shares, masks, strict=True)]

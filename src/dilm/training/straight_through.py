"""Straight-through Gumbel softmax in place of loss weights: the ablation of section 3.2's reason for those weights.

For each place of a written text the generator's softmax, with Gumbel noise, picks a token; forwards the learner sees
that token, backwards the softmax (Jang et al. 2017). Tokens are handed over as word embeddings: each generator token
stands for the mean of the learner's embeddings of its spelling, since the two do not share a vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..config import GradientMatchingConfig
from ..models.compute import seeded
from ..models.generator import Generator
from ..models.learner import Learner
from .learners import head_gradient
from .matching_loss import Match, cosine_and_slope


class TokenEmbeddings:
    """The learner's view of the generator's vocabulary."""

    def __init__(self, generator: Generator, learner: Learner):
        words = learner.word_embeddings()
        tokenizer: Any = learner.tokenizer
        rows = generator.model.get_output_embeddings().weight.shape[0]  # may be more than there are tokens
        self.table: Float[Tensor, "v d"] = torch.zeros(rows, words.shape[1], device=words.device)
        spellings = [str(generator.tokenizer.decode([i])) for i in range(len(generator.tokenizer))]
        encoded: Any = tokenizer(spellings, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        for place, ids in enumerate(encoded):
            if ids:
                self.table[place] = words[ids].mean(0)
        first, last = tokenizer.cls_token_id, tokenizer.sep_token_id
        if last is not None:
            self.table[generator.sep_id] = words[last]
        self.edges = tuple(None if i is None else words[i] for i in (first, last))
        self.room = learner.max_length - sum(edge is not None for edge in self.edges)

    def inputs(self, choices: Float[Tensor, "n l v"], mask: Float[Tensor, "n l"]) -> dict[str, Tensor]:
        """What the learner reads: control token, as many of the chosen tokens as it has room for, control token;
        padding on the right."""
        rows = []
        for choice, own in zip(choices, mask, strict=True):
            row = choice[own.bool()][: self.room] @ self.table
            first, last = self.edges
            parts = [*([first[None]] if first is not None else []), row, *([last[None]] if last is not None else [])]
            rows.append(torch.cat(parts))
        lengths = torch.tensor([len(row) for row in rows], device=mask.device)
        padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        attended = (torch.arange(padded.shape[1], device=mask.device)[None] < lengths[:, None]).long()
        return {"inputs_embeds": padded, "attention_mask": attended}


def straight_through_gradient(
    generator: Generator,
    learner: Learner,
    tokens: TokenEmbeddings,
    encoded: list[list[int]],
    label: int,
    real: Tensor,
    config: GradientMatchingConfig,
    share: float,
    seed: int,
) -> Match:
    """Add share * dL/dphi of one class to the generator's gradients; all texts count alike."""
    width = max(map(len, encoded)) - 1
    ids = torch.full((len(encoded), width), generator.eos_id, device=generator.device)
    mask = torch.zeros(len(encoded), width, device=generator.device)
    for place, row in enumerate(encoded):
        ids[place, : len(row) - 1] = torch.tensor(row[:-1], device=generator.device)
        mask[place, : len(row) - 2] = 1  # the end token is no word of the text
    logits = generator.model(input_ids=ids).logits.float()
    no_tokens = range(len(generator.tokenizer), logits.shape[2])
    banned = torch.tensor([generator.eos_id, *generator.class_ids, *no_tokens], device=generator.device)
    logits = logits.index_fill(2, banned, -torch.inf)
    with seeded(seed):
        choices = torch.nn.functional.gumbel_softmax(logits, tau=config.temperature, hard=True)
    learner_logits = learner.model(**tokens.inputs(choices, mask)).logits.float()
    labels = torch.full((len(encoded),), label, device=learner.device)
    loss = torch.nn.functional.cross_entropy(learner_logits, labels)
    found = head_gradient(learner, loss)
    matching = 1 - torch.cosine_similarity(found, real.flatten(), dim=0)
    parameters = [p for p in generator.model.parameters() if p.requires_grad]
    for parameter, gradient in zip(
        parameters, torch.autograd.grad(share * matching, parameters, allow_unused=True), strict=True
    ):
        if gradient is not None:
            parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
    cosine = cosine_and_slope(real.flatten(), found.detach())[0]
    return Match(float(matching.detach()), cosine, torch.zeros(len(encoded)))

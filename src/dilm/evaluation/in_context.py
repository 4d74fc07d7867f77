"""In-context learning: a causal LM reads the set as examples in its prompt and names the class of one more text."""

from __future__ import annotations

import copy
import hashlib
import itertools
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.special import logsumexp
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from ..errors import InputError
from ..models.batching import runs_within, tokens_at_once
from ..models.compute import autocast, default_device
from ..models.loading import load_pretrained, tokenizer_state
from ..prompts import example, layout, shuffled
from ..task import TextInput
from .training_sets import HeldOut, TrainingSet

QUERY_TOKENS = 32
"""Room that the prompt has to leave for the text in question; a longer text is cut."""
CONTENT_FREE = ("N/A", "", "[MASK]")
"""Texts without content, from which the calibration learns what the prompt alone makes likely (Zhao et al. 2021)."""
SAMPLED_WEIGHTS = 1024
"""Numbers, about, of every tensor by which a model is told from others: to read all of a large one takes long."""


def model_fingerprint(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> str:
    """32 hex digits of tokenizer and weights as they were loaded, wherever from; of the weights some, evenly spread."""
    digest = hashlib.blake2b(tokenizer_state(tokenizer).encode(), digest_size=16)
    for name, value in model.state_dict().items():
        flat = value.flatten()
        some = flat[:: max(1, len(flat) // SAMPLED_WEIGHTS)]
        digest.update(f"{name} {tuple(value.shape)}".encode() + some.contiguous().numpy().tobytes())
    return digest.hexdigest()


OTHER_STATES = ("conv_states", "recurrent_states")
"""Of a layer's cache, where it is not of attention alone."""


class InContext:
    """Examples in shuffled order, then a text; the class is the label name of highest probability after it.

    calibrated: divide the probabilities by those after texts without content (contextual calibration).
    """

    seeded = True

    def __init__(
        self,
        name: str,
        source: str,
        label_names: tuple[str, ...],
        *,
        calibrated: bool = False,
        bf16: bool = False,
        device: torch.device | None = None,
        batch_size: int = 16,
    ):
        self.name, self.calibrated, self.bf16, self.batch_size = name, calibrated, bf16, batch_size
        model, self.tokenizer = load_pretrained(AutoModelForCausalLM, source, "learner")
        self.fingerprint = model_fingerprint(model, self.tokenizer)
        self.model = model.to(device or default_device()).eval()
        self.label_names = label_names
        self.spelled = list(label_names)
        self.labels = [self._label_ids(label) for label in self.spelled]
        if any(a == b[: len(a)] for a, b in itertools.permutations(self.labels, 2)):
            # The longer name could never be the likelier one: as in the examples, a name has an end.
            self.spelled = [f"{label}\n\n" for label in label_names]
            self.labels = [self._label_ids(label) for label in self.spelled]
        if not all(self.labels):
            raise InputError(f"learner '{source}' has no tokens for a label name; give the classes other names")
        with torch.inference_mode():
            first = torch.tensor([self.labels[0][:1]], device=self.model.device)
            cache = getattr(self.model(first, use_cache=True), "past_key_values", None)
        if cache is None:
            raise InputError(f"learner '{source}' keeps no key-value cache, as a causal LM does; pass one that does")
        if any(hasattr(layer, name) for layer in getattr(cache, "layers", ()) for name in OTHER_STATES):
            # Some of them forget it when several tokens follow at once.
            raise InputError(
                f"learner '{source}' keeps convolutions or recurrences of a prompt beside keys and values; pass a "
                "causal LM with attention alone"
            )

    @property
    def recipe(self) -> dict[str, Any]:
        precision = {"bf16": self.bf16, "device": self.model.device.type}
        recipe = {"model": self.fingerprint, "calibrated": self.calibrated, "labels": self.spelled, **precision}
        if self.labels != [self._ids(f" {label}") for label in self.spelled]:
            recipe["label_tokens"] = self.labels  # rows of before were of the labels alone
        return recipe

    @property
    def context(self) -> int | None:
        """Tokens that the model can read at once; None without a limit."""
        positions = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        return positions if positions and positions > 0 else None

    def check(self, training_set: TrainingSet) -> None:
        """InputError if the examples leave too little of the context."""
        length = len(self._prompt(training_set, list(range(len(training_set.texts)))))
        if self.context is not None and self._room(length) < QUERY_TOKENS:
            raise InputError(
                f"{self.name}: the {len(training_set.texts)} texts of {training_set.method}, {training_set.dpc} per "
                f"class, make a prompt of {length} tokens, but the model reads {self.context} and needs "
                f"{QUERY_TOKENS} of them for the text in question; take smaller sets or a model with a longer context"
            )

    def predict(self, training_set: TrainingSet, held_out: HeldOut, seed: int) -> Int[np.ndarray, " m"]:
        prompt = self._prompt(training_set, shuffled(len(training_set.texts), seed))
        scores = self.log_probabilities(prompt, held_out.texts)
        if self.calibrated:
            pair = not isinstance(held_out.texts[0], str)
            empty: list[TextInput] = [(text, text) if pair else text for text in CONTENT_FREE]
            scores = scores - logsumexp(self.log_probabilities(prompt, empty), axis=0)  # but for a constant
        return scores.argmax(1)

    def log_probabilities(self, prompt: list[int], texts: list[TextInput]) -> Float[np.ndarray, "m c"]:
        """Log-probability of each label name (all of its tokens, and its end if one name begins another) after the
        prompt and each text."""
        room = None if self.context is None else self._room(len(prompt))
        queries = [self._query(text, room) for text in texts]
        order = sorted(range(len(texts)), key=lambda i: len(queries[i]))
        scores = np.empty((len(texts), len(self.labels)), np.float32)
        with torch.inference_mode(), autocast(self.model.device, self.bf16):
            cache = self.model(torch.tensor([prompt], device=self.model.device), use_cache=True).past_key_values
            for start in range(0, len(order), self.batch_size):
                batch = order[start : start + self.batch_size]
                for run in runs_within([len(queries[i]) for i in batch], tokens_at_once(self.model.device)):
                    scores[batch[run]] = self._score([queries[i] for i in batch[run]], cache).cpu().numpy()
        return scores

    def _score(self, queries: list[list[int]], cache: Any) -> Float[Tensor, "b c"]:
        if all(len(label) == 1 for label in self.labels):
            after = self._after(queries, cache)
            last = torch.stack([after[i, len(query) - 1] for i, query in enumerate(queries)])
            return last.float().log_softmax(-1)[:, [label[0] for label in self.labels]]
        columns = []
        for label in self.labels:
            after = self._after([query + label[:-1] for query in queries], cache)
            places = [torch.arange(len(query) - 1, len(query) - 1 + len(label)) for query in queries]
            spelled = [after[i, p].float().log_softmax(-1) for i, p in enumerate(places)]
            columns.append(torch.stack([own[torch.arange(len(label)), label].sum() for own in spelled]))
        return torch.stack(columns, 1)

    def _after(self, rows: list[list[int]], cache: Any) -> Float[Tensor, "b l v"]:
        """Logits of the next token at every place. Padding stands on the right, where no token sees it."""
        width = max(map(len, rows))
        ids = torch.tensor([row + [0] * (width - len(row)) for row in rows], device=self.model.device)
        repeated = copy.deepcopy(cache)
        repeated.batch_repeat_interleave(len(rows))
        return self.model(ids, past_key_values=repeated, use_cache=True).logits

    # -- the prompt --------------------------------------------------------------------------------------------

    def _prompt(self, training_set: TrainingSet, order: list[int]) -> list[int]:
        examples = [example(training_set.texts[i], self.label_names[training_set.labels[i]]) for i in order]
        start = [] if self.tokenizer.bos_token_id is None else [int(self.tokenizer.bos_token_id)]
        return start + [i for example in examples for i in self._ids(example)]

    def _query(self, text: TextInput, room: int | None) -> list[int]:
        """Tokens of the text in question up to where its label belongs; a long text is cut, the frame is kept.

        Of a pair the longer text is cut first, so that something is left of both.
        """
        ids = self._ids(layout(text))
        if room is None or len(ids) <= room:
            return ids
        parts = [self._ids(part) for part in ((text,) if isinstance(text, str) else text)]
        lengths = [len(part) for part in parts]
        while len(ids) > room and any(lengths):  # again: texts in their frame may have a few tokens more
            for _ in range(min(len(ids) - room, sum(lengths))):
                lengths[lengths.index(max(lengths))] -= 1
            cut = [self.tokenizer.decode(part[:length]) for part, length in zip(parts, lengths, strict=True)]
            ids = self._ids(layout(cut[0] if isinstance(text, str) else (cut[0], cut[1])))
        return ids[-room:]

    def _label_ids(self, label: str) -> list[int]:
        """Tokens of a label as it stands in the examples: where the text before it ends some tokenizers begin anew."""
        before = self._ids(layout("text"))
        whole = self._ids(f"{layout('text')} {label}")
        return whole[len(before) :] if whole[: len(before)] == before else self._ids(f" {label}")

    def _room(self, prompt_length: int) -> int:
        return (self.context or 0) - prompt_length - max(map(len, self.labels))

    def _ids(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False, split_special_tokens=True, verbose=False)["input_ids"]

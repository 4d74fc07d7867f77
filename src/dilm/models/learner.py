"""The learner: any encoder that AutoModelForSequenceClassification knows, and what stage 2 needs of its head."""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import (
    AutoModelForSequenceClassification,
    BatchEncoding,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from ..config import OptimizationConfig
from ..errors import InputError
from ..task import TextInput
from .batching import group_cost, length_groups, runs_within, tokens_at_once
from .compute import RandomStream, autocast, default_device, make_optimizer, seeded
from .loading import load_pretrained, tokenizer_state
from .offline import resolve
from .packing import can_pack, logits_of, pack, packed_rows

Encoded = list[dict[str, list[int]]]
Batch = list[tuple[dict[str, Tensor], Tensor]]
"""One training step: inputs, packed or padded, and labels, on the learner's device, in groups that fit together."""
Targets = Sequence[int | Sequence[float]]
"""A class for each text, or the probability of every class."""


class HeadView(NamedTuple):
    """What enters the last linear layer of the head, and the logits that leave it."""

    inputs: Float[Tensor, "n d"]
    logits: Float[Tensor, "n c"]


class Learner:
    """A text classifier: an encoder and a head that can be made fresh again."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    bf16: bool
    """Whether it computes in bfloat16; the weights stay as they are."""
    max_length: int
    """Tokens of a text, or of both of a pair, beyond which it is cut."""
    encoder: nn.Module
    head_modules: list[nn.Module]
    """What is made fresh by `reinitialize`: all modules outside the encoder."""
    output_layer: nn.Linear
    """The layer that makes the logits."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        max_length: int = 128,
        bf16: bool = False,
        missing: Iterable[str] = (),
    ):
        """missing: names of weights that the checkpoint lacked. Of those a pooler's are drawn with the head's: a BERT
        that was saved as a masked LM has none."""
        self.model, self.tokenizer, self.bf16 = model.eval(), tokenizer, bf16
        positions = getattr(model.config, "max_position_embeddings", None) or 0
        # RoBERTa counts positions from its padding index on, so two of them are never free; XLNet has no limit (-1).
        self.max_length = min(max_length, positions - 2) if positions > 0 else max_length
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        known = self.model.config.pad_token_id
        if known is None or not 0 <= known < getattr(self.model.config, "vocab_size", math.inf):
            self.model.config.pad_token_id = self.tokenizer.pad_token_id
        self.encoder = model.base_model
        inside = set(self.encoder.modules())
        self._new = {name for name in missing if "pooler" in name.split(".")}
        fresh = {name.rpartition(".")[0] for name in self._new}
        self.head_modules = [m for n, m in model.named_modules() if m is not model and (m not in inside or n in fresh)]
        self.output_layer = self._find_output_layer()
        self._pretrained = {name: value.detach().clone() for name, value in model.state_dict().items()}
        self._loaded_tokenizer = tokenizer_state(tokenizer)

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str,
        num_classes: int,
        *,
        max_length: int = 128,
        bf16: bool = False,
        device: torch.device | None = None,
        seed: int = 0,
    ) -> Learner:
        """Load an encoder by Hub id, path or `offline`, with a fresh head; raises InputError if it cannot be had."""
        with seeded(seed):
            (model, loading), tokenizer = load_pretrained(
                AutoModelForSequenceClassification,
                resolve(name_or_path),
                "learner",
                num_labels=num_classes,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # a classifier of other classes: its head is made fresh anyway
            )
        model = model.to(device or default_device())
        learner = cls(model, tokenizer, max_length=max_length, bf16=bf16, missing=loading["missing_keys"])
        learner.reinitialize(seed)
        return learner

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def num_classes(self) -> int:
        return self.output_layer.out_features

    @cached_property
    def fingerprint(self) -> str:
        """32 hex digits of all that decides the features: pretrained encoder, tokenizer, length, padding, precision."""
        digest = hashlib.blake2b(f"{self.max_length} {self.bf16} {self.device.type}".encode(), digest_size=16)
        digest.update(self._loaded_tokenizer.encode())
        padding = self.model.config.pad_token_id
        if padding != self.tokenizer.pad_token_id:  # what was measured before the model's own was taken is another's
            digest.update(f"padding {padding}".encode())
        inside = {id(p) for p in self.encoder.state_dict(keep_vars=True).values()}
        for name, value in self.model.state_dict(keep_vars=True).items():
            if id(value) in inside and name not in self._new:
                digest.update(name.encode() + self._pretrained[name].cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    # -- structure ---------------------------------------------------------------------------------------------

    def _find_output_layer(self) -> nn.Linear:
        """The linear layer that makes the logits: the last one outside the encoder with as many outputs as classes."""
        layers = [m for m in self.head_modules if isinstance(m, nn.Linear)]
        layers = [m for m in layers if m.out_features == self.model.config.num_labels]
        if not layers:
            raise InputError(f"{type(self.model).__name__} has no linear output layer that could be found")
        return layers[-1]

    def head_parameters(self) -> dict[str, nn.Parameter]:
        """Named parameters outside the encoder."""
        inside = {id(p) for p in self.encoder.parameters()}
        return {name: p for name, p in self.model.named_parameters() if id(p) not in inside}

    @property
    def has_linear_head(self) -> bool:
        """Whether the head is one linear layer with a bias, so that its gradient has a closed form."""
        own = {id(p) for p in self.output_layer.parameters()}
        return {id(p) for p in self.head_parameters().values()} == own and self.output_layer.bias is not None

    def reinitialize(self, seed: int) -> None:
        """The pretrained encoder again, with a fresh head drawn from `seed`."""
        self.model.load_state_dict(self._pretrained)
        generator = torch.Generator().manual_seed(seed)
        std = getattr(self.model.config, "initializer_range", 0.02)
        with torch.no_grad():
            for module in self.head_modules:
                if isinstance(module, nn.Linear):
                    module.weight.copy_(torch.empty(module.weight.shape).normal_(0, std, generator=generator))
                    if module.bias is not None:
                        module.bias.zero_()
                elif isinstance(module, nn.LayerNorm):
                    module.reset_parameters()
        self.model.eval()

    def word_embeddings(self) -> Float[Tensor, "v d"]:
        """The pretrained word embeddings, whatever the learner is now."""
        embeddings: Any = self.model.get_input_embeddings()
        name = next(name for name, value in self.model.named_parameters() if value is embeddings.weight)
        return self._pretrained[name]

    # -- reading texts -----------------------------------------------------------------------------------------

    def encode(self, texts: Sequence[TextInput]) -> Encoded:
        """Token ids of each text or pair, cut to max_length; control tokens inside a text stay text."""
        if not texts:
            return []
        batch = self._tokens(texts)
        return [{key: values[i] for key, values in batch.items()} for i in range(len(texts))]

    def segments(self, texts: Sequence[TextInput]) -> list[list[int]]:
        """What each token of `encode` belongs to: 1 the first text, 2 the second, 0 neither, being a control token."""
        if not self.tokenizer.is_fast:
            raise InputError(f"{type(self.tokenizer).__name__} does not tell which text a token is of")
        batch = self._tokens(texts)
        return [[0 if of is None else of + 1 for of in batch.sequence_ids(i)] for i in range(len(texts))]

    def _tokens(self, texts: Sequence[TextInput]) -> BatchEncoding:
        firsts = [t if isinstance(t, str) else t[0] for t in texts]
        seconds = None if isinstance(texts[0], str) else [t[1] for t in texts]
        return self.tokenizer(firsts, seconds, truncation=True, max_length=self.max_length, split_special_tokens=True)

    def _encoded(self, texts: Sequence[TextInput] | Encoded) -> Encoded:
        if texts and isinstance(texts[0], dict):
            return cast(Encoded, texts)
        return self.encode(cast(Sequence[TextInput], texts))

    def collate(self, encoded: Encoded) -> dict[str, Tensor]:
        """Padded tensors on the learner's device, with the padding that the model knows as such."""
        batch = self.tokenizer.pad(encoded, return_tensors="pt")
        if "attention_mask" in batch:  # some models read padding like anything else
            padding = batch["attention_mask"] == 0
            batch["input_ids"] = batch["input_ids"].masked_fill(padding, self.model.config.pad_token_id)
        return {key: value.to(self.device) for key, value in batch.items()}

    def batch(self, texts: Sequence[TextInput] | Encoded, labels: Targets) -> Batch:
        """A training batch of texts, or of what `encode` made of them, and their labels: short texts share a row."""
        encoded = self._encoded(texts)
        lengths = [len(text["input_ids"]) for text in encoded]
        groups = None
        if can_pack(self.model) and all(lengths):  # a text without tokens has no first one
            groups = packed_rows(lengths, group_cost(self.device), tokens_at_once(self.device))
        if groups is None:
            return self.padded_batch(encoded, labels)
        targets = torch.as_tensor(labels, device=self.device)
        return [(pack(encoded, rows, self.model), targets[[i for row in rows for i in row]]) for rows in groups]

    def padded_batch(self, texts: Sequence[TextInput] | Encoded, labels: Targets) -> Batch:
        """The same with one row per text, in groups of similar length."""
        encoded = self._encoded(texts)
        lengths = [len(text["input_ids"]) for text in encoded]
        groups = length_groups(lengths, group_cost(self.device), tokens_at_once(self.device))
        targets = torch.as_tensor(labels, device=self.device)
        return [(self.collate([encoded[i] for i in rows]), targets[rows]) for rows in groups]

    def padded_batches(
        self, texts: Sequence[TextInput] | Encoded, batch_size: int
    ) -> Iterator[tuple[list[int], dict[str, Tensor]]]:
        """Batches of similar length with the places of their texts: little padding, and tokens_at_once at most."""
        for start in range(0, len(texts), 100 * batch_size):
            encoded = self._encoded(texts[start : start + 100 * batch_size])
            order = sorted(range(len(encoded)), key=lambda i: len(encoded[i]["input_ids"]))
            for first in range(0, len(order), batch_size):
                batch = order[first : first + batch_size]
                for run in runs_within([len(encoded[i]["input_ids"]) for i in batch], tokens_at_once(self.device)):
                    yield [start + i for i in batch[run]], self.collate([encoded[i] for i in batch[run]])

    def check_features(self, texts: Sequence[TextInput], depth: float = 1.0) -> None:
        """InputError unless the encoder, given texts alone, makes something of each token of them."""
        try:
            self.features(texts, depth=depth)
        except torch.OutOfMemoryError:  # a RuntimeError too, but no matter of the model
            raise
        except (AttributeError, KeyError, RuntimeError, ValueError) as error:
            kind, said = type(self.model).__name__, " ".join(str(error).split())
            raise InputError(
                f"{kind} gives no features of the tokens of a text, take another encoder: {said}"
            ) from error

    @torch.inference_mode()
    def features(
        self, texts: Sequence[TextInput], batch_size: int = 128, depth: float = 1.0
    ) -> Float[np.ndarray, "n d"]:
        """Mean of the hidden states over each text's tokens, of unit length: for selection and probing.

        depth: the share of the encoder's layers after which they are read. Raises InputError for less than 1 where the
        encoder does not tell one state a token after every layer.
        """
        features: np.ndarray | None = None
        for rows, batch in self.padded_batches(texts, batch_size):
            with autocast(self.device, self.bf16):
                hidden = self._hidden(batch, depth).float()
            mask = batch["attention_mask"][..., None]
            pooled = nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1))
            if features is None:
                features = np.empty((len(texts), pooled.shape[1]), dtype=np.float32)
            features[rows] = pooled.cpu().numpy()
        return np.empty((0, 0), np.float32) if features is None else features

    def _hidden(self, batch: dict[str, Tensor], depth: float) -> Float[Tensor, "n t d"]:
        """The hidden states after this share of the encoder's layers."""
        if depth == 1:
            return self.encoder(**batch)[0]
        layers = getattr(self.encoder(**batch, output_hidden_states=True), "hidden_states", None)
        hidden = layers[round(depth * (len(layers) - 1))] if layers else None
        if hidden is None or hidden.shape[:2] != batch["attention_mask"].shape:
            kind = type(self.model).__name__
            raise InputError(f"{kind} does not show the states of its layers; leave --depth (--pool.depth) at 1")
        return hidden

    @torch.no_grad()
    def head_view(self, texts: Sequence[TextInput] | Encoded, batch_size: int = 128) -> HeadView:
        """Inputs of the last linear layer [n, d] and logits [n, c], float32, without dropout."""
        caught: list[Tensor] = []
        hook = self.output_layer.register_forward_pre_hook(lambda _, args: caught.append(args[0]))
        inputs, logits = None, None
        try:
            for rows, batch in self.padded_batches(texts, batch_size):
                out = self._logits(batch)
                found = caught.pop()
                if found.ndim != 2:
                    raise InputError(f"{type(self.model).__name__} applies its head to every token, not to a text")
                if inputs is None or logits is None:
                    dtype = torch.promote_types(out.dtype, torch.float32)
                    inputs = torch.empty(len(texts), found.shape[1], dtype=dtype, device=self.device)
                    logits = torch.empty(len(texts), out.shape[1], dtype=dtype, device=self.device)
                inputs[rows], logits[rows] = found.to(inputs.dtype), out.to(logits.dtype)
        finally:
            hook.remove()
        if inputs is None or logits is None:
            raise InputError("no texts to read")
        return HeadView(inputs, logits)

    def _logits(self, batch: dict[str, Tensor]) -> Float[Tensor, "n c"]:
        with autocast(self.device, self.bf16):
            return self.model(**batch).logits

    @torch.no_grad()
    def predict(self, texts: Sequence[TextInput] | Encoded, batch_size: int = 128) -> Float[np.ndarray, "n c"]:
        """Logits [n, c] of texts, or of what `encode` made of them; also where the head sees every token (GPT-2)."""
        dtype = torch.promote_types(self.model.dtype, torch.float32)
        logits = torch.empty(len(texts), self.num_classes, dtype=dtype)
        for rows, batch in self.padded_batches(texts, batch_size):
            logits[rows] = self._logits(batch).to("cpu", dtype)
        return logits.numpy()

    def probabilities(self, texts: Sequence[TextInput] | Encoded) -> Float[np.ndarray, "n c"]:
        """The softmax of the logits."""
        return torch.from_numpy(self.predict(texts)).softmax(1).numpy()

    # -- losses as a function of parameters (for heads that are not one linear layer, and for scope: all) -------

    @contextlib.contextmanager
    def frozen_encoder(self, batch: dict[str, Tensor]) -> Iterator[None]:
        """Within it the encoder is not run again on `batch`: its output is computed once and handed out."""
        with torch.no_grad(), autocast(self.device, self.bf16):
            output = self.encoder(**batch)
        self.encoder.forward = lambda *args, **kwargs: output
        try:
            yield
        finally:
            del self.encoder.forward

    def losses(self, parameters: Mapping[str, Tensor], batch: dict[str, Tensor], labels: Tensor) -> Float[Tensor, " n"]:
        """Cross-entropy of each text as a function of the named parameters; differentiable in both modes."""
        # Fused attention has no forward-mode derivative; the plain formula has.
        with sdpa_kernel(SDPBackend.MATH), autocast(self.device, self.bf16):
            logits = torch.func.functional_call(self.model, dict(parameters), kwargs=batch).logits
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        return nn.functional.cross_entropy(logits, labels, reduction="none")

    # -- training ----------------------------------------------------------------------------------------------

    def train(
        self,
        batches: Iterable[Batch],
        config: OptimizationConfig,
        *,
        seed: int,
        after_step: Callable[[torch.optim.Optimizer], None] | None = None,
    ) -> Iterator[float]:
        """Train on labelled batches for `config.max_steps`; an iterator that yields each step's loss."""
        optimizer, scheduler = make_optimizer(list(self.model.parameters()), config, config.max_steps)
        dropout = RandomStream(seed)
        for _, batch in zip(range(config.max_steps), batches, strict=False):
            self.model.train()
            count, total = sum(len(labels) for _, labels in batch), 0.0
            for run in _portions(batch, tokens_at_once(self.device)):
                with dropout, autocast(self.device, self.bf16):  # one context: weights are cast once for its groups
                    logits = torch.cat([logits_of(self.model, inputs) for inputs, _ in run])
                    targets = torch.cat([labels for _, labels in run])
                    loss = nn.functional.cross_entropy(logits, targets, reduction="sum") / count
                loss.backward()
                total += loss.detach()
            nn.utils.clip_grad_norm_(self.model.parameters(), config.max_grad_norm)
            optimizer.step()
            if after_step is not None:
                after_step(optimizer)
            scheduler.step()
            optimizer.zero_grad(set_to_none=True)
            self.model.eval()
            yield float(total)


def _portions(batch: Batch, most_tokens: int) -> list[Batch]:
    """The groups of a batch in portions whose activations fit together."""
    sizes = [inputs.get("input_ids", inputs["attention_mask"]).numel() for inputs, _ in batch]
    portions, room = [], 0
    for group, size in zip(batch, sizes, strict=True):
        if size > room:
            portions.append([])
            room = most_tokens
        portions[-1].append(group)
        room -= size
    return portions

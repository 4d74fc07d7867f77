"""The generator: a causal LM that writes a text given a class.

A text is the token sequence `<bos_c> text <eos>`, a pair `<bos_c> text <sep> text_pair <eos>`. The control tokens
`<bos_0>`, `<bos_1>`, ..., `<sep>` are added to the tokenizer; a text that happens to contain their spelling is
tokenised as plain text and a sampled text never contains them.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from ..errors import InputError
from ..task import TextInput
from . import offline
from .batching import cached_tokens, group_cost, length_groups, logits_at_once, runs_within, tokens_at_once
from .compute import autocast, default_device, derived_seed, seeded
from .loading import load_pretrained, quiet_transformers
from .lora import merged, with_lora
from .sampling import SamplingRules, sample_token_ids

SEP = "<sep>"


def class_token(index: int) -> str:
    """Control token of a class."""
    return f"<bos_{index}>"


class TokenSampler(Protocol):
    """Continues one-token prompts: each row's tokens without prompt and end, and whether it ended itself."""

    def __call__(self, prompts: Sequence[int], rules: SamplingRules, seed: int, /) -> list[tuple[list[int], bool]]: ...


class Generator:
    """A causal LM with a control token for every class (section 3.1 of the paper)."""

    model: Any
    tokenizer: Any
    num_classes: int
    bf16: bool
    """Whether it computes in bfloat16; the weights stay as they are."""
    max_length: int
    """Tokens of a text, or of both of a pair, control tokens included."""
    class_ids: list[int]
    """The control tokens of the classes."""
    sep_id: int
    """The token between the texts of a pair."""
    eos_id: int
    """The token that ends a text."""
    tries: Counter[str]
    """Texts sampled so far: all, and of those the malformed and the unfinished ones."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        num_classes: int,
        *,
        max_length: int = 64,
        bf16: bool = False,
    ):
        """Adds the control tokens that are missing.

        model, tokenizer: a causal LM and its tokenizer from transformers (whose types are wider than a causal LM's).
        """
        if tokenizer.eos_token is None:
            tokenizer.eos_token = tokenizer.sep_token
        if tokenizer.eos_token is None:
            raise InputError("the generator's tokenizer has no end-of-text token; use a causal LM that has one")
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        wanted = [class_token(c) for c in range(num_classes)] + [SEP]
        new = [token for token in wanted if token not in tokenizer.get_added_vocab()]
        if new:
            tokenizer.add_special_tokens({"additional_special_tokens": wanted}, replace_extra_special_tokens=False)
            _add_embeddings(model, len(tokenizer), [int(tokenizer.convert_tokens_to_ids(token)) for token in new])
        self.model, self.tokenizer, self.num_classes, self.bf16 = model.eval(), tokenizer, num_classes, bf16
        self.tries = Counter()
        positions = getattr(model.config, "max_position_embeddings", None) or max_length
        self.max_length = min(max_length, positions)
        self.class_ids = [int(tokenizer.convert_tokens_to_ids(class_token(c))) for c in range(num_classes)]
        self.sep_id = int(tokenizer.convert_tokens_to_ids(SEP))
        self.eos_id = int(tokenizer.eos_token_id)
        model.generation_config.eos_token_id = self.eos_id
        model.generation_config.pad_token_id = int(tokenizer.pad_token_id)

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str,
        num_classes: int | None = None,
        *,
        max_length: int = 64,
        bf16: bool = False,
        device: torch.device | None = None,
        seed: int = 0,
    ) -> Generator:
        """Load a causal LM by Hub id or path; `num_classes` may be left out for a folder saved by `save_pretrained`.

        Raises InputError if the model cannot be had or the number of classes is not known.
        """
        model, tokenizer = load_pretrained(AutoModelForCausalLM, name_or_path, "generator")
        if num_classes is None:
            num_classes = sum(token.startswith("<bos_") for token in tokenizer.get_added_vocab())
            if not num_classes:
                raise InputError(f"'{name_or_path}' has no class tokens yet; pass num_classes")
        with seeded(seed):
            return cls(model.to(device or default_device()), tokenizer, num_classes, max_length=max_length, bf16=bf16)

    @classmethod
    def from_texts(
        cls,
        texts: Iterable[str],
        num_classes: int,
        *,
        max_length: int = 64,
        bf16: bool = False,
        device: torch.device | None = None,
        seed: int = 0,
    ) -> Generator:
        """The offline generator: MiniLM turned into a decoder, with a BPE tokenizer trained on the texts.

        Raises InputError if the package with MiniLM is missing.
        """
        tokenizer = offline.train_tokenizer(texts)
        with seeded(seed):
            model: Any = offline.minilm_decoder(tokenizer)
            return cls(model.to(device or default_device()), tokenizer, num_classes, max_length=max_length, bf16=bf16)

    def add_lora(self, r: int, seed: int = 0) -> None:
        """From now on only adapters of rank r, and the control tokens' embeddings, train (needs peft)."""
        with seeded(seed):
            self.model = with_lora(self.model, r, [*self.class_ids, self.sep_id]).eval()

    def save_pretrained(self, folder: str | Path) -> None:
        """Write a folder that plain AutoModelForCausalLM and AutoTokenizer load; adapters are put into the weights."""
        with quiet_transformers():
            merged(self.model).save_pretrained(folder)
            self.tokenizer.save_pretrained(folder)

    @property
    def device(self) -> torch.device:
        return self.model.device

    # -- likelihood --------------------------------------------------------------------------------------------

    def encode(self, texts: Sequence[TextInput], labels: Sequence[int]) -> list[list[int]]:
        """Token ids of each text between its class token and the end token, cut to max_length."""
        flat = [part for text in texts for part in ((text,) if isinstance(text, str) else text)]
        if not flat:
            return []
        ids: list[list[int]] = self.tokenizer(flat, add_special_tokens=False, split_special_tokens=True, verbose=False)[
            "input_ids"
        ]
        pieces, encoded = iter(ids), []
        for text, label in zip(texts, labels, strict=True):
            body = next(pieces) if isinstance(text, str) else self._joined(next(pieces), next(pieces))
            encoded.append([self.class_ids[label], *body[: self.max_length - 2], self.eos_id])
        return encoded

    def cut_share(self, texts: Sequence[TextInput]) -> float:
        """Share of the texts that `encode` cuts; the few that fill max_length to the last token are counted too."""
        encoded = self.encode(texts, [0] * len(texts))
        return sum(len(tokens) == self.max_length for tokens in encoded) / max(1, len(encoded))

    @property
    def tokens_at_once(self) -> int:
        """Padded tokens, at most, that pass through together: the fewer the more rows its output layer has."""
        return max(1, min(tokens_at_once(self.device), logits_at_once(self.device) // self._output_rows))

    @cached_property
    def _output_rows(self) -> int:
        """Of the output layer. Looked at once: to read the weights of an adapted layer is to compute them."""
        return self.model.get_output_embeddings().weight.shape[0]

    def _joined(self, first: list[int], second: list[int]) -> list[int]:
        """A pair around <sep>; where it is too long, the longer text is cut first."""
        room = self.max_length - 3
        while len(first) + len(second) > room:
            longer = first if len(first) >= len(second) else second
            longer.pop()
        return [*first, self.sep_id, *second]

    def token_losses(self, encoded: Sequence[Sequence[int]]) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
        """Sum of -log p over each text's own tokens (end included, class token and padding not), and their number.

        Texts of similar length pass through the network together, so that little is computed on padding.
        """
        lengths = [len(tokens) for tokens in encoded]
        groups = length_groups(lengths, group_cost(self.device), self.tokens_at_once)
        parts = [self._padded_losses([encoded[i] for i in rows]) for rows in groups]
        back = torch.tensor([i for rows in groups for i in rows], device=self.device).argsort()
        sums, counts = (torch.cat(part)[back] for part in zip(*parts, strict=True))
        return sums, counts

    def _padded_losses(self, encoded: Sequence[Sequence[int]]) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
        """`token_losses` of texts that are padded to the longest."""
        width = max(map(len, encoded))
        ids = torch.full((len(encoded), width), self.eos_id)
        mask = torch.zeros(len(encoded), width, dtype=torch.long)
        for row, tokens in enumerate(encoded):
            ids[row, : len(tokens)] = torch.tensor(tokens)
            mask[row, : len(tokens)] = 1
        ids, mask = ids.to(self.device), mask.to(self.device)
        with autocast(self.device, self.bf16):
            logits = self.model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, :-1]
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        losses = nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
        own = mask[:, 1:].to(losses.dtype)
        return (losses.view_as(own) * own).sum(1), own.sum(1)

    def nll(self, encoded: Sequence[Sequence[int]]) -> Float[Tensor, " n"]:
        """Mean negative log-likelihood of each text, in nats per token of its own; differentiable."""
        sums, counts = self.token_losses(encoded)
        return sums / counts

    @torch.inference_mode()
    def score(self, texts: Sequence[TextInput], labels: Sequence[int], batch_size: int = 128) -> Float[Tensor, " n"]:
        """`nll` of any number of texts, in batches of similar length, on the CPU."""
        encoded = self.encode(texts, labels)
        order = sorted(range(len(encoded)), key=lambda i: len(encoded[i]))
        scores = torch.empty(len(encoded))
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            for run in runs_within([len(encoded[i]) for i in batch], self.tokens_at_once):
                rows = batch[run]
                scores[rows] = self.nll([encoded[i] for i in rows]).float().cpu()
        return scores

    # -- sampling ----------------------------------------------------------------------------------------------

    def sample(
        self,
        labels: Sequence[int],
        *,
        pairs: bool = False,
        top_p: float = 0.95,
        seed: int = 0,
        batch_size: int = 256,
        max_tries: int = 8,
        engine: TokenSampler | None = None,
    ) -> Iterator[tuple[int, TextInput]]:
        """Write a text for each label; yields (place in `labels`, text) as they are finished, reproducibly.

        Texts that are empty, broken (half a character), malformed (a pair with one side) or still unfinished at
        max_length are thrown away and written again, at most `max_tries` times; a last unfinished try is kept
        rather than lost, an empty one is not: what could not be written is missing from the result.
        batch_size: texts at once, fewer where max_length is long, so that their keys and values fit in memory.
        engine: what samples in place of the model itself; it gets each attempt as one batch.
        """
        rules = SamplingRules(
            end=self.eos_id,
            separator=self.sep_id if pairs else None,
            banned=tuple(self._never_sampled(pairs)),
            max_tokens=self.max_length - 1,
            top_p=top_p,
        )
        if engine is None:
            engine = self._sampler(seed)
            batch_size = min(batch_size, max(1, cached_tokens(self.device) // self.max_length))
        else:
            batch_size = max(1, len(labels))
        pending = list(range(len(labels)))
        for attempt in range(max_tries):
            rejected: list[int] = []
            for start in range(0, len(pending), batch_size):
                places = pending[start : start + batch_size]
                prompts = [self.class_ids[labels[i]] for i in places]
                written = engine(prompts, rules, derived_seed(seed, "attempt", attempt))
                for place, (tokens, finished) in zip(places, written, strict=True):
                    text = self._decode(tokens, pairs)
                    self.tries.update(all=1, malformed=int(text is None), unfinished=int(not finished))
                    if text is None or not (finished or attempt == max_tries - 1):
                        rejected.append(place)
                    else:
                        yield place, text
            pending = rejected
            if not pending:
                return

    def _sampler(self, seed: int) -> TokenSampler:
        """The model itself, with one stream of random numbers for all its batches."""
        model = merged(self.model)
        if self.bf16:  # a copy: autocast would convert the weights anew at every token
            model = (copy.deepcopy(model) if model is self.model else model).to(torch.bfloat16)
        random = torch.Generator(self.device).manual_seed(seed)

        def sample(prompts: Sequence[int], rules: SamplingRules, _: int) -> list[tuple[list[int], bool]]:
            return sample_token_ids(model, torch.tensor(prompts, device=self.device), rules, random)

        return sample

    @torch.inference_mode()
    def check_cache(self) -> None:
        """InputError unless the model keeps keys and values of what it has read: one that does not is no causal LM."""
        ids = torch.tensor([self.class_ids[:1]], device=self.device)
        cache = getattr(self.model(input_ids=ids, use_cache=True), "past_key_values", None)
        if cache is None:
            kind = type(self.model).__name__
            raise InputError(f"{kind} keeps no key-value cache, as a causal LM does; take a generator that does")
        cache.reorder_cache(torch.tensor([0], device=self.device))

    def write(self, labels: Sequence[int], **kwargs: Any) -> list[TextInput | None]:
        """`sample` as a list in the order of `labels`; None where no text could be written."""
        texts: list[TextInput | None] = [None] * len(labels)
        for place, text in self.sample(labels, **kwargs):
            texts[place] = text
        return texts

    def _never_sampled(self, pairs: bool) -> set[int]:
        """Control and special tokens, and rows of the output layer that stand for no token."""
        allowed = {self.eos_id, self.sep_id} if pairs else {self.eos_id}
        control = {*self.class_ids, self.sep_id, *self.tokenizer.all_special_ids}
        return (control | set(range(len(self.tokenizer), self._output_rows))) - allowed

    def texts_of(self, tokens: list[int]) -> list[str]:
        """The texts before, between and after the separators among the tokens."""
        cuts = [place for place, token in enumerate(tokens) if token == self.sep_id]
        starts, ends = [0, *(cut + 1 for cut in cuts)], [*cuts, len(tokens)]
        return [str(self.tokenizer.decode(tokens[a:b])) for a, b in zip(starts, ends, strict=True)]

    def _decode(self, tokens: list[int], pairs: bool) -> TextInput | None:
        """The text or pair, or None if it is empty, broken or malformed."""
        texts = [text.strip() for text in self.texts_of(tokens)]
        if len(texts) != 1 + pairs:
            return None
        if any(not text or "\ufffd" in text or "\x00" in text for text in texts):
            return None
        return (texts[0], texts[1]) if pairs else texts[0]


def _add_embeddings(model: Any, vocab_size: int, new_ids: list[int]) -> None:
    """Rows for new tokens, drawn with the mean and spread of the others.

    transformers would draw them all but equal, so that the classes would have to drift apart first.
    """
    with quiet_transformers(), torch.no_grad():
        if vocab_size > model.get_input_embeddings().weight.shape[0]:
            model.resize_token_embeddings(vocab_size, mean_resizing=False)
        for layer in dict.fromkeys((model.get_input_embeddings(), model.get_output_embeddings())):
            others = torch.ones(len(layer.weight), dtype=torch.bool)
            others[new_ids] = False
            mean, spread = layer.weight[others].mean(0), layer.weight[others].std(0)
            noise = torch.randn(len(new_ids), layer.weight.shape[1]).to(layer.weight)
            layer.weight[new_ids] = mean + spread * noise

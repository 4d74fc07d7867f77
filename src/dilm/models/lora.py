"""Low-rank adapters for generators that are too large to train whole (Hu et al. 2021), by the library peft."""

from __future__ import annotations

import copy
import warnings
from importlib import util
from typing import Any

from transformers.pytorch_utils import Conv1D

from ..errors import InputError


def check_lora(generator: str, offline: str) -> None:
    """InputError, before any long work, where adapters cannot be had or make no sense."""
    if generator == offline:
        raise InputError(
            "--lora-r adapts a generator that is too large to train; the offline one is small: name a --generator"
        )
    if util.find_spec("peft") is None:
        raise InputError("--lora-r needs the package peft; run pip install 'dilm[peft]'")


def with_lora(model: Any, r: int, control_tokens: list[int]) -> Any:
    """The model with adapters of rank r on its linear layers; only they and the control tokens' embeddings train."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=r,
        lora_alpha=2 * r,
        target_modules="all-linear",
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in model.modules()),  # as GPT-2 has them
        trainable_token_indices=control_tokens,
        task_type="CAUSAL_LM",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers for names that are on their way out
        return get_peft_model(model, config)


def merged(model: Any) -> Any:
    """A copy with the adapters put into the weights, a plain transformers model again; any other model as it is."""
    return copy.deepcopy(model).merge_and_unload() if hasattr(model, "merge_and_unload") else model

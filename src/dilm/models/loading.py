"""Loading models by Hub id or path, with errors that a person can act on.

Contract: a model is data. No code that comes with it is run, and no pickle is opened: safetensors or nothing.
"""

from __future__ import annotations

import contextlib
import os
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import transformers
from safetensors import SafetensorError
from transformers import AutoConfig, AutoTokenizer, PreTrainedTokenizerBase
from transformers.utils.peft_utils import find_adapter_config_file

from ..errors import InputError
from .compute import keep_few_primitives, keep_freed_memory


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """No loading bars and no report on new head weights: a fresh head is what we ask for."""
    level = transformers.logging.get_verbosity()
    bars = transformers.logging.is_progress_bar_enabled()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers.logging.set_verbosity(level)
        if bars:
            transformers.logging.enable_progress_bar()


def load_pretrained(auto_class: Any, name_or_path: str, role: str, **kwargs: Any) -> tuple[Any, Any]:
    """Model and tokenizer, safetensors only, no remote code; InputError says what could not be had."""
    keep_freed_memory()
    keep_few_primitives()
    with quiet_transformers(), _no_conversion(), readable_errors(name_or_path, role):
        check_weights(name_or_path, role)
        tokenizer = AutoTokenizer.from_pretrained(name_or_path, trust_remote_code=False)
        model = auto_class.from_pretrained(
            name_or_path, trust_remote_code=False, use_safetensors=True, dtype="float32", **kwargs
        )
    return model, tokenizer


def tokenizer_state(tokenizer: PreTrainedTokenizerBase) -> str:
    """All that decides the tokens. To be asked right after loading: a fast tokenizer remembers with what truncation and
    padding it was last used."""
    backend: Any = tokenizer.backend_tokenizer if tokenizer.is_fast else None
    return backend.to_str() if backend else repr(sorted(tokenizer.get_vocab().items()))


def check_model(name_or_path: str, role: str, supported: Callable[[Any], bool]) -> None:
    """InputError, before any long work, if the model cannot be reached or is of the wrong kind."""
    with quiet_transformers(), readable_errors(name_or_path, role):
        check_weights(name_or_path, role)
        config = AutoConfig.from_pretrained(name_or_path, trust_remote_code=False)
        AutoTokenizer.from_pretrained(name_or_path, trust_remote_code=False)
    if not supported(config):
        raise InputError(f"{role} '{name_or_path}' is a {config.model_type} model, which cannot play that part")


def check_weights(name_or_path: str, role: str) -> None:
    """InputError for an adapter, and for a local folder whose weights are pickled: opening those can run anything."""
    if find_adapter_config_file(name_or_path) is not None:
        raise InputError(
            f"{role} '{name_or_path}' is an adapter, not a whole model; put it into its base model first "
            "(peft: model.merge_and_unload().save_pretrained(FOLDER)) and pass that folder"
        )
    folder = Path(name_or_path)
    if not folder.is_dir() or any(folder.glob("*.safetensors")):
        return
    pickled = sorted(path.name for kind in ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl") for path in folder.glob(kind))
    if pickled:
        raise InputError(
            f"{role} '{name_or_path}' has its weights in {pickled[0]}, a pickle, which can run any code when it is "
            "opened; if you trust it, save it anew as safetensors (transformers: "
            "AutoModel.from_pretrained(FOLDER).save_pretrained(OTHER)) and pass that folder"
        )


@contextlib.contextmanager
def _no_conversion() -> Iterator[None]:
    """Inside, transformers asks no service on the Hub to convert a model that has no safetensors."""
    name = "DISABLE_SAFETENSORS_CONVERSION"
    before = os.environ.get(name)
    os.environ[name] = "true"
    try:
        yield
    finally:
        os.environ.pop(name)
        if before is not None:
            os.environ[name] = before


@contextlib.contextmanager
def readable_errors(name_or_path: str, role: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
        if isinstance(error, InputError):
            raise
        if "trust_remote_code" in str(error):
            raise InputError(
                f"{role} '{name_or_path}' needs code that comes with it, which is never run here; pass a model that "
                "transformers knows itself"
            ) from error
        reason = textwrap.shorten(str(error), 200, placeholder=" ...").rstrip(".")
        found = "the folder" if Path(name_or_path).is_dir() else "no local folder and no reachable Hub model"
        raise InputError(
            f"{role} '{name_or_path}' could not be loaded ({found} of that name): {reason}; "
            f"pass a Hub id, the path of a saved model with safetensors weights, or 'offline'"
        ) from error

"""Features of the pretrained encoder, kept on disk by content: of model, tokenizer, precision and texts.

The folder is bounded: when a new entry makes it too large, those not used for the longest time go.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from platformdirs import user_cache_path

from ..durable import whole_file
from ..task import TextInput
from .learner import Learner

MAX_BYTES = 2 * 2**30
"""Size of the folder at most; an entry that alone is larger is not kept."""


def cache_folder() -> Path:
    """$DILM_CACHE, or the user's cache folder."""
    return Path(os.environ.get("DILM_CACHE") or user_cache_path("dilm")) / "features"


def pretrained_features(learner: Learner, texts: Sequence[TextInput], depth: float = 1.0) -> Float[np.ndarray, "n d"]:
    """`Learner.features` of the pretrained encoder, whatever the learner is now: from the cache, or computed and kept.

    Where it has to compute, it leaves the learner with a fresh head.
    """
    layer = "" if depth == 1 else f"-{depth}"
    path = cache_folder() / f"{learner.fingerprint}-{fingerprint(texts)}{layer}.npy"
    with contextlib.suppress(OSError, ValueError, EOFError):  # not there, or damaged: computed anew
        features = np.load(path, allow_pickle=False)
        os.utime(path)
        return features
    learner.reinitialize(0)
    features = learner.features(texts, depth=depth)
    if features.nbytes <= MAX_BYTES:
        with contextlib.suppress(OSError):  # a cache that cannot be written is no reason to stop
            _keep(path, features)
    return features


def fingerprint(texts: Sequence[TextInput]) -> str:
    """32 hex digits of the texts, in order."""
    digest = hashlib.blake2b(digest_size=16)
    for text in texts:
        for part in (text,) if isinstance(text, str) else text:
            data = part.encode("utf-8", "surrogatepass")
            digest.update(f"{len(data)} ".encode() + data)
        digest.update(b"\n")
    return digest.hexdigest()


def _keep(path: Path, features: np.ndarray) -> None:
    """Write whole or not at all, then make room."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as partial, open(partial, "wb") as file:
        np.save(file, features, allow_pickle=False)
    entries = sorted(path.parent.iterdir(), key=lambda entry: entry.stat().st_mtime)  # leftovers of killed ones too
    excess = sum(entry.stat().st_size for entry in entries) - MAX_BYTES
    for entry in entries:
        if excess <= 0:
            break
        excess -= entry.stat().st_size
        entry.unlink(missing_ok=True)

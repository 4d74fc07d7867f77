"""Learners by name: `finetune:ID`, `probe:ID`, `tfidf`, `scratch:ID`, `icl:ID`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from jaxtyping import Int
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
)

from ..config import RecipeConfig
from ..errors import InputError, suggest
from ..models.learner import Learner
from ..models.loading import check_model
from ..models.offline import OFFLINE, resolve
from ..task import Task
from .fine_tuning import FineTuning
from .in_context import InContext
from .probing import Probe, TfIdf
from .scratch import Scratch
from .training_sets import HeldOut, TrainingSet

KINDS = ("probe", "tfidf", "scratch", "finetune", "icl")
"""Cheap ones first: runs are made in this order."""


class EvaluationLearner(Protocol):
    """What is trained on a set and tested."""

    name: str
    """As in the results: `finetune:offline`."""
    seeded: bool
    """Whether runs of different seeds differ; one that is deterministic runs once a set."""

    @property
    def recipe(self) -> dict[str, Any]:
        """All that decides its predictions besides the set and the seed."""
        ...

    def check(self, training_set: TrainingSet) -> None:
        """InputError, before any training, for a set that this learner cannot take."""
        ...

    def predict(self, training_set: TrainingSet, held_out: HeldOut, seed: int) -> Int[np.ndarray, " m"]:
        """Classes of the held-out texts after training on the set."""
        ...


def parse_learner(name: str, alone: bool = False) -> tuple[str, str | None]:
    """Kind and id of `kind:ID`; InputError if there is no such kind, or no id where a kind may not stand alone."""
    kind, _, source = name.partition(":")
    if kind not in KINDS:
        raise InputError(
            f"no learner '{name}'{suggest(kind, KINDS)}; expected one of {', '.join(KINDS)}, as in probe:ID"
        )
    if (kind == "tfidf") == bool(source) and not (alone and not source):
        example = "gpt2" if kind == "icl" else OFFLINE
        wanted = "tfidf takes no id" if source else f"pass a Hub id or a path, as in {kind}:{example}"
        raise InputError(f"learner '{name}': {wanted}")
    return kind, source or None


def check_learner(name: str, own: str | None = None) -> None:
    """InputError, before any long work, for what is no learner or whose model cannot be had or play that part.

    own: the encoder, known to be one, that a kind without an id stands for; None where a kind may not stand alone.
    """
    kind, source = parse_learner(name, alone=own is not None)
    if kind == "tfidf" or (source is None and kind != "icl"):
        return
    source = source or own or ""
    if kind == "icl" and source == OFFLINE:
        raise InputError(
            f"learner '{name}': in-context learning needs a causal LM, and the offline model is none; pass the Hub id "
            "or path of one, as in icl:gpt2"
        )
    known = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES if kind == "icl" else MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES
    check_model(resolve(source), f"learner {kind}", lambda config: config.model_type in known)


def make_learners(
    names: Sequence[str],
    task: Task,
    config: RecipeConfig,
    *,
    max_length: int,
    bf16: bool,
    device: torch.device,
    loaded: dict[str, Learner] | None = None,
) -> list[EvaluationLearner]:
    """The learners of these names, in the order of KINDS; an encoder that several of them use is loaded once."""
    encoders = dict(loaded or {})
    parsed = sorted(((name, *parse_learner(name)) for name in dict.fromkeys(names)), key=lambda p: KINDS.index(p[1]))
    made: list[EvaluationLearner] = []
    for name, kind, source in parsed:
        if source is None:  # the only kind that needs no model
            made.append(TfIdf())
            continue
        if kind == "icl":
            calibrated = config.icl_calibrated
            made.append(InContext(name, source, task.label_names, calibrated=calibrated, bf16=bf16, device=device))
            continue
        if source not in encoders:
            encoders[source] = Learner.from_pretrained(
                source, task.num_classes, max_length=max_length, bf16=bf16, device=device
            )
        learner = encoders[source]
        if kind == "probe":
            learner.check_features(task.texts("train", range(2)))
            made.append(Probe(name, learner))
        else:
            made.append((FineTuning if kind == "finetune" else Scratch)(name, learner, config))
    return made

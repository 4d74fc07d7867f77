"""Losses and cosines of 30 steps of each stage, through the real command line: they are what they were.

    DILM_RECORD=1 python -m pytest tests/invariants

writes them anew, after a change that is meant to change them. A machine's rounding differs from another's, and grows
with every step: so the models are fresh, and their tokens are words, of which any sequence is a text.
"""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from conftest import tiny_bert, tiny_gpt2
from test_distill import TINY
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import BertModel, PreTrainedTokenizerFast

from dilm.cli import main

GOLDEN = Path(__file__).with_name("trajectories.json")
TOLERANCE = {"stage_1": 2e-3, "stage_2": 2e-4}
"""A tenth of what the figures differ by from step to step, or less."""
SETTINGS = {
    **TINY,
    "generator_max_length": 16,
    "dpc": 2,
    "sets": 1,
    "language_modeling": {**TINY["language_modeling"], "max_steps": 30},
    "gradient_matching": {
        **TINY["gradient_matching"],
        **{"max_steps": 30, "refresh_steps": 10, "learning_rate": 1e-3},
        **{"teacher": "random", "minibatches": "random"},  # fresh features are so alike that rounding moves clusters
    },
    "evaluation": {**TINY["evaluation"], "learners": ["tfidf"]},
}


def make_models(folder: Path, texts: list[str]) -> dict[str, str]:
    """A fresh causal LM and a fresh encoder, with a token for each word."""
    words = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.train_from_iterator(texts, trainers.WordLevelTrainer(special_tokens=["[UNK]", "[END]"], show_progress=False))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, unk_token="[UNK]", eos_token="[END]", bos_token="[END]", pad_token="[END]"
    )
    torch.manual_seed(0)
    for name, model in (("generator", tiny_gpt2(tokenizer)), ("learner", BertModel(tiny_bert(len(tokenizer))))):
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    return {name: str(folder / name) for name in ("generator", "learner")}


@pytest.fixture(scope="module")
def curves(texts, tmp_path_factory):
    """{"stage 1": {"loss": [30]}, "stage 2": {"loss": [30], "cosine": [30]}}."""
    folder = tmp_path_factory.mktemp("invariants")
    settings = folder / "settings.yaml"
    values = json.loads(json.dumps({**SETTINGS, **make_models(folder, texts)}))
    settings.write_text(yaml.safe_dump(values))
    command = ["distill", "reviews", "--config", str(settings), "--output-dir", str(folder / "run"), "--quiet"]
    assert main(command) == 0
    found = {}
    for stage, names in (("stage_1", ["loss"]), ("stage_2", ["loss", "cosine"])):
        history = json.loads((folder / f"run/checkpoints/{stage}_history.json").read_text())["history"]
        found[stage] = {name: [round(record[name], 6) for record in history] for name in names}
    if os.environ.get("DILM_RECORD"):
        GOLDEN.write_text(json.dumps(found, indent=1) + "\n")
    return found


@pytest.mark.parametrize(("stage", "name"), [("stage_1", "loss"), ("stage_2", "loss"), ("stage_2", "cosine")])
def test_thirty_steps_are_what_they_were(curves, stage, name):
    golden = json.loads(GOLDEN.read_text())
    assert len(golden[stage][name]) == 30
    np.testing.assert_allclose(curves[stage][name], golden[stage][name], rtol=0, atol=TOLERANCE[stage])


def test_the_curves_go_where_they_should(curves):
    losses = curves["stage_1"]["loss"]
    assert np.mean(losses[-5:]) < np.mean(losses[:5])
    assert np.allclose(np.add(curves["stage_2"]["loss"], curves["stage_2"]["cosine"]), 1, atol=1e-4)

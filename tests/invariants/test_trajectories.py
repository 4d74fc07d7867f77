"""Losses and cosines of 30 steps of each stage, through the real command line: they are what they were.

    DILM_RECORD=1 python -m pytest tests/invariants

writes them anew, after a change that is meant to change them. A machine's rounding differs from another's; a change of
the method moves a curve by far more than the tolerance.
"""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import yaml
from test_distill import TINY

from dilm.cli import main

GOLDEN = Path(__file__).with_name("trajectories.json")
TOLERANCE = {"loss": 2e-3, "cosine": 2e-3}
SETTINGS = {
    **TINY,
    "dpc": 2,
    "sets": 1,
    "language_modeling": {**TINY["language_modeling"], "max_steps": 30},
    "gradient_matching": {**TINY["gradient_matching"], "max_steps": 30, "refresh_steps": 10, "learning_rate": 1e-3},
    "evaluation": {**TINY["evaluation"], "learners": ["tfidf"]},
}


@pytest.fixture(scope="module")
def curves(hub_models, tmp_path_factory):
    """{"stage 1": {"loss": [30]}, "stage 2": {"loss": [30], "cosine": [30]}}."""
    folder = tmp_path_factory.mktemp("invariants")
    settings = folder / "settings.yaml"
    values = json.loads(json.dumps({**SETTINGS, "generator": hub_models[0], "learner": hub_models[1]}))
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
    np.testing.assert_allclose(curves[stage][name], golden[stage][name], atol=TOLERANCE[name])


def test_the_curves_go_where_they_should(curves):
    losses = curves["stage_1"]["loss"]
    assert np.mean(losses[-5:]) < np.mean(losses[:5])
    assert np.allclose(np.add(curves["stage_2"]["loss"], curves["stage_2"]["cosine"]), 1, atol=1e-4)

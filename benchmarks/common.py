"""What every benchmark writes beside its figures: machine, versions, commit, command; folders that know their work."""

import hashlib
import json
import os
import platform
import shlex
import subprocess
import sys
import time
from pathlib import Path

import torch
import transformers

from dilm.durable import write_json


def write_result(path: str | Path, figures: dict) -> None:
    """Write the figures as JSON with where they come from."""
    found = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    gpu = [torch.cuda.get_device_name()] if torch.cuda.is_available() else []
    source = {
        "command": shlex.join(["python", "benchmarks/" + Path(sys.argv[0]).name, *map(_place, sys.argv[1:])]),
        "date": time.strftime("%Y-%m-%d"),
        "commit": os.environ.get("GIT_COMMIT") or found,  # a copy on another machine may have no .git
        "machine": ", ".join([*gpu, _processor(), f"{os.cpu_count()} cores"]),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(json.dumps({"source": source, **figures}, indent=1) + "\n", encoding="utf-8")


def made_of(folder: Path, **facts: object) -> Path:
    """The folder, for work that depends on these facts; exits if what lies there depends on others."""
    path, own = folder / "made_of.json", json.loads(json.dumps(facts))
    if not path.exists():
        if folder.exists() and any(folder.glob("[!.]*")):
            raise SystemExit(f"{folder} does not tell what it was made of: move it away, or choose another folder")
        folder.mkdir(parents=True, exist_ok=True)
        write_json(path, own)
    there = json.loads(path.read_text(encoding="utf-8"))
    if there != own:
        differing = ", ".join(key for key in own | there if own.get(key) != there.get(key))
        raise SystemExit(f"{folder} holds work made of another {differing}: move it away, or choose another folder")
    return folder


def content(path: Path) -> str:
    """A hash of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def _place(argument: str) -> str:
    """An argument without the places of this machine: path/to/sst2, ours=path/to/sst2."""
    name, equals, path = argument.rpartition("=")
    return f"{name}{equals}path/to/{Path(path).name}" if os.path.isabs(path) else argument


def told(source: dict) -> str:
    """Where figures come from, in one line, with the note that was put there by hand, if any."""
    note = f" ({source['note']})" if "note" in source else ""
    return f"`{source['command']}`, commit {source['commit']}, {source['machine']}, {source['date']}{note}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()

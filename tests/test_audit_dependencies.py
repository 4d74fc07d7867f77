"""The check for vulnerable dependencies fails for what can be mended, and for nothing else."""

import importlib.util
import subprocess
from pathlib import Path

import pytest

PATH = Path(__file__).parents[1] / ".ci/audit_dependencies.py"
spec = importlib.util.spec_from_file_location("audit_dependencies", PATH)
audit = importlib.util.module_from_spec(spec)
spec.loader.exec_module(audit)


def package(*fixes):
    return {"name": "x", "version": "1", "vulns": [{"id": "CVE-1", "fix_versions": list(fix)} for fix in fixes]}


@pytest.mark.parametrize(
    ("report", "code", "said"),
    [
        ("connection refused", 0, "could not be asked: connection refused"),
        ({"dependencies": [{"name": "x", "skip_reason": "not found"}]}, 0, "knows none of the 1 packages"),
        ({"dependencies": [package()]}, 0, "1 of 1 packages checked"),
        ({"dependencies": [package([])]}, 0, "x 1: CVE-1, no fixed release yet"),
        ({"dependencies": [package([], ["2", "3"])]}, 1, "x 1: CVE-1, fixed in 2, 3: raise the pin"),
    ],
)
def test_only_what_can_be_mended_fails(report, code, said):
    found, lines = audit.verdict(report)
    assert found == code and any(said in line for line in lines)


def test_no_answer_in_time_or_no_report_is_told(monkeypatch):
    def run(*_, **__):
        raise subprocess.TimeoutExpired("pip-audit", 1)

    monkeypatch.setattr(audit.subprocess, "run", run)
    assert "no answer within" in audit.ask()
    failed = subprocess.CompletedProcess([], 1, "", "trace\nERROR: no route to host\n")
    monkeypatch.setattr(audit.subprocess, "run", lambda *_, **__: failed)
    assert audit.ask() == "ERROR: no route to host"

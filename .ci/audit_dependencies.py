"""Known vulnerabilities of the installed packages, by pip-audit.

Exit code 1 only for what somebody here can mend: a vulnerability for which there is a fixed release (raise the pin in
constraints.txt). One without a fix is told and passes. So does a vulnerability service that cannot be reached, that
does not know the packages or that takes too long: the same commit must not fail because a network is down.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

MINUTES = 3


def main() -> int:
    report = ask()
    code, lines = verdict(report)
    print(*lines, sep="\n")
    return code


def ask() -> dict | str:
    """pip-audit's report, or why there is none."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "report.json")
        command = [sys.executable, "-m", "pip_audit", "--local", "--skip-editable", "--progress-spinner", "off"]
        command += ["--timeout", "15", "--format", "json", "--output", str(file)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=60 * MINUTES)
        except subprocess.TimeoutExpired:
            return f"no answer within {MINUTES} minutes"
        try:
            return json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return (done.stderr.strip().splitlines() or ["pip-audit said nothing"])[-1][:300]


def verdict(report: dict | str) -> tuple[int, list[str]]:
    """Exit code and lines to print."""
    if isinstance(report, str):
        return 0, [f"not checked, the vulnerability service could not be asked: {report}"]
    packages = report["dependencies"]
    known = [package for package in packages if "vulns" in package]
    if not known:
        return 0, [f"not checked, the vulnerability service knows none of the {len(packages)} packages"]
    code, lines = 0, [f"{len(known)} of {len(packages)} packages checked"]
    for package in known:
        for found in package["vulns"]:
            fixed = ", ".join(found.get("fix_versions", []))
            code = 1 if fixed else code
            way_out = f"fixed in {fixed}: raise the pin in constraints.txt" if fixed else "no fixed release yet"
            lines.append(f"{package['name']} {package['version']}: {found['id']}, {way_out}")
    return code, lines


if __name__ == "__main__":
    sys.exit(main())

"""Put the tables of benchmarks/results/coresets_*.json into docs/benchmarks.md, below its marker.

python benchmarks/make_tables.py
"""

import json
from pathlib import Path

from common import told

from dilm.durable import write_text
from dilm.report.comparison import overview_table

MARKER = "<!-- tables below are written by benchmarks/make_tables.py -->"
ROOT = Path(__file__).parent


def main() -> None:
    page = ROOT.parent / "docs" / "benchmarks.md"
    parts = [page.read_text(encoding="utf-8").split(MARKER)[0] + MARKER]
    for path in sorted((ROOT / "results").glob("coresets_*.json")):
        facts = json.loads(path.read_text(encoding="utf-8"))
        for learner in dict.fromkeys(line["learner"] for line in facts["lines"]):
            lines = [line for line in facts["lines"] if line["learner"] == learner]
            counts = sorted({(line["sets"], line["runs"]) for line in lines if line["dpc"]})
            runs = ", ".join(f"{sets} sets, {runs} runs" for sets, runs in counts)
            parts.append(f"### {facts['task']}, {learner}\n\n{overview_table(lines)}\n\n{runs} a cell.")
        made = [f"{told(source)} ({source['runs']} runs)" for source in facts.get("earlier", [])]
        parts.append(f"Made by {', '.join([*made, told(facts['source'])])}.")
    write_text(page, "\n\n".join(parts) + "\n")


if __name__ == "__main__":
    main()

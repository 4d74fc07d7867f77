"""Put the tables of benchmarks/results/{ablation,ingredients,coresets}_*.json into docs/benchmarks.md, at its marks.

python benchmarks/make_tables.py
"""

import json
import re
from pathlib import Path

from common import told
from coresets import rows_of

from dilm.durable import write_text
from dilm.evaluation.comparison import compare
from dilm.evaluation.statistics import FULL
from dilm.report.comparison import overview_table

MARKER = "<!-- tables below are written by benchmarks/make_tables.py -->"
GLANCE = re.compile(
    r"(<!-- at a glance, written by benchmarks/make_tables.py: (\S+) -->).*?(<!-- end of it -->)", re.DOTALL
)
ROOT = Path(__file__).parent
TASKS = ("SST-2", "QQP", "MNLI", "AG News")
SURE, CHOSEN = "dilm-sure", "dilm-best"
"""Our sets for fine-tuning, and of thirty such the ones that do best on dev."""
CHOOSING = {"SST-2", "QQP"}
"""Where that was asked; MNLI's `dilm-best` are of `dilm-middle`."""
ROWS = {
    "**ours, for fine-tuning**": SURE,
    "**ours, of thirty the ten best on dev**": CHOSEN,
    "ours, by default": "dilm",
    "the authors' published sets": "dilm-published",
    "vanilla LM (the paper's baseline)": "vanilla-lm",
    "random real texts": "random",
    "greedy K-center": "greedy-k-center",
    "K-centers": "k-centers",
    "herding": "herding",
    "lowest loss": "loss-rank",
    "gradient matching of real texts": "gradient-match",
    "kernel": "kernel",
    "all texts": FULL,
}
OURS = {"dilm", "dilm-best", "dilm-long", "dilm-middle", "dilm-sure"}
RIVALS = ("dilm", "dilm-published", "vanilla-lm", "k-centers", "herding", "kernel")
WAYS = {
    "paper": "by K-centers from all texts of its pool, as in the paper",
    "label": "from those that the classifier confirms",
    "kernel": "by kernel",
    "fluent": "from the fluent half",
    "shared": "from the pools of all sets (`shared`)",
    "joined": "of up to three parts: the default preset",
    "joined-sure": "of these, from those of which the classifier is surer (the rows below do without)",
    "long": "of up to six, as long as the longest training text",
    "middle": "by a middle layer",
    "sure": "from those of which the classifier is surer: the preset `fine-tuning`",
    "real-k-centers": "real texts, by K-centers",
    "real-kernel": "real texts, by kernel",
}
"""What on_dev.py may be told of: ways of selections.py, each adding to the one before, and real texts."""


def glance(learner: str) -> str:
    """Of one learner, method x task and DPC, in percent, with marks for what differs from our sets for fine-tuning, and
    where there are such, from those that were chosen of many."""
    table = {name: [name] for name in (learner, *ROWS)}
    kind = "fine_tuned" if learner.startswith("finetune") else "cheap"
    for task in TASKS:
        path = ROOT / "results" / f"coresets_{task.lower().replace('-', '').replace(' ', '_')}_{kind}.json"
        facts = json.loads(path.read_text(encoding="utf-8"))
        comparison = compare([row for row in rows_of(facts) if row["learner"] == learner], facts["metric"])
        means = {(line["method"], line["dpc"]): 100 * line["mean"] for line in comparison["lines"]}
        marks = {
            (frozenset((pair["method"], pair["other"])), pair["dpc"]): _marks(pair["p_corrected"])
            for pair in comparison["pairs"]
        }
        for dpc in sorted(dpc for method, dpc in means if method == SURE):
            ours = CHOSEN if task in CHOOSING and (CHOSEN, dpc) in means else SURE
            table[learner].append(f"{task}, {dpc}")
            for name, method in ROWS.items():
                mean = means.get((method, 0 if method == FULL else dpc))
                mean = None if method == CHOSEN != ours else mean
                mark = "" if method in (SURE, CHOSEN) else marks.get((frozenset((method, ours)), dpc), "")
                bold = "**" if name.startswith("**") else ""
                table[name].append("" if mean is None else f"{bold}{mean:.1f}{bold}{mark}")
    head, *rows = (f"| {' | '.join(cells)} |" for cells in table.values() if any(cells[1:]))
    return "\n".join([head, "|---|" + "---:|" * (head.count("|") - 2), *rows])


def ingredients(lines: list[dict]) -> str:
    """What each ingredient of selection brings: way x learner and DPC, in percent."""
    cells = {(line["learner"], line["dpc"], line["method"]): line for line in lines}
    columns = sorted({(learner, dpc) for learner, dpc, _ in cells})
    table = [
        f"| chosen | {' | '.join(f'{learner}, {dpc}' for learner, dpc in columns)} |",
        "|---|" + "---:|" * len(columns),
    ]
    for way, words in WAYS.items():
        found = [cells[*column, way] for column in columns if (*column, way) in cells]
        if not found:
            continue
        values = " | ".join(f"{100 * line['mean']:.1f} ± {100 * line['sd']:.1f}" for line in found)
        table.append(f"| {words} | {values} |")
    return "\n".join(table)


def ablation(lines: list[dict]) -> str:
    """Method x learner and DPC, in percent; marks where other than the whole method."""
    cells = {(line["learner"], line["dpc"], line["method"]): line for line in lines if line["dpc"]}
    columns, methods = (list(dict.fromkeys(key)) for key in (((k[0], k[1]) for k in cells), (k[2] for k in cells)))
    methods.sort(key=lambda method: method != "dilm")
    table = [
        f"| variant | {' | '.join(f'{learner}, {dpc}' for learner, dpc in columns)} |",
        "|---|" + "---:|" * len(columns),
    ]
    for method in methods:
        found = [cells[*column, method] for column in columns]
        values = [
            f"{100 * line['mean']:.1f} ± {100 * line['sd']:.1f}{_marks(line.get('p_corrected'))}" for line in found
        ]
        table.append(f"| {method} | {' | '.join(values)} |")
    return "\n".join(table)


def differences(pairs: list[dict]) -> str:
    """Our sets less their rivals, in points: method x DPC."""
    ours = sorted({pair[side] for pair in pairs for side in ("method", "other")} & OURS)
    sizes = sorted({pair["dpc"] for pair in pairs})
    lines = [f"| difference | {' | '.join(f'{dpc} per class' for dpc in sizes)} |", "|---|" + "---:|" * len(sizes)]
    for own in ours:
        for rival in RIVALS:
            cells = []
            for dpc in sizes:
                pair = next((p for p in pairs if p["dpc"] == dpc and {p["method"], p["other"]} == {own, rival}), None)
                cells.append("" if pair is None else _signed(pair, own))
            if any(cells):
                lines.append(f"| {own} - {rival} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _signed(pair: dict, own: str) -> str:
    """The difference with marks for its corrected p."""
    points = 100 * pair["difference"] * (1 if pair["method"] == own else -1)
    return f"{points:+.1f}{_marks(pair['p_corrected'])}"


def _marks(p: float | None) -> str:
    return "" if p is None or p >= 0.05 else " \\*\\*" if p < 0.01 else " \\*"


def with_tables(page: str) -> str:
    """The page with the tables of the result files in the place of those that it has."""
    text = page.split(MARKER)[0]
    parts = [GLANCE.sub(lambda found: f"{found[1]}\n\n{glance(found[2])}\n\n{found[3]}", text) + MARKER]
    for path in sorted((ROOT / "results").glob("ablation_*.json")):
        facts = json.loads(path.read_text(encoding="utf-8"))
        head = f"### The parts of the method, on and off: {facts['task']}"
        notes = f"{facts['test']}. Marks: other than the whole method. Made by {told(facts['source'])}."
        parts.append(f"{head}\n\n{ablation(facts['lines'])}\n\n{notes}")
    for path in sorted((ROOT / "results").glob("ingredients_*.json")):
        facts = json.loads(path.read_text(encoding="utf-8"))
        aim = ", towards the preset fine-tuning" if path.stem.endswith("_fine_tuning") else ""
        head = f"### What each ingredient of selection brings: {facts['task']}, dev texts{aim}"
        parts.append(f"{head}\n\n{ingredients(facts['lines'])}\n\nMade by {told(facts['source'])}.")
    for path in sorted((ROOT / "results").glob("coresets_*.json")):
        facts = json.loads(path.read_text(encoding="utf-8"))
        for learner in dict.fromkeys(line["learner"] for line in facts["lines"]):
            lines = [line for line in facts["lines"] if line["learner"] == learner]
            counts = sorted({(line["sets"], line["runs"]) for line in lines if line["dpc"]})
            runs = " or ".join(f"{sets} sets with {runs} runs" for sets, runs in counts)
            parts.append(f"### {facts['task']}, {learner}\n\n{overview_table(lines)}\n\n{runs} a cell.")
            own = [row for row in rows_of(facts) if row["learner"] == learner]
            if OURS & {row["method"] for row in own}:
                parts.append(differences(compare(own, facts["metric"])["pairs"]))
        made = [told(source) for source in (*facts.get("earlier", []), facts["source"])]
        parts.append(f"Made by {', then '.join(made)}.")
    return "\n\n".join(parts) + "\n"


def main() -> None:
    page = ROOT.parent / "docs" / "benchmarks.md"
    write_text(page, with_tables(page.read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()

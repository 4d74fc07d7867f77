"""Put the tables of benchmarks/results/{ablation,ingredients,coresets}_*.json into docs/benchmarks.md, at its marks.

python benchmarks/make_tables.py
"""

import json
from pathlib import Path

from common import told
from coresets import rows_of

from dilm.durable import write_text
from dilm.evaluation.comparison import compare
from dilm.evaluation.statistics import FULL
from dilm.report.comparison import overview_table

MARKER = "<!-- tables below are written by benchmarks/make_tables.py -->"
GLANCE = ("<!-- at a glance, written by benchmarks/make_tables.py -->", "<!-- end of it -->")
ROOT = Path(__file__).parent
BEST = {"SST-2": "dilm-sure", "QQP": "dilm-sure", "MNLI": "dilm-middle", "AG News": "dilm-sure"}
"""By task, our sets for fine-tuning; which these are was chosen on dev, for AG News on that of the other tasks."""
CHOSEN = "dilm-best"
"""Of many such sets those that do best on dev, where that was asked."""
SIDE_BY_SIDE = {
    "the authors' published sets": "dilm-published",
    "vanilla LM (the paper's baseline)": "vanilla-lm",
    "random real texts": "random",
    "herding": "herding",
    "K-centers": "k-centers",
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


def glance() -> str:
    """Fine-tuned, by task and DPC, in percent: our sets for fine-tuning, the best of many where there are such, and the
    others with marks where theirs differ from the last of these."""
    table = {name: [name] for name in ("fine-tuned on", "**ours**", "**ours, the best of thirty**", *SIDE_BY_SIDE)}
    for task, own in BEST.items():
        path = ROOT / "results" / f"coresets_{task.lower().replace('-', '').replace(' ', '_')}_fine_tuned.json"
        facts = json.loads(path.read_text(encoding="utf-8"))
        comparison = compare(rows_of(facts), facts["metric"])
        means = {(line["method"], line["dpc"]): line["mean"] for line in comparison["lines"]}
        marks = {
            (ours, (sides - {ours}).pop(), pair["dpc"]): _marks(pair["p_corrected"])
            for pair in comparison["pairs"]
            for sides in [{pair["method"], pair["other"]}]
            for ours in sides & {own, CHOSEN}
        }
        for dpc in sorted(dpc for method, dpc in means if method == own):
            chosen = (CHOSEN, dpc) in means
            table["fine-tuned on"].append(f"{task}, {dpc}")
            table["**ours**"].append(f"**{100 * means[own, dpc]:.1f}**")
            table["**ours, the best of thirty**"].append(f"**{100 * means[CHOSEN, dpc]:.1f}**" if chosen else "")
            for name, method in SIDE_BY_SIDE.items():
                mean = means.get((method, 0 if method == FULL else dpc))
                mark = marks.get((CHOSEN if chosen else own, method, dpc), "")
                table[name].append("" if mean is None else f"{100 * mean:.1f}{mark}")
    head, *rows = (f"| {' | '.join(cells)} |" for cells in table.values())
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


def main() -> None:
    page = ROOT.parent / "docs" / "benchmarks.md"
    before, _, rest = page.read_text(encoding="utf-8").split(MARKER)[0].partition(GLANCE[0])
    after = rest.partition(GLANCE[1])[2]
    parts = [f"{before}{GLANCE[0]}\n\n{glance()}\n\n{GLANCE[1]}{after}{MARKER}"]
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
    write_text(page, "\n\n".join(parts) + "\n")


if __name__ == "__main__":
    main()

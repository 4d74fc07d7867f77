"""The report as Markdown: the tables, texts and figures of the page, without its plots."""

from __future__ import annotations

from ..plain_text import in_markdown as plain
from ..progress import clock
from .comparison import markdown_table
from .facts import UNKNOWN_LICENCE, Facts, cell_text, gains, headline, in_one_line, memory_size, method_name

FROM_PYTHON = 'dilm.distill(task, config="config.yaml")'
"""Makes a run again whose task was given from Python."""


def markdown_report(facts: Facts) -> str:
    """Render the report from the facts."""
    parts = [
        f"# {plain(facts['task'])}, distilled: {', '.join(map(str, sorted(facts['dpc'])))} texts per class",
        "\n".join(f"- {figure} {plain(meaning)}" for figure, meaning in headline(facts)),
        *(f"**Warning:** {plain(warning)}" for warning in facts["warnings"]),
        "## How well learners do that were trained on them",
        *_accuracies(facts),
        f"## The texts: {facts['shown']}",
        *_texts(facts),
        "## What the generator wrote before and after stage 2",
        _samples(facts),
        "## Nearest training texts",
        *_overlap(facts),
        "## Diagnostics",
        _diagnostics(facts["diagnostics"]),
        *(f"- {plain(note)}" for note in facts["notes"]),
        "## Costs",
        _costs(facts),
        "## Make it again",
        f"```\n{facts['command'] or FROM_PYTHON}\n```",
        "## Limits and licence",
        "Synthetic does not mean anonymous: the generator was trained on the data and can repeat parts of it.",
        f"Licence of the source: {plain(facts['licence'] or UNKNOWN_LICENCE)}.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _accuracies(facts: Facts) -> list[str]:
    parts = []
    for part in facts["tables"]:
        rows = [
            [plain(method_name(method)), *(cell_text(part["cells"].get((method, size))) for size in part["sizes"])]
            for method in part["methods"]
        ]
        if part["full"]:
            rows.append([method_name("full"), *[cell_text(part["full"])] * len(part["sizes"])])
        header = [plain(part["learner"]), *(f"{size} per class" for size in part["sizes"])]
        parts.append(markdown_table(header, rows))
    spread = f"Accuracy in percent on the {facts['test_split']} split, mean ± standard deviation over all runs."
    return [*parts, "\n".join(f"- {plain(sentence)}" for sentence in gains(facts["summary"])), spread]


def _texts(facts: Facts) -> list[str]:
    parts = []
    for name, rows in facts["texts"].items():
        lines = (plain(in_one_line([row[key] for key in ("text", "text_pair") if key in row])) for row in rows)
        parts += [f"### {plain(name)}", "\n".join(f"{number}. {line}" for number, line in enumerate(lines, 1))]
    return parts


def _samples(facts: Facts) -> str:
    pairs = zip(facts["samples"]["before"], facts["samples"]["after"], strict=True)
    rows = [
        [plain(before["label_name"]), plain(in_one_line(before["text"])), plain(in_one_line(after["text"]))]
        for before, after in pairs
    ]
    return markdown_table(["class", "before", "after"], rows)


def _overlap(facts: Facts) -> list[str]:
    overlap = facts["overlap"]
    if not overlap:
        return ["The run folder has no overlap.json."]
    keys = overlap["summary"]["distilled"]
    figures = [
        [key.replace("_", " "), *(str(overlap["summary"][group][key]) for group in ("distilled", "held_out"))]
        for key in keys
    ]
    nearest = [
        [
            plain(in_one_line([row[key] for key in ("text", "text_pair") if key in row])),
            plain(in_one_line(row["nearest_text"])),
            str(row["shared_words"]),
            f"{row['char_similarity']:.2f}",
        ]
        for row in overlap["nearest"]
    ]
    return [
        markdown_table(["", "distilled", "held out"], figures),
        markdown_table(["distilled", "nearest training text", "shared words", "similarity"], nearest),
    ]


def _diagnostics(diagnostics: Facts) -> str:
    groups = ("pool", "distilled", "real")
    rows = [
        [key.replace("_", " "), *(f"{diagnostics[group][key]:{',' if key == 'texts' else '.3f'}}" for group in groups)]
        for key in diagnostics["real"]
    ]
    rows.append(["class confirmed", f"{diagnostics['agreement']:.3f}", "", f"{diagnostics['real_agreement']:.3f}"])
    return markdown_table(["", "pool", "distilled, set 0", "real, held out"], rows)


def _costs(facts: Facts) -> str:
    rows = [
        [stage, clock(value), ", ".join(memory_size(size) for size in facts["peak_memory"].get(stage, {}).values())]
        for stage, value in facts["seconds"].items()
    ]
    return markdown_table(["stage", "time", "peak memory so far"], rows)

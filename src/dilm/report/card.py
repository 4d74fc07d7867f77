"""The dataset card: README.md of the run folder, with YAML that the Hugging Face Hub reads."""

from __future__ import annotations

import re

import yaml

from .facts import METHOD_NAMES, Facts, cell_text, gains


def plain(text: str) -> str:
    """Text as one line that is plain text in Markdown and in a table cell of it."""
    return re.sub(r"([\\`*_{}\[\]<>#|!~&])", r"\\\1", " ".join(text.split()))


def dataset_card(facts: Facts) -> str:
    """Render the card from the facts."""
    names = {str(i): name for i, name in enumerate(facts["label_names"])}
    columns = ["text", "text_pair"] if facts["has_pairs"] else ["text"]
    features = [{"name": c, "dtype": "string"} for c in columns]
    features += [
        {"name": "label", "dtype": {"class_label": {"names": names}}},
        {"name": "label_name", "dtype": "string"},
    ]
    head = {
        "pretty_name": f"{facts['task']}, distilled",
        "task_categories": ["text-classification"],
        "tags": ["synthetic", "dataset-distillation"],
        "size_categories": ["n<1K" if max(facts["dpc"]) * len(names) < 1000 else "1K<n<10K"],
        "configs": [
            {
                "config_name": f"dpc_{dpc}",
                "data_files": [{"split": "train", "path": f"dpc_{dpc}/dataset_0.jsonl"}],
                "default": dpc == max(facts["dpc"]),
            }
            for dpc in facts["dpc"]
        ],
        "dataset_info": [{"config_name": f"dpc_{dpc}", "features": features} for dpc in facts["dpc"]],
    }
    lines = [
        "---",
        yaml.safe_dump(head, sort_keys=False, allow_unicode=True).rstrip(),
        "---",
        "",
        f"# {plain(facts['task'])}, distilled",
        "",
        f"{max(facts['dpc'])} readable training texts per class that stand in for "
        f"{facts['split_sizes']['train']:,} texts of `{plain(facts['source'])}`, written by a language model (DiLM).",
        "",
        "```python",
        "from datasets import load_dataset",
        f'train = load_dataset("path/to/this/folder", "dpc_{max(facts["dpc"])}", split="train")',
        "```",
        "",
        "## Accuracy of learners trained on them",
        "",
    ]
    for part in facts["tables"]:
        sizes = part["sizes"]
        lines += [
            f"| {plain(part['learner'])} | " + " | ".join(f"{dpc} per class" for dpc in sizes) + " |",
            "|---|" + "---|" * len(sizes),
        ]
        for method in part["methods"]:
            cells = [cell_text(part["cells"].get((method, dpc))) for dpc in sizes]
            lines.append(f"| {METHOD_NAMES.get(method, method)} | " + " | ".join(cells) + " |")
        if part["full"]:
            lines.append(f"| {METHOD_NAMES['full']} | {cell_text(part['full'])} |" + " |" * (len(sizes) - 1))
        lines.append("")
    lines += [f"- {plain(sentence)}" for sentence in gains(facts["summary"])]
    lines += [
        "",
        f"Percent on the {facts['test_split']} split, mean ± sd over all runs; {facts['sets']} sets per size, "
        "`dpc_*/dataset_*.jsonl`. p from Welch's t-test on the means of the sets.",
        "",
        "## What it is not",
        "",
        "The generator was trained on the source data and can repeat parts of it: synthetic does not mean anonymous. "
        "The licence of the source applies as far as it reaches.",
        "",
        "Method: Maekawa et al., DiLM: Distilling Dataset into Language Model for Text-level Dataset Distillation, "
        "Findings of NAACL 2024, arXiv 2404.00264.",
        "",
    ]
    return "\n".join(lines)

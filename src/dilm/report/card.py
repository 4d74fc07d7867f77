"""Cards for the Hugging Face Hub: README.md of the run folder, a dataset card, and the card of the generator."""

from __future__ import annotations

from typing import Any

import yaml

from ..plain_text import in_markdown as plain
from ..run_folder import PROBS
from .facts import METHOD_NAMES, Facts, cell_text, gains
from .source import shown_place

FOLDER = "path/to/this/folder"
"""Stands in the card's snippet until the repository has a name."""
MINILM = "sentence-transformers/all-MiniLM-L6-v2"
"""On the Hub, the model that `offline` stands for."""
TAGS = ["synthetic", "dataset-distillation"]
NOT_ANONYMOUS = (
    "The generator was trained on the source texts and can repeat parts of them: synthetic does not mean anonymous."
)
CITATION = """\
```bibtex
@inproceedings{maekawa2024dilm,
  title = {{DiLM}: Distilling Dataset into Language Model for Text-level Dataset Distillation},
  author = {Maekawa, Aru and Kosugi, Satoshi and Funakoshi, Kotaro and Okumura, Manabu},
  booktitle = {Findings of the Association for Computational Linguistics: NAACL 2024},
  year = {2024}
}
```"""


def dataset_card(facts: Facts) -> str:
    """README.md of the run folder, with the YAML that makes the folder a dataset repository."""
    largest = max(facts["dpc"])
    soft = f" `{PROBS}` is what a classifier of the full data makes of a text." if facts["has_soft_labels"] else ""
    lines = [
        _front_matter(dataset_metadata(facts)),
        f"# {plain(facts['task'])}, distilled",
        "",
        f"{largest} readable training texts per class that stand in for {facts['split_sizes']['train']:,} texts of "
        f"{plain(shown_place(facts['source']))}, written by a language model "
        "([DiLM](https://arxiv.org/abs/2404.00264)).",
        "",
        "```python",
        "from datasets import load_dataset",
        "",
        f'train = load_dataset("{FOLDER}", "dpc_{largest}", split="train")',
        "```",
        "",
        f"Configurations: {', '.join(f'`dpc_{dpc}`' for dpc in facts['dpc'])}, by texts per class. Each is the first "
        f"of {facts['sets']} sets that differ by seed; all of them are in `dpc_*/dataset_*.jsonl`.{soft}",
        "",
        "## Accuracy of learners trained on them",
        "",
        *_results(facts),
        "## How they were made",
        "",
        *_provenance(facts),
        "",
        "## What they share with the training texts",
        "",
        *_overlap(facts),
        "",
        "## Licence",
        "",
        _licence(facts),
        "",
        "## Citation",
        "",
        CITATION,
        "",
    ]
    return "\n".join(lines)


def dataset_metadata(facts: Facts) -> dict[str, Any]:
    """The YAML of the dataset card: a configuration per size, with the classes by name."""
    names = {str(i): name for i, name in enumerate(facts["label_names"])}
    columns = ["text", "text_pair"] if facts["has_pairs"] else ["text"]
    features = [
        *({"name": column, "dtype": "string"} for column in columns),
        {"name": "label", "dtype": {"class_label": {"names": names}}},
        {"name": "label_name", "dtype": "string"},
        *([{"name": PROBS, "list": "float32"}] if facts["has_soft_labels"] else []),
    ]
    largest = max(facts["dpc"])
    return {
        "pretty_name": f"{facts['task']}, distilled",
        "license": "unknown",
        **facts["source_card"],
        "task_categories": ["text-classification"],
        "size_categories": [size_category(largest * len(names))],
        "tags": TAGS,
        "configs": [
            {
                "config_name": f"dpc_{dpc}",
                "data_files": [{"split": "train", "path": f"dpc_{dpc}/dataset_0.jsonl"}],
                **({"default": True} if dpc == largest else {}),
            }
            for dpc in facts["dpc"]
        ],
        "dataset_info": [{"config_name": f"dpc_{dpc}", "features": features} for dpc in facts["dpc"]],
    }


def size_category(rows: int) -> str:
    """The Hub's word for a number of rows."""
    bounds = ("1K", "10K", "100K", "1M", "10M")
    place = next(i for i in range(len(bounds)) if rows < 10 ** (3 + i))
    return f"n<{bounds[0]}" if place == 0 else f"{bounds[place - 1]}<n<{bounds[place]}"


def generator_card(facts: Facts, dataset_id: str) -> str:
    """The model card of the run's generator."""
    base = facts["generator"]
    head = {
        "license": "unknown",
        **facts["source_card"],
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": [*TAGS, "dilm"],
        "datasets": [dataset_id],
    }
    if shown_place(base) == base:
        head["base_model"] = MINILM if base == "offline" else base
    classes = [f"- `<bos_{i}>`: {plain(name)}" for i, name in enumerate(facts["label_names"])]
    lines = [
        _front_matter(head),
        f"# Generator of {plain(facts['task'])}, distilled",
        "",
        f"A causal language model that writes training texts of a class of {plain(facts['task'])}, such as those in "
        f"[{dataset_id}](https://huggingface.co/datasets/{dataset_id}). A text begins with the token of its class:",
        "",
        *classes,
        "",
        "```python",
        "import dilm",
        "",
        f'generator = dilm.Generator.from_pretrained("{FOLDER}", max_length={facts["generator_max_length"]})',
        f"generator.write([0, 1], pairs={facts['has_pairs']})",
        "```",
        "",
        "It is loaded by AutoModelForCausalLM and AutoTokenizer of transformers too.",
        "",
        f"{NOT_ANONYMOUS} The model itself can give away more of them than the texts do.",
        "",
        _licence(facts),
        "",
        CITATION,
        "",
    ]
    return "\n".join(lines)


def _front_matter(head: dict[str, Any]) -> str:
    # Not folded, no aliases: the Hub and people read it line by line.
    dumper = type("Dumper", (yaml.SafeDumper,), {"ignore_aliases": lambda self, data: True})
    return f"---\n{yaml.dump(head, Dumper=dumper, sort_keys=False, allow_unicode=True, width=10**6)}---\n"


def _results(facts: Facts) -> list[str]:
    lines = []
    for part in facts["tables"]:
        sizes = part["sizes"]
        lines += [
            f"| {plain(_shown_learner(part['learner']))} | " + " | ".join(f"{dpc} per class" for dpc in sizes) + " |",
            "|---|" + "---|" * len(sizes),
        ]
        for method in part["methods"]:
            cells = [cell_text(part["cells"].get((method, dpc))) for dpc in sizes]
            lines.append(f"| {METHOD_NAMES.get(method, method)} | " + " | ".join(cells) + " |")
        if part["full"]:
            lines.append(f"| {METHOD_NAMES['full']} | {cell_text(part['full'])} |" + " |" * (len(sizes) - 1))
        lines.append("")
    shown = [{**line, "learner": _shown_learner(line["learner"])} for line in facts["summary"]]
    compared = [f"- {plain(sentence)}" for sentence in gains(shown)]
    return [
        *lines,
        *compared,
        *([""] if compared else []),
        f"Percent on the {facts['test_split']} split, mean ± sd over all runs; sets per size: {_sets(facts)}. p from "
        "Welch's t-test on the means of the sets.",
        "",
    ]


def _sets(facts: Facts) -> str:
    """How many sets the figures of each learner are from: fine-tuning may be done on the first few or none."""
    counts = {
        part["learner"]: max(line["sets"] for (method, _), line in part["cells"].items() if method != "full")
        for part in facts["tables"]
        if part["methods"]
    }
    if len(set(counts.values())) == 1:
        return str(next(iter(counts.values())))
    return ", ".join(f"{count} with {plain(_shown_learner(learner))}" for learner, count in counts.items())


def _shown_learner(name: str) -> str:
    kind, colon, model = name.partition(":")
    return f"{kind}{colon}{shown_place(model)}" if model else name


def _provenance(facts: Facts) -> list[str]:
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    sizes = ", ".join(f"{split} {number:,}" for split, number in facts["split_sizes"].items())
    tried = (
        f"- Of {facts['tries']} selections for every set, those that a fine-tuned learner did best with on dev texts"
    )
    return [
        f"- Source: {plain(shown_place(facts['source']))} ({sizes} texts; test texts were used for the table alone)",
        f"- Generator: {plain(shown_place(facts['generator']))}; learner: {plain(shown_place(facts['learner']))}; "
        f"preset {plain(facts['preset'])}, seed {facts['seed']}",
        *([tried] if facts["tries"] > 1 else []),
        f"- Versions: {versions}",
        "- Every setting: `config.yaml`; every figure: `results.json`",
    ]


def _overlap(facts: Facts) -> list[str]:
    if not facts["overlap"]:
        return [NOT_ANONYMOUS, "", "How much these texts share with them was not measured."]
    ours, real = (facts["overlap"]["summary"][group] for group in ("distilled", "held_out"))

    def line(name: str, *keys: str, share: bool = False) -> str:
        cells = [
            " / ".join("-" if of[key] is None else f"{of[key]:.1%}" if share else f"{of[key]:.3g}" for key in keys)
            for of in (ours, real)
        ]
        return f"| {name} | {cells[0]} | {cells[1]} |"

    return [
        NOT_ANONYMOUS + " Held-out real texts, which it has never seen, are the yardstick:",
        "",
        "| | distilled texts | held-out real texts |",
        "|---|---|---|",
        line("exact copies of a training text", "exact", share=True),
        line("longest run of shared words, mean / longest", "shared_words_mean", "shared_words_max"),
        line("similarity to the nearest training text, by characters", "char_similarity_mean"),
        line("the same, by embedding", "embedding_similarity_mean"),
        "",
        "Shared words are words: a fact said in other words is not found.",
    ]


def _licence(facts: Facts) -> str:
    told = plain(facts["licence"]) if facts["licence"] else "not known"
    return f"Licence of the source: {told}. It applies to these texts as far as it reaches."

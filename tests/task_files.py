"""What the tests of loading share: rows, files in every format, an own cache, and `check_sound` for a Task."""

import gzip
import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Value, config

from dilm.task import Task

ROWS = [{"text": f"text {i}", "label": i % 2} for i in range(40)]
FORMATS = ["csv", "tsv", "jsonl", "json", "parquet", "csv.gz", "tsv.gz", "jsonl.gz"]


@pytest.fixture(autouse=True)
def offline_and_own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setattr(config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
    monkeypatch.setattr(config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def write_jsonl(path: Path, rows: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_csv(path: Path, lines: list[str], encoding: str = "utf-8") -> Path:
    path.write_bytes("\n".join(lines).encode(encoding))
    return path


def labelled_csv(path: Path, labels: list[str]) -> Path:
    """A csv with ten different texts for every one of `labels`."""
    lines = [f"text {i} of {label},{label}" for label in labels for i in range(10)]
    return write_csv(path, ["text,label", *lines])


def all_rows(task: Task) -> dict:
    """text -> label name, over all splits."""
    rows = {}
    for split in ("train", "dev", "test"):
        for text, label in zip(task.texts(split), task.labels(split), strict=True):
            rows[text] = task.label_names[label]
    return rows


def check_sound(task: Task) -> None:
    assert re.fullmatch(r"[\w.-]+", task.name)
    columns = {"text", "label"} | ({"text_pair"} if task.has_pairs else set())
    texts = {}
    for split in ("train", "dev", "test"):
        dataset = getattr(task, split)
        assert set(dataset.column_names) == columns
        assert dataset.features["text"] == Value("string")
        assert dataset.features["label"] == ClassLabel(names=list(task.label_names))
        labels, texts[split] = task.labels(split), task.texts(split)
        assert labels.dtype == np.int64 and len(labels) == len(texts[split]) == len(dataset)
        assert set(labels) <= set(range(task.num_classes))
        assert all(part.strip() for text in texts[split] for part in ([text] if isinstance(text, str) else text))
    assert len(texts["test"]) and set(task.labels("train")) == set(range(task.num_classes))
    assert not set(texts["test"]) & {*texts["train"], *texts["dev"]} and not set(texts["dev"]) & set(texts["train"])
    assert task.num_classes >= 2 and all("\n" not in note for note in task.notes)


def save_as(path: Path, rows: list[dict]) -> Path:
    """Write rows in the format that the file's name tells."""
    kind = path.name.partition(".")[2]
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
        return path
    if kind.startswith("json"):
        lines = [json.dumps(row) + "\n" for row in rows]
        content = json.dumps(rows, indent=1) if kind == "json" else "".join(lines)
    else:
        separator = "\t" if kind.startswith("tsv") else ","
        content = "".join(separator.join(map(str, row)) + "\n" for row in [rows[0], *(r.values() for r in rows)])
    path.write_bytes(gzip.compress(content.encode()) if kind.endswith("gz") else content.encode())
    return path

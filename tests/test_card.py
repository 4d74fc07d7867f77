"""The dataset card.

Checked here is what huggingface_hub and datasets check without a network: that they read the block, the configurations
and the features, and that every word is in the Hub's lists as `datasets` ships them. The Hub's own validator needs the
network: `dilm push` asks it before anything is uploaded (test_hub.py).
"""

import shutil
from pathlib import Path

import pytest
import yaml
from datasets import ClassLabel, List, Value, load_dataset
from datasets.info import DatasetInfosDict
from datasets.utils import resources
from datasets.utils.metadata import MetadataConfigs, known_task_ids
from huggingface_hub import DatasetCard, constants, metadata_load

import dilm
from dilm.progress import Reporter
from dilm.report.card import FOLDER, _results, dataset_card, generator_card, size_category
from dilm.report.facts import run_facts
from dilm.report.source import shown_place, source_card
from dilm.report.write import write_report

SIZES = yaml.safe_load((Path(resources.__file__).parent / "size_categories.json").read_text())


@pytest.fixture(scope="module")
def facts(finished_run):
    return run_facts(finished_run)


def checked(text):
    """The card, read by the library, if it is sound."""
    card = DatasetCard(text)
    data = card.data
    assert set(data.task_categories) <= set(known_task_ids) and set(data.size_categories) <= set(SIZES)
    assert {"synthetic", "dataset-distillation"} <= set(data.tags) and isinstance(data.license, str)
    configs = MetadataConfigs.from_dataset_card_data(data)
    assert set(configs) == set(DatasetInfosDict.from_dataset_card_data(data))
    assert configs.get_default_config_name() in configs
    assert yaml.safe_load(data.to_yaml()) == data.to_dict()
    return card


def test_the_card_of_a_run_is_sound_and_its_configurations_load(finished_run, tmp_path):
    file = finished_run.output_dir / "README.md"
    card = checked(file.read_text(encoding="utf-8"))
    assert metadata_load(file) == card.data.to_dict()
    infos = DatasetInfosDict.from_dataset_card_data(card.data)
    for dpc in (2, 3):
        names = ClassLabel(names=["negative", "positive"])
        expected = {
            "text": Value("string"),
            "label": names,
            "label_name": Value("string"),
            "label_probs": List(Value("float32")),
        }
        assert infos[f"dpc_{dpc}"].features == expected
        loaded = load_dataset(str(finished_run.output_dir), f"dpc_{dpc}", split="train", cache_dir=str(tmp_path))
        assert loaded.features == expected and len(loaded) == 2 * dpc
        assert [names.int2str(label) for label in loaded["label"]] == loaded["label_name"]


def test_the_card_has_snippet_results_provenance_overlap_and_citation(facts):
    card = dataset_card(facts)
    assert f'load_dataset("{FOLDER}", "dpc_3", split="train")' in card
    assert "| random real texts | " in card and "all training texts" in card
    assert f"torch {facts['versions']['torch']}" in card and "preset fast, seed 0" in card
    for key in ("shared_words_mean", "shared_words_max"):
        assert f"{facts['overlap']['summary']['distilled'][key]:.3g}" in card
    assert f"| exact copies of a training text | {facts['overlap']['summary']['distilled']['exact']:.1%} |" in card
    assert "@inproceedings{maekawa2024dilm" in card and "synthetic does not mean anonymous" in card
    assert "was not measured" in dataset_card(facts | {"overlap": None})


def test_odd_names_of_classes_and_tasks_stay_names(facts):
    names = ["yes", "null", "1", "---", "a: b #c\n---\n", "| [red] <b>", "x" * 300, "größe 👩‍🔬 \u2028"]
    card = checked(dataset_card(facts | {"label_names": names, "task": "# x | [y](z)\n---\n", "has_pairs": True}))
    infos = DatasetInfosDict.from_dataset_card_data(card.data)
    assert infos["dpc_2"].features["label"].names == names and "text_pair" in infos["dpc_2"].features
    model = generator_card(facts | {"label_names": names}, "me/x")
    assert yaml.safe_load(model.split("---\n")[1])["datasets"] == ["me/x"] and "<b>" not in model


def test_nothing_shows_where_files_lie_on_the_machine(facts, hub_models, tmp_path):
    secret = tmp_path / "patients" / "mine.csv"
    private = facts | {"source": str(secret), "generator": str(tmp_path / "gpt2"), "learner": "bert-base-uncased"}
    for text in (dataset_card(private), generator_card(private, "me/x")):
        assert str(tmp_path) not in text and "patients" not in text and str(Path(hub_models[1]).parent) not in text
    assert "| probe:bert | 2 per class |" in dataset_card(private)
    assert "mine.csv" in dataset_card(private) and "base_model" not in generator_card(private, "me/x")
    offline = yaml.safe_load(generator_card(facts | {"generator": "offline"}, "me/x").split("---\n")[1])
    assert offline["base_model"] == "sentence-transformers/all-MiniLM-L6-v2"
    assert "base_model: gpt2\n" in generator_card(facts | {"generator": "gpt2"}, "me/x")
    assert shown_place("nyu-mll/glue:sst2") == "nyu-mll/glue:sst2"
    assert shown_place(f"{tmp_path}:2024") == f"{tmp_path.name}:2024"
    assert [shown_place(gone) for gone in ("patients/mine.csv", "patients/2024/all", "mine.jsonl.gz")] == [
        "mine.csv",
        "all",
        "mine.jsonl.gz",
    ]


def test_the_number_of_sets_is_told_by_learner(facts):
    def told(**numbers):
        parts = [
            {
                "learner": name,
                "methods": ["dilm"][:number],
                "cells": {("dilm", 5): {"sets": number, "mean": 0.5, "sd": None}} if number else {},
            }
            for name, number in numbers.items()
        ]
        lines = _results({**facts, "tables": [{"sizes": [5], "full": None, **part} for part in parts]})
        return lines[-2].split("sets per size: ")[1].partition(". p from")[0]

    assert told(probe=5, finetune=3) == "5 with probe, 3 with finetune"
    assert told(probe=5, finetune=5) == told(probe=5, finetune=0) == "5"


def test_size_categories_are_the_hub_s():
    assert [size_category(rows) for rows in (1, 999, 1000, 20_000, 150_000)] == [
        "n<1K", "n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M",
    ]  # fmt: skip
    assert {size_category(10**i) for i in range(7)} <= set(SIZES)


def test_licence_and_language_come_from_the_source_s_card(tmp_path, monkeypatch):
    empty = tmp_path / "run"
    empty.mkdir()
    assert source_card("reviews", empty) == {"license": "apache-2.0", "language": ["en"]}
    told = "---\nlicense: other\nlicense_name: ours\nlanguage: [de]\ntags: [x]\n---\n# y\n"
    expected = {"license": "other", "license_name": "ours", "language": ["de"]}
    (tmp_path / "data").mkdir()
    (tmp_path / "data/README.md").write_text(told)
    assert source_card(str(tmp_path / "data"), empty) == source_card(f"{tmp_path / 'data'}:sst2", empty) == expected
    cache = tmp_path / "cache/datasets--them--theirs"
    (cache / "refs").mkdir(parents=True)
    (cache / "refs/main").write_text("abc")
    (cache / "snapshots/abc").mkdir(parents=True)
    (cache / "snapshots/abc/README.md").write_text(told)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    assert source_card("them/theirs:config", empty) == expected
    for unknown in ("them/other", "in memory", "a/b/c.csv", "../gone", ""):
        assert source_card(unknown, empty) == {}
    for damaged in ("---\n: [\n---\n", "no head", "---\n- a\n---\n", "---\nlicense: unknown\n---\n"):
        (tmp_path / "data/README.md").write_text(damaged)
        assert source_card(str(tmp_path / "data"), empty) == {}


def test_a_licence_that_a_person_wrote_into_the_card_stays_when_it_is_written_again(finished_run, tmp_path):
    folder = shutil.copytree(finished_run.output_dir, tmp_path / "run")
    card = folder / "README.md"
    assert "license: unknown\n" in card.read_text() and "Licence of the source: not known" in card.read_text()
    card.write_text(card.read_text().replace("license: unknown", "license: cc-by-4.0\nlanguage:\n- en"))
    write_report(dilm.Run(folder), Reporter(quiet=True))
    again = checked(card.read_text())
    assert again.data.license == "cc-by-4.0" and again.data.language == ["en"]
    assert "Licence of the source: cc-by-4.0" in card.read_text()

"""The whole way, with tiny models in hub format: the run folder, presets, resuming, refusals."""

import dataclasses
import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from conftest import tiny_bert
from datasets import Dataset, load_dataset
from safetensors.numpy import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, BertForMaskedLM

import dilm
from dilm import InputError, run_folder
from dilm.config import DistillConfig, load_config
from dilm.errors import GenerationError
from dilm.evaluation.fine_tuning import FineTuning
from dilm.locks import locked
from dilm.models import offline
from dilm.pipeline import prepare
from dilm.progress import Reporter
from dilm.report.command import command
from dilm.reviews import generate
from dilm.run_folder import read_set, set_path, write_set
from dilm.verbs import distill_settings
from dilm.workspace import Workspace

TINY = {
    "dpc": (2, 3),
    "sets": 2,
    "bf16": False,
    "generator_max_length": 40,
    "learner_max_length": 48,
    "language_modeling": {"max_steps": 6, "batch_size": 16, "learning_rate": 3e-3},
    "gradient_matching": {
        "max_steps": 4,
        "batch_size": 6,
        "teacher_size": 8,
        "teacher_sets": 2,
        "teacher_candidates": 40,
        "generated_texts": 12,
        "refresh_steps": 2,
        "inner_steps": 2,
        "trajectories": 1,
        "learner_steps": 1,
        "learner_batch_size": 8,
        "micro_batch_size": 4,
    },
    "pool": {"texts_per_dpc": 6},
    "evaluation": {"max_steps": 2, "seeds": 1, "fine_tuned_sets": 1, "full_data_steps": 2, "max_texts": 40},
}


WEIGHTS = ("checkpoints/full_data.safetensors", "checkpoints/stage_1/model.safetensors", "generator/model.safetensors")


def tiny_run(task, hub_models, folder, **changes):
    generator, learner = hub_models
    settings = {**TINY, "generator": generator, "learner": learner, "output_dir": str(folder), "quiet": True}
    for key, value in changes.items():
        settings[key] = {**settings.get(key, {}), **value} if isinstance(value, dict) else value
    return dilm.distill(task, **settings)


@pytest.fixture
def run(finished_run):
    return finished_run


def test_run_folder_holds_what_the_contract_says(run):
    found = {path.name for path in run.output_dir.iterdir()}
    assert found == {
        "config.yaml", "generator", "pool.parquet", "overlap.json", "dpc_2", "dpc_3", "results.json",
        "report.html", "report.md", "report.json", "README.md", "checkpoints",
    }  # fmt: skip
    kinds = {path.suffix for path in run.output_dir.rglob("[!.]*") if path.is_file()}
    assert kinds <= {".safetensors", ".parquet", ".json", ".jsonl", ".yaml", ".html", ".md", ".txt"}, "no pickles"
    assert [path.name for path in run.output_dir.rglob(".*")] == [".lock"], "no leftovers"


def test_distilled_sets_are_balanced_labelled_and_distinct(run):
    for dpc in (2, 3):
        files = sorted((run.output_dir / f"dpc_{dpc}").iterdir())
        assert [f.name for f in files] == ["dataset_0.jsonl", "dataset_1.jsonl"]
        for file in files:
            rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
            assert [set(row) for row in rows] == [{"text", "label", "label_name", "label_probs"}] * (2 * dpc)
            assert np.bincount([row["label"] for row in rows]).tolist() == [dpc, dpc]
            assert all(row["label_name"] == ("negative", "positive")[row["label"]] for row in rows)
            assert len({row["text"] for row in rows}) == 2 * dpc


def test_soft_labels_are_those_of_the_full_data_classifier_and_can_be_measured(run, task, tmp_path):
    config, _ = load_config("fast", run.output_dir / "config.yaml")
    work = Workspace(task, config, run.output_dir, Reporter(quiet=True))
    learner = work.learner()
    work.become_judge(learner)
    dataset = run.datasets[3][1]
    logits = learner.predict(dataset["text"])
    np.testing.assert_allclose(dataset["label_probs"], np.exp(logits) / np.exp(logits).sum(1)[:, None], atol=1e-4)
    options = {"task": task, "learners": ["tfidf"], "output": tmp_path / "r.json", "quiet": True}
    rows = dilm.evaluate(run.output_dir, **options, soft_labels=True)["rows"]
    assert [(row["method"], row["dpc"], row["set"]) for row in rows] == [
        (method, dpc, number) for number in (0, 1) for dpc in (2, 3) for method in ("dilm", "dilm-soft")
    ]


def test_pool_has_the_planned_columns_and_every_distilled_text_is_in_it(run):
    pool = pq.read_table(run.output_dir / "pool.parquet").to_pylist()
    assert set(pool[0]) == {"text", "label", "set", "predicted_label", "confidence", "nll"}
    assert len(pool) == 2 * 2 * 6 * 3
    assert all(0 < row["confidence"] < 1 for row in pool)
    assert all((row["confidence"] > 0.5) == (row["predicted_label"] == row["label"]) for row in pool), "of two classes"
    for dpc, sets in run.datasets.items():
        for number, dataset in enumerate(sets):
            known = {(row["text"], row["label"]) for row in pool if row["set"] == number}
            assert {(row["text"], row["label"]) for row in dataset} <= known, dpc


def test_results_hold_every_run_and_their_summary(run):
    rows = run.results["rows"]
    assert {row["method"] for row in rows} == {"dilm", "random", "k-centers", "full"}
    assert all(set(row) >= {"task", "method", "dpc", "set", "learner", "seed", "accuracy"} for row in rows)
    assert all(0 <= row["accuracy"] <= 1 for row in rows)
    per_learner = [row for row in rows if row["method"] == "dilm" and row["learner"].startswith("probe:")]
    assert len(per_learner) == 4
    assert len(run.results["summary"]) == 2 * (3 * 2 + 1)
    stages = {"full data", "stage 1", "stage 2", "pool", "selection", "overlap", "coresets", "evaluation", "map"}
    assert set(run.results["seconds"]) == stages
    assert {"pool", "distilled", "real", "agreement", "matching"} <= set(run.results["diagnostics"])


def test_generator_folder_loads_with_plain_auto_classes(run):
    model = AutoModelForCausalLM.from_pretrained(run.output_dir / "generator")
    tokenizer = AutoTokenizer.from_pretrained(run.output_dir / "generator")
    prompt = tokenizer.convert_tokens_to_ids(["<bos_1>"])
    assert model.config.vocab_size == len(tokenizer) and prompt[0] != tokenizer.unk_token_id
    assert run.generator().num_classes == 2


def test_stage_2_changes_the_generator(run):
    before = load_file(run.output_dir / "checkpoints/stage_1/model.safetensors")
    after = load_file(run.output_dir / "generator/model.safetensors")
    assert before.keys() == after.keys()
    assert any(not np.array_equal(before[name], after[name]) for name in before)


def test_api_gives_datasets_with_named_labels(run):
    assert list(run.datasets) == [2, 3] and len(run.datasets[3]) == 2
    dataset = run.datasets[3][0]
    assert isinstance(dataset, Dataset) and dataset.column_names == ["text", "label", "label_probs"]
    assert dataset.features["label"].names == ["negative", "positive"]


def test_run_folder_is_a_dataset_repository(run, tmp_path):
    dataset = load_dataset(str(run.output_dir), "dpc_3", split="train", cache_dir=tmp_path)
    assert len(dataset) == 6 and dataset.features["label"].names == ["negative", "positive"]


def test_config_yaml_makes_the_run_again(run, task, hub_models, tmp_path):
    recorded = yaml.safe_load((run.output_dir / "config.yaml").read_text())
    assert recorded["preset"] == "fast" and recorded["seed"] == 0 and recorded["versions"]["torch"]
    again = dilm.distill(task, config=run.output_dir / "config.yaml", output_dir=str(tmp_path / "again"), quiet=True)
    for dpc, sets in run.datasets.items():
        assert [d.to_list() for d in sets] == [d.to_list() for d in again.datasets[dpc]]
    assert again.results["rows"] == run.results["rows"] and again.results["summary"] == run.results["summary"]
    assert again.config["preset"] == "fast"
    for name in WEIGHTS:
        assert (again.output_dir / name).read_bytes() == (run.output_dir / name).read_bytes(), name


def test_columns_that_load_task_was_given_are_recorded(hub_models, tmp_path):
    rows = [{"title": "a", "review": row["text"], "stars": row["label"] + 1} for row in generate(100, seed=8)]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = dilm.load_task(tmp_path / "mine.jsonl", text="review", label="stars")
    models = {"generator": hub_models[0], "learner": hub_models[1], "output_dir": str(tmp_path / "run")}
    _, settings, origins = prepare(task, "embedded", None, models)
    assert origins["text"] == origins["label"] == "given" and origins["text_pair"] == "default"
    with run_folder.open_run_folder(task, settings, "embedded", resume=False) as folder:
        recorded = yaml.safe_load((folder / "config.yaml").read_text())
    assert (recorded["text"], recorded["text_pair"], recorded["label"]) == ("review", None, "stars")
    again, same, _ = prepare(None, "embedded", folder / "config.yaml", {"output_dir": str(folder)})
    assert again.fingerprint == task.fingerprint and same == settings


def test_another_seed_gives_other_texts_weights_and_results(run, task, hub_models, tmp_path):
    other = tiny_run(task, hub_models, tmp_path / "other", preset="fast", seed=1)
    for name in WEIGHTS:
        assert (other.output_dir / name).read_bytes() != (run.output_dir / name).read_bytes(), name
    for dpc, sets in run.datasets.items():
        assert all(a.to_list() != b.to_list() for a, b in zip(sets, other.datasets[dpc], strict=True))
    ours = [row["content"] for row in run.results["rows"] if row["method"] == "dilm"]
    assert not {*ours} & {row["content"] for row in other.results["rows"]}


def test_resume_after_any_stage_equals_the_uninterrupted_run(run, task, hub_models, tmp_path):
    stages = {
        "stage 1": ["generator", "pool.parquet", "dpc_2", "dpc_3", "results.json", "checkpoints/evaluation"],
        "soft labels": ["results.json"],
        "selection": ["dpc_2/dataset_1.jsonl", "results.json", "checkpoints/evaluation", "checkpoints/coresets"],
        "evaluation": ["results.json"],
    }
    for stage, lost in stages.items():
        folder = tmp_path / stage
        shutil.copytree(run.output_dir, folder)
        for name in lost:
            path = folder / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        if stage == "soft labels":  # one set had them
            for path in (set_path(folder, 2, 1), set_path(folder, 3, 0), set_path(folder, 3, 1)):
                texts, labels = read_set(path)
                write_set(path, texts, labels, run.results["label_names"])
        if stage == "evaluation":  # some runs were finished
            store = folder / "checkpoints/evaluation/rows-0.jsonl"
            store.write_text("".join(line + "\n" for line in store.read_text().splitlines()[:5]))
        resumed = tiny_run(task, hub_models, folder, preset="fast", resume_from_checkpoint=True)
        assert resumed.results["rows"] == run.results["rows"], stage
        for dpc, sets in run.datasets.items():
            assert [d.to_list() for d in sets] == [d.to_list() for d in resumed.datasets[dpc]], stage


def test_a_folder_with_another_run_is_refused(run, task, hub_models, tmp_path):
    with pytest.raises(InputError, match="pass --resume"):
        tiny_run(task, hub_models, run.output_dir, preset="fast")
    with pytest.raises(InputError, match="seed: 0 there, 5 now"):
        tiny_run(task, hub_models, run.output_dir, preset="fast", seed=5, resume_from_checkpoint=True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("x")
    with pytest.raises(InputError, match="not empty"):
        tiny_run(task, hub_models, tmp_path / "mine")


def test_a_run_goes_on_under_another_name_of_its_preset(run, task, tmp_path):
    """As one that an earlier version made again from a config.yaml, and called `embedded`."""
    folder = shutil.copytree(run.output_dir, tmp_path / "run")
    record = yaml.safe_load((folder / "config.yaml").read_text())
    (folder / "config.yaml").write_text(yaml.safe_dump(record | {"preset": "embedded"}))
    settings, _ = load_config("fast", run.output_dir / "config.yaml", {"output_dir": str(folder)})
    with run_folder.open_run_folder(task, settings, "fast", resume=True) as opened:
        assert yaml.safe_load((opened / "config.yaml").read_text())["preset"] == "fast"


def test_a_folder_in_use_is_refused_whatever_is_asked_for(run, task, hub_models, tmp_path):
    """By another thread here; by another process, and a dead one, in test_locks.py and test_killed.py."""
    with locked(run.output_dir / "checkpoints"):
        for resume in (False, True):
            with pytest.raises(InputError, match=f"{run.output_dir} is in use"):
                tiny_run(task, hub_models, run.output_dir, preset="fast", resume_from_checkpoint=resume)


def test_what_a_killed_process_had_not_finished_writing_goes(run, task, hub_models, tmp_path):
    folder = tmp_path / "killed"
    shutil.copytree(run.output_dir, folder)
    (folder / ".results.json.17-1.partial").write_text("{")
    (folder / "checkpoints/.stage_1.partial").mkdir()
    (folder / "checkpoints/.stage_1.partial/model.safetensors").write_text("half of")
    tiny_run(task, hub_models, folder, preset="fast", resume_from_checkpoint=True)
    assert not [path for path in folder.rglob("*") if "partial" in path.name]


def test_runs_without_a_name_that_start_at_once_get_folders_of_their_own(task, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mine, other = (dataclasses.replace(task, name=name) for name in ("mine", "other"))
    with ThreadPoolExecutor(5) as pool:
        made = [pool.submit(run_folder._default_folder, mine, False) for _ in range(5)]
    names = ["mine", *(f"mine-{number}" for number in range(2, 6))]
    assert sorted(future.result().name for future in made) == names
    assert run_folder._default_folder(mine, True).name == "mine-5"
    for gone in ("mine", "mine-3"):
        (tmp_path / "runs" / gone).rmdir()
    (tmp_path / "runs" / "mine-9-ablation").mkdir()
    assert run_folder._default_folder(mine, True).name == "mine-5", "a folder that is gone ends no search"
    assert run_folder._default_folder(other, True).name == "other"


def test_a_run_goes_on_in_a_folder_of_its_own_task(task, pair_task, hub_models, tmp_path, monkeypatch):
    """runs/mine-2024 is not the 2024th run of the task mine."""
    monkeypatch.chdir(tmp_path)
    config = DistillConfig()
    mine, other = dataclasses.replace(task, name="mine"), dataclasses.replace(pair_task, name="mine-2024")
    for one in (mine, other):
        with run_folder.open_run_folder(one, config, "embedded", False):
            pass
    assert [run_folder._default_folder(one, True).name for one in (mine, other)] == ["mine", "mine-2024"]


def test_paper_preset_runs_with_local_hub_models(task, hub_models, tmp_path):
    """Fresh learners, fine-tuning only, all texts kept: at a size for tests."""
    run = tiny_run(task, hub_models, tmp_path / "paper", preset="paper", dpc=2)
    assert {row["learner"].split(":")[0] for row in run.results["rows"]} == {"finetune"}
    assert run.config["gradient_matching"]["learners"] == "fresh" and run.config["pool"]["keep"] == "all"


def test_pairs_run_through(pair_task, hub_models, tmp_path):
    longer = {"max_steps": 150, "num_train_epochs": 100, "learning_rate": 1e-2}
    run = tiny_run(pair_task, hub_models, tmp_path / "pairs", dpc=2, language_modeling=longer)
    dataset = run.datasets[2][0]
    assert dataset.column_names == ["text", "text_pair", "label", "label_probs"]
    assert all(row["text"] and row["text_pair"] for row in dataset)
    assert all("f1" in row for row in run.results["rows"])


def test_many_classes_have_a_ceiling_per_step(hub_models, tmp_path):
    rows = [{"text": f"{row['text']} {i % 12}", "label": f"topic {i % 12:02}"} for i, row in enumerate(generate(360))]
    small = {"dpc": 2, "sets": 1, "evaluation": {"learners": ("probe",)}}
    run = tiny_run(
        Dataset.from_list(rows), hub_models, tmp_path / "many", gradient_matching={"max_classes": 3}, **small
    )
    assert len(run.datasets[2][0]) == 24
    assert len(run.results["label_names"]) == 12


def test_stage_2_can_be_left_out(task, hub_models, tmp_path):
    small = {"dpc": 2, "evaluation": {"learners": ("probe",)}}
    run = tiny_run(task, hub_models, tmp_path / "vanilla", gradient_matching={"max_steps": 0}, **small)
    assert run.results["diagnostics"]["matching"] == {}


def test_texts_and_label_names_cannot_break_out_of_the_page_or_card(hub_models, tmp_path):
    hostile = ["<script>alert(1)</script>", "| [red] \n# x"]
    rows = [{"text": row["text"], "label": hostile[row["label"]]} for row in generate(200)]
    run = tiny_run(Dataset.from_list(rows), hub_models, tmp_path / "hostile", dpc=2)
    page = (run.output_dir / "report.html").read_text()
    assert page.count("<script") == 1 and "&lt;script&gt;alert(1)" in page
    assert "http" not in page.replace("http-equiv", "")
    card = (run.output_dir / "README.md").read_text()
    head = yaml.safe_load(card.split("---\n")[1])
    names = head["dataset_info"][0]["features"][1]["dtype"]["class_label"]["names"]
    assert sorted(names.values()) == sorted(run.results["label_names"])


def test_a_run_may_go_on_with_smaller_micro_batches_and_more_seeds(run, task, hub_models, tmp_path):
    folder = tmp_path / "more"
    shutil.copytree(run.output_dir, folder)
    smaller = {"micro_batch_size": 2}
    same = tiny_run(task, hub_models, folder, preset="fast", resume_from_checkpoint=True, gradient_matching=smaller)
    assert same.results["rows"] == run.results["rows"]
    more = tiny_run(
        task,
        hub_models,
        folder,
        preset="fast",
        resume_from_checkpoint=True,
        evaluation={"seeds": 2, "fine_tuned_sets": 2},
    )
    assert len(more.results["rows"]) > len(run.results["rows"]) and more.config["evaluation"]["seeds"] == 2
    assert all(row in more.results["rows"] for row in run.results["rows"])
    with pytest.raises(InputError, match="holds no run to go on with"):
        tiny_run(task, hub_models, tmp_path / "typo", resume_from_checkpoint=True)


def test_a_torn_line_of_the_evaluation_is_run_again(run, task, hub_models, tmp_path):
    folder = tmp_path / "torn"
    shutil.copytree(run.output_dir, folder)
    store = folder / "checkpoints/evaluation/rows-0.jsonl"
    store.write_text(store.read_text()[:-30])
    (folder / "results.json").unlink()
    assert (
        tiny_run(task, hub_models, folder, preset="fast", resume_from_checkpoint=True).results["rows"]
        == run.results["rows"]
    )


def test_a_generator_that_never_learns_ends_in_a_clear_error(task, hub_models, tmp_path, monkeypatch):
    monkeypatch.setattr(dilm.Generator, "_decode", lambda self, tokens, pairs: None)
    with pytest.raises(GenerationError, match="max-steps"):
        tiny_run(task, hub_models, tmp_path / "mute")


def test_models_are_rehearsed_before_any_training(task, hub_models, tmp_path):
    with pytest.raises(InputError, match="lr_scheduler_type 'cosin'"):
        tiny_run(task, hub_models, tmp_path / "a", evaluation={"lr_scheduler_type": "cosin"})
    assert not list((tmp_path / "a/checkpoints").glob("[!.]*"))
    shutil.copytree(hub_models[0], tmp_path / "no_end")
    config = json.loads((tmp_path / "no_end/tokenizer_config.json").read_text())
    for name in ("eos_token", "bos_token", "pad_token"):
        config.pop(name, None)
    (tmp_path / "no_end/tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="end-of-text"):
        tiny_run(task, (str(tmp_path / "no_end"), hub_models[1]), tmp_path / "b")
    assert tiny_run(task, hub_models, tmp_path / "a").datasets  # the folder is not blocked by the failed start


def test_selection_looks_at_the_layer_that_is_asked_for(task, hub_models, tmp_path, monkeypatch):
    monkeypatch.setenv("DILM_CACHE", str(tmp_path / "cache"))
    features, read = dilm.Learner.features, []

    def seen(self, texts, batch_size=128, depth=1.0):
        read.append((len(texts), depth))
        return features(self, texts, batch_size, depth)

    monkeypatch.setattr(dilm.Learner, "features", seen)
    tiny_run(task, hub_models, tmp_path / "run", pool={"depth": 0.5, "selection": "kernel"})
    middle = [count for count, depth in read if depth == 0.5]
    assert read[0] == (2, 0.5), "rehearsed before any training"
    assert max(middle) >= 100 and len(middle) >= 3, "candidates and the real texts that they are to stand for"


def test_an_offline_generator_without_its_package_is_told_before_anything_is_written(
    task, hub_models, tmp_path, monkeypatch
):
    monkeypatch.setattr(offline, "MINILM_PACKAGE", "no_such_package")
    offline.minilm_folder.cache_clear()
    with pytest.raises(InputError, match=r"dilm\[offline\]"):
        tiny_run(task, ("offline", hub_models[1]), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dpc": 1000}, "dpc 1000"),
        ({"learner": "no/such-model"}, "could not be loaded"),
        ({"generator": "no/such-model"}, "could not be loaded"),
        ({"learning_rate": 1}, "no setting 'learning_rate'"),
        ({"evaluation": {"learners": ("probe", "finetune:no/such")}}, "learner finetune 'no/such' could not be loaded"),
        ({"evaluation": {"learners": ("icl:offline",)}}, "needs a causal LM"),
        ({"gradient_matching": {"objective": "gumbel", "scope": "all"}}, "scope head"),
    ],
)
def test_bad_input_is_told_before_anything_is_written(task, hub_models, tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        tiny_run(task, hub_models, tmp_path / "bad", **changes)
    assert not (tmp_path / "bad").exists()


def test_a_masked_language_model_is_refused_before_any_training(task, hub_models, tokenizer, tmp_path):
    """It loads as a causal LM, but sees the token that it is to predict."""
    BertForMaskedLM(tiny_bert(len(tokenizer))).save_pretrained(tmp_path / "bert")
    tokenizer.save_pretrained(tmp_path / "bert")
    with pytest.raises(InputError, match="keeps no key-value cache, as a causal LM does"):
        tiny_run(task, (str(tmp_path / "bert"), hub_models[1]), tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoints" / "full_data.json").exists()


def test_an_encoder_cannot_be_the_generator(task, hub_models, tmp_path):
    folder = tmp_path / "vit"
    shutil.copytree(hub_models[0], folder)
    config = json.loads((folder / "config.json").read_text()) | {"model_type": "vit"}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="cannot play that part"):
        tiny_run(task, (str(folder), hub_models[1]), tmp_path / "run")


def test_the_offline_generator_is_made_from_both_texts_of_pairs(pair_task, tmp_path):
    work = Workspace(pair_task, DistillConfig(bf16=False, generator_max_length=40), tmp_path, Reporter(quiet=True))
    generator = work.generator("offline")
    assert generator.num_classes == 2 and generator.max_length == 40
    texts = pair_task.texts("train")[:3]
    pairs = [generator._decode(ids[1:-1], True) for ids in generator.encode(texts, [0, 1, 0])]
    assert any(pair == text for pair, text in zip(pairs, texts, strict=True))


def test_an_unfinished_folder_is_no_run(tmp_path):
    with pytest.raises(InputError, match=r"no results\.json"):
        dilm.Run(tmp_path)


@pytest.mark.parametrize("shared", [False, True])
def test_of_several_tries_those_stay_that_do_best_on_dev(task, hub_models, tmp_path, monkeypatch, shared):
    def by_hash(learner, training_set, held_out, seed):
        """Right on more or fewer of the texts, by the texts of the set."""
        right = np.arange(len(held_out.labels)) < int(training_set.content[:2], 16) * len(held_out.labels) / 256
        return np.where(right, held_out.labels, 1 - held_out.labels)

    monkeypatch.setattr(FineTuning, "predict", by_hash)
    changes = {"pool": {"tries": 3, "shared": shared, "parts": 2, "selection": "herding", "texts_per_dpc": 12}}
    run = tiny_run(task, hub_models, tmp_path / "run", **changes)
    checkpoints = run.output_dir / "checkpoints"
    lines = [path.read_text() for path in (checkpoints / "tries_on_dev").glob("rows-*.jsonl")]
    rows = [json.loads(line) for text in lines for line in text.splitlines()]
    assert sorted({(row["dpc"], row["set"]) for row in rows}) == [(dpc, n) for dpc in (2, 3) for n in range(6)]
    chosen = []
    for dpc in (2, 3):
        scores = {row["set"]: row["accuracy"] for row in rows if row["dpc"] == dpc}
        texts = {n: read_set(set_path(checkpoints / "tries", dpc, n)) for n in range(6)}
        kept = [read_set(set_path(run.output_dir, dpc, n)) for n in range(2)]
        chosen += sorted(sorted(range(6), key=lambda n: -scores[n])[:2])
        assert kept == [texts[n] for n in chosen[-2:]]
    assert chosen != [0, 1, 0, 1], "not the first ones"
    assert "Of 3 selections for every set" in (run.output_dir / "README.md").read_text()
    finished = {path: path.read_text() for path in sorted(run.output_dir.rglob("*.jsonl"))}
    for gone in ("dpc_2", "dpc_3", "checkpoints/tries/dpc_3", "checkpoints/tries/dpc_2/dataset_4.jsonl"):
        place = run.output_dir / gone
        shutil.rmtree(place) if place.is_dir() else place.unlink()
    tiny_run(task, hub_models, tmp_path / "run", resume_from_checkpoint=True, **changes)
    again = {path: path.read_text() for path in sorted(run.output_dir.rglob("*.jsonl"))}
    assert again == finished, "the same sets, and no run is made twice"
    with pytest.raises(InputError, match=r"evaluation\.max_steps"):  # by which the tries were judged
        tiny_run(
            task, hub_models, tmp_path / "run", resume_from_checkpoint=True, **changes, evaluation={"max_steps": 3}
        )


def test_a_run_goes_on_without_its_settings_being_given_again(run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(run.output_dir, folder)
    recorded = yaml.safe_load((folder / "config.yaml").read_text())
    chosen, parsed, given = distill_settings("distill", ["--resume", "--output-dir", str(folder)])
    assert (chosen.preset, chosen.config, parsed.resume) == ("fast", str(folder / "config.yaml"), True)
    assert given["task"] == recorded["task"] and parsed.generator == recorded["generator"]
    assert parsed.language_modeling.max_steps == recorded["language_modeling"]["max_steps"]
    assert distill_settings("distill", ["--resume", "--output-dir", str(folder), "--seed", "5"])[2]["seed"] == 5
    for others, preset in ((["--preset", "embedded"], "embedded"), (["--config", str(folder / "config.yaml")], "fast")):
        assert distill_settings("distill", ["--resume", "--output-dir", str(folder), *others])[0].preset == preset
    (folder / "config.yaml").write_text("someone: else")
    assert distill_settings("distill", ["--resume", "--output-dir", str(folder)])[0].config is None


def test_a_run_from_before_a_setting_goes_on_with_what_was_done_then(run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(run.output_dir, folder)
    record = yaml.safe_load((folder / "config.yaml").read_text()) | {"preset": "embedded"}
    del record["pool"]["shared"]
    (folder / "config.yaml").write_text(yaml.safe_dump(record))
    for options in (["--resume", "--output_dir", str(folder)], ["--config", str(folder / "config.yaml")]):
        _, parsed, given = distill_settings("distill", options)
        assert not parsed.pool.shared and "pool" not in given
    assert "--pool.no-shared" in command(record | {"task": "mine.csv"})

"""Uploads, made by the real client against a stand-in of the Hub on the loopback interface."""

import json
import shutil

import pytest
from datasets import load_dataset
from hub_stand_in import TOKEN, Hub, serving
from huggingface_hub import DatasetCard, ModelCard, constants

import dilm
from dilm import InputError
from dilm.cli import main

DATA, MODEL = ("datasets", "me/tiny"), ("models", "me/tiny-gpt")


@pytest.fixture
def hub(monkeypatch):
    """A stand-in that the client takes for the Hub, with a login."""
    stand_in = Hub()
    with serving(stand_in) as endpoint:
        monkeypatch.setattr(constants, "ENDPOINT", endpoint)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield stand_in


@pytest.fixture
def folder(finished_run, tmp_path):
    return shutil.copytree(finished_run.output_dir, tmp_path / "run")


def test_the_data_goes_first_then_the_card_and_no_training_texts(hub, finished_run, tmp_path):
    assert dilm.push(finished_run, "me/tiny") == [f"{hub.endpoint}/datasets/me/tiny"]
    (data, readme) = [entry for entry in hub.log if entry[0] == "commit"]
    assert {path for _, path in data[2]} == {
        "config.yaml", "results.json", *(f"dpc_{dpc}/dataset_{number}.jsonl" for dpc in (2, 3) for number in (0, 1)),
    }  # fmt: skip
    assert readme[2] == [("file", "README.md")]
    assert hub.log[0][0] == "validate" and list(hub.repositories) == [DATA] and not hub.private[DATA]
    repository = hub.write_to(tmp_path / "clone", DATA)
    card = (repository / "README.md").read_text(encoding="utf-8")
    assert 'load_dataset("me/tiny", "dpc_3", split="train")' in card and "path/to" not in card
    assert DatasetCard(card).data.tags == ["synthetic", "dataset-distillation"]
    for dpc in (2, 3):
        loaded = load_dataset(str(repository), f"dpc_{dpc}", split="train", cache_dir=str(tmp_path / "cache"))
        assert loaded.features["label"].names == ["negative", "positive"]
        assert loaded["text"] == finished_run.datasets[dpc][0]["text"]


def test_a_second_push_replaces_stale_metadata_and_stale_sets_and_leaves_the_rest(hub, folder):
    dilm.push(folder, "me/tiny")
    hub.repositories[DATA]["notes.txt"] = b"mine"
    hub.repositories[DATA]["README.md"] = b"---\nlicense: mit\ntags: [old]\n---\n# old\n"
    shutil.rmtree(folder / "dpc_2")
    (folder / "README.md").write_text((folder / "README.md").read_text().replace("license: unknown", "license: mit"))
    dilm.push(folder, "me/tiny")
    there = hub.repositories[DATA]
    assert set(there) == {
        ".gitattributes", "notes.txt", "README.md", "config.yaml", "results.json",
        "dpc_3/dataset_0.jsonl", "dpc_3/dataset_1.jsonl",
    }  # fmt: skip
    card = DatasetCard(there["README.md"].decode())
    assert card.data.license == "mit" and card.data.tags == ["synthetic", "dataset-distillation"]


def test_the_generator_goes_to_a_repository_of_its_own_with_a_model_card(hub, finished_run, tmp_path, capsys):
    arguments = ["--repo-id", "tiny", "--generator-repo-id", "me/tiny-gpt", "--private"]
    assert main(["push", str(finished_run.output_dir), *arguments]) == 0
    assert capsys.readouterr().out == f"pushed to {hub.endpoint}/datasets/me/tiny and {hub.endpoint}/me/tiny-gpt\n"
    assert hub.private == {DATA: True, MODEL: True}
    assert [entry[1] for entry in hub.log if entry[0] == "commit"] == [DATA, DATA, MODEL, MODEL]
    repository = hub.write_to(tmp_path / "clone", MODEL)
    names = {path.name for path in (finished_run.output_dir / "generator").iterdir()}
    assert {path.name for path in repository.iterdir()} == names | {"README.md", ".gitattributes"}
    card = ModelCard((repository / "README.md").read_text())
    assert card.data.datasets == ["me/tiny"] and card.data.pipeline_tag == "text-generation"
    assert "`<bos_1>`: positive" in card.text and 'from_pretrained("me/tiny-gpt", max_length=40)' in card.text
    generator = dilm.Generator.from_pretrained(str(repository), max_length=40)
    assert generator.num_classes == 2


def test_private_never_goes_to_a_public_repository(hub, finished_run):
    dilm.push(finished_run, "me/tiny")
    hub.log.clear()
    with pytest.raises(InputError, match="is there and is public"):
        dilm.push(finished_run, "me/tiny", private=True)
    assert not [entry for entry in hub.log if entry[0] == "commit"]


def test_a_card_that_the_hub_refuses_stops_the_push_before_any_upload(hub, folder):
    (folder / "README.md").write_text("---\nlicense: [1, 2]\n---\n# x\n")
    with pytest.raises(InputError, match=r"does not accept the card: .*license.* must be a string"):
        dilm.push(folder, "me/tiny")
    assert not [entry for entry in hub.log if entry[0] == "commit"]


@pytest.mark.parametrize("repo_id", ["me/a/b", "me/--x", "", "me/ü", "me/x.git"])
def test_a_malformed_id_is_told_before_anything_is_asked(finished_run, repo_id):
    for ids in ({"repo_id": repo_id}, {"repo_id": "me/x", "generator_repo_id": repo_id}):
        with pytest.raises(InputError, match=r"cannot name a repository.*expected user/name"):
            dilm.push(finished_run, **ids)


def test_without_login_or_rights_the_way_out_is_named(hub, finished_run, monkeypatch, tmp_path, capsys):
    push = ["push", str(finished_run.output_dir), "--repo-id", "me/tiny"]
    monkeypatch.setenv("HF_TOKEN", "hf_of_nobody")
    assert main(push) == 2 and "hf auth login" in told(capsys)
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    monkeypatch.setattr(constants, "HF_STORED_TOKENS_PATH", str(tmp_path / "none either"))
    assert main(push) == 2 and "not logged in" in told(capsys)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.may_write = False
    assert main(push) == 2 and "don't have the rights" in told(capsys)
    assert hub.repositories == {}


def test_a_hub_that_cannot_be_reached_is_told_in_one_line(finished_run, monkeypatch, capsys):
    push = ["push", str(finished_run.output_dir), "--repo-id", "me/tiny"]
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert main(push) == 2 and "HF_HUB_OFFLINE" in told(capsys)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with serving(Hub()) as endpoint:
        monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    assert main(push) == 2 and "the Hub cannot be reached" in told(capsys)


def told(capsys):
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1
    return said


def test_only_finished_runs_with_a_card_are_pushed(folder, tmp_path, capsys):
    (folder / "README.md").unlink()
    with pytest.raises(InputError, match="no README"):
        dilm.push(folder, "me/tiny")
    assert main(["push", str(tmp_path), "--repo-id", "me/tiny"]) == 2
    assert "no finished run" in told(capsys)
    assert json.loads((folder / "results.json").read_text())["task"]


def test_a_run_with_a_link_inside_is_not_pushed(hub, folder, tmp_path):
    (tmp_path / "secret").write_text("mine")
    (folder / "dpc_2/dataset_9.jsonl").symlink_to(tmp_path / "secret")
    with pytest.raises(InputError, match=r"dataset_9\.jsonl is a link \(to .*secret\)"):
        dilm.push(folder, "me/tiny")
    assert hub.log == [] and hub.repositories == {}


@pytest.mark.parametrize("gone", ["generator", "generator/model.safetensors"])
def test_a_generator_that_is_not_there_is_told_before_anything_is_uploaded(hub, folder, gone):
    path = folder / gone
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(InputError, match=r"has no weights in generator/; put it back, or push without"):
        dilm.push(folder, "me/tiny", generator_repo_id="me/tiny-gpt")
    assert hub.log == [] and hub.repositories == {}


def test_a_public_repository_of_the_generator_stops_a_private_push_of_the_data_too(hub, finished_run):
    dilm.push(finished_run, "me/other", generator_repo_id="me/tiny-gpt")
    hub.log.clear()
    with pytest.raises(InputError, match="model me/tiny-gpt is there and is public"):
        dilm.push(finished_run, "me/tiny", private=True, generator_repo_id="me/tiny-gpt")
    assert not [entry for entry in hub.log if entry[0] == "commit"]


def test_an_unreadable_card_is_not_told_as_the_hubs_fault(hub, folder):
    (folder / "README.md").write_bytes(b"\xff")
    with pytest.raises(InputError, match=r"README\.md is no text in UTF-8.*dilm report"):
        dilm.push(folder, "me/tiny")
    assert hub.log == []

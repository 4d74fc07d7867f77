"""A model is data: code that comes with it is not run, pickles are not opened, nothing is asked of anyone else."""

import json
import os
import pickle
import shutil

import pytest
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from dilm import InputError
from dilm.models.generator import Generator
from dilm.models.learner import Learner
from dilm.models.loading import check_model, load_pretrained


class Bomb:
    """Leaves a file when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.fixture(params=[0, 1], ids=["generator", "learner"])
def model(request, hub_models, tmp_path):
    """A copy of a model's folder, and how to load it."""
    folder = tmp_path / "model"
    shutil.copytree(hub_models[request.param], folder)
    load = [lambda: Generator.from_pretrained(str(folder), 2), lambda: Learner.from_pretrained(str(folder), 2)]
    return folder, load[request.param]


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "weights.pkl"])
def test_pickled_weights_are_refused_unopened_with_a_way_out(model, name, tmp_path):
    folder, load = model
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(pickle.dumps(Bomb(tmp_path / "exploded")))
    for attempt in (load, lambda: check_model(str(folder), "learner", lambda _: True)):
        with pytest.raises(InputError, match=rf"has its weights in {name}, a pickle.*save_pretrained"):
            attempt()
    assert not (tmp_path / "exploded").exists()


def test_pickled_weights_beside_safetensors_are_not_opened(model, tmp_path):
    folder, load = model
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(tmp_path / "exploded")))
    load()
    assert not (tmp_path / "exploded").exists()


def test_a_folder_without_weights_is_named(model):
    folder, load = model
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match="could not be loaded"):
        load()


@pytest.mark.parametrize("weights", ["adapter_model.bin", "adapter_model.safetensors"])
def test_an_adapter_is_refused_with_the_way_to_a_whole_model(model, weights, tmp_path):
    folder, load = model
    base = shutil.move(folder, tmp_path / "base")
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(base), "peft_type": "LORA"}))
    (folder / weights).write_bytes(pickle.dumps(Bomb(tmp_path / "exploded")))
    with pytest.raises(InputError, match=r"is an adapter.*merge_and_unload"):
        load()
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("known", [True, False], ids=["known kind", "kind of its own"])
def test_code_that_comes_with_a_model_is_not_run(model, known, tmp_path):
    folder, load = model
    (folder / "evil.py").write_text(f"import os\nos.mkdir({str(tmp_path / 'exploded')!r})\n")
    kinds = ("AutoConfig", "AutoModelForCausalLM", "AutoModelForSequenceClassification", "AutoModel")
    config = json.loads((folder / "config.json").read_text())
    config |= {"auto_map": {kind: "evil.Evil" for kind in kinds}} | ({} if known else {"model_type": "evil"})
    (folder / "config.json").write_text(json.dumps(config))
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"auto_map": {"AutoTokenizer": ["evil.Evil", None]}}))
    if known:
        load()
    else:
        with pytest.raises(InputError, match="needs code that comes with it, which is never run"):
            load()
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("kind", [AutoModelForCausalLM, AutoModelForSequenceClassification])
def test_damaged_weights_are_named(hub_models, tmp_path, kind):
    folder = tmp_path / "model"
    shutil.copytree(hub_models[kind is AutoModelForSequenceClassification], folder)
    whole = (folder / "model.safetensors").read_bytes()
    for content in (whole[: len(whole) // 2], b"", pickle.dumps(Bomb(tmp_path / "exploded"))):
        (folder / "model.safetensors").write_bytes(content)
        with pytest.raises(InputError, match="could not be loaded"):
            load_pretrained(kind, str(folder), "learner")
    assert not (tmp_path / "exploded").exists()


def test_no_service_is_asked_to_convert_a_model(hub_models, monkeypatch):
    seen = []
    monkeypatch.setenv("DISABLE_SAFETENSORS_CONVERSION", "0")
    monkeypatch.setattr(
        "dilm.models.loading.AutoTokenizer.from_pretrained",
        lambda *_, **__: seen.append(os.environ["DISABLE_SAFETENSORS_CONVERSION"]),
    )
    load_pretrained(AutoModelForCausalLM, hub_models[0], "generator")
    assert seen == ["true"] and os.environ["DISABLE_SAFETENSORS_CONVERSION"] == "0"


def test_a_cached_feature_is_never_unpickled(learner, tmp_path, monkeypatch):
    import numpy as np

    from dilm.models import feature_cache

    monkeypatch.setenv("DILM_CACHE", str(tmp_path / "cache"))
    features = feature_cache.pretrained_features(learner, ["a text", "another"])
    (entry,) = (tmp_path / "cache/features").iterdir()
    assert entry.suffix == ".npy"
    np.save(entry, np.array([Bomb(tmp_path / "exploded")], object), allow_pickle=True)
    assert np.array_equal(feature_cache.pretrained_features(learner, ["a text", "another"]), features)
    assert not (tmp_path / "exploded").exists()

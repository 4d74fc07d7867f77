"""MiniLM, for the offline models: found, checked, and refused if it is not what it should be."""

import importlib
import sys

import pytest

from dilm import InputError
from dilm.models import offline
from dilm.models.learner import Learner


def test_minilm_is_found_and_its_hash_holds():
    learner = Learner.from_pretrained("offline", 2)
    assert learner.encoder.config.hidden_size == 384 and learner.has_linear_head


def test_a_missing_package_names_the_way_out(monkeypatch):
    offline.minilm_folder.cache_clear()
    monkeypatch.setattr(offline, "MINILM_PACKAGE", "no_such_package")
    with pytest.raises(InputError, match=r"dilm\[offline\]"):
        offline.minilm_folder()


def test_one_changed_byte_of_the_weights_is_refused(tmp_path, monkeypatch):
    weights = (offline.minilm_folder() / "model.safetensors").read_bytes()
    folder = tmp_path / offline.MINILM_PACKAGE / "model"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").write_text("raise SystemExit('a package of weights is not imported')")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    for changed, refused in ((weights[:-1] + bytes([weights[-1] ^ 1]), True), (weights, False)):
        importlib.invalidate_caches()
        offline.minilm_folder.cache_clear()
        (folder / "model.safetensors").write_bytes(changed)
        if refused:
            with pytest.raises(InputError, match=r"are not all-MiniLM-L6-v2 \(sha256 .*reinstall"):
                Learner.from_pretrained("offline", 2)
        else:
            assert offline.minilm_folder() == folder
    monkeypatch.undo()
    offline.minilm_folder.cache_clear()

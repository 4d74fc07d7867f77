"""The offline learner: found, checked, and refused if it is not what it should be."""

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


def test_other_weights_are_refused(monkeypatch):
    offline.minilm_folder.cache_clear()
    monkeypatch.setattr(offline, "MINILM_SHA256", "0" * 64)
    with pytest.raises(InputError, match="sha256"):
        offline.minilm_folder()
    monkeypatch.undo()
    offline.minilm_folder.cache_clear()

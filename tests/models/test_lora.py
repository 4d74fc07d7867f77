"""Low-rank adapters: little trains, and what is saved is a plain model."""

import pytest
import torch
from conftest import tiny_gpt2
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from dilm import InputError, distill
from dilm.config import LanguageModelingConfig
from dilm.models import lora
from dilm.models.generator import Generator
from dilm.training.checkpoints import STATE, Checkpoints
from dilm.training.language_modeling import learn_language

LABELS = [0, 1, 1]


@pytest.fixture
def adapted(generator) -> Generator:
    generator.add_lora(4, seed=1)
    return generator


def test_only_adapters_and_control_tokens_train(adapted, task):
    trainable = sum(p.numel() for p in adapted.model.parameters() if p.requires_grad)
    assert trainable < 0.5 * sum(p.numel() for p in adapted.model.parameters())
    before = {n: p.detach().clone() for n, p in adapted.model.named_parameters()}
    config = LanguageModelingConfig(learning_rate=1e-2, max_steps=20, batch_size=16)
    losses = [record["loss"] for record in learn_language(adapted, task, config, seed=0)]
    assert losses[-1] < losses[0]
    changed = {n for n, p in adapted.model.named_parameters() if not torch.equal(p, before[n])}
    assert changed and all("lora_" in name or "token_adapter" in name for name in changed)
    assert any("token_adapter" in name for name in changed)


def test_a_checkpoint_holds_what_trains_and_training_goes_on_from_it(tokenizer, task, tmp_path):
    config = LanguageModelingConfig(learning_rate=1e-2, max_steps=6, batch_size=16)
    checkpoints = Checkpoints(tmp_path, save_steps=4, save_total_limit=1, say=lambda _: None)
    Generator(tiny_gpt2(tokenizer), tokenizer, 2)  # adds its tokens: after it all start alike
    found = []
    for own in (None, checkpoints, checkpoints):
        torch.manual_seed(0)
        generator = Generator(tiny_gpt2(tokenizer), tokenizer, 2, max_length=40)
        generator.add_lora(4, seed=1)
        steps = learn_language(generator, task, config, 0, own)
        for _ in range(5 if own and not found[1:] else 6):
            next(steps)
        steps.close()
        found.append({n: p.detach().clone() for n, p in generator.model.named_parameters()})
        if len(found) == 2:
            kept = {name for name in load_file(tmp_path / "step_4" / STATE) if name.startswith("model.")}
    assert kept == {f"model.{n}" for n, p in generator.model.named_parameters() if p.requires_grad}
    assert all(torch.equal(p, found[2][n]) for n, p in found[0].items()) and len(kept) < len(found[0])


def test_saved_it_is_a_plain_model_that_scores_and_writes_alike(adapted, task, texts, tmp_path):
    config = LanguageModelingConfig(learning_rate=1e-2, max_steps=5, batch_size=16)
    for _ in learn_language(adapted, task, config, seed=0):
        pass
    adapted.save_pretrained(tmp_path)
    assert not any("lora" in name for name, _ in AutoModelForCausalLM.from_pretrained(tmp_path).named_parameters())
    again = Generator.from_pretrained(str(tmp_path), max_length=40)
    assert torch.allclose(again.score(texts[:3], LABELS), adapted.score(texts[:3], LABELS), atol=1e-4)
    assert adapted.write(LABELS, seed=3) == again.write(LABELS, seed=3)


def test_the_same_seed_gives_the_same_adapters(tokenizer):
    weights = []
    for seed in (1, 1, 2):
        torch.manual_seed(0)
        generator = Generator(tiny_gpt2(tokenizer), tokenizer, 2)
        generator.add_lora(4, seed)
        weights.append(torch.cat([p.flatten() for n, p in generator.model.named_parameters() if "lora_A" in n]))
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_adapters_for_a_generator_from_nothing_are_refused(task, tmp_path):
    with pytest.raises(InputError, match="name a --generator"):
        distill(task, lora_r=4, dpc=1, output_dir=tmp_path / "run")


def test_without_peft_the_way_out_is_named(monkeypatch):
    monkeypatch.setattr(lora.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"dilm\[peft\]"):
        lora.check_lora("gpt2", "offline")

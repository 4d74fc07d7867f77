"""vLLM as the sampler of the pool: an engine that keeps its interface stands in for it."""

import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch

from dilm.models import vllm_sampling
from dilm.models.generator import Generator
from dilm.models.sampling import SamplingRules, sample_token_ids
from dilm.models.vllm_sampling import VLLMSampler


class Engine:
    """Has the interface of vllm.LLM; writes with a model of transformers."""

    model = None

    def __init__(self, model: str, **options):
        self.options = options | {"model": model}
        self.requests: list = []

    def generate(self, prompts, sampling_params, use_tqdm=True):
        assert len(prompts) == len(sampling_params)
        answers = []
        for prompt, wish in zip(prompts, sampling_params, strict=True):
            self.requests.append((prompt["prompt_token_ids"], wish))
            (end,) = wish["stop_token_ids"]
            rules = SamplingRules(end, None, tuple(wish["logit_bias"]), wish["max_tokens"], wish["top_p"])
            random = torch.Generator().manual_seed(wish["seed"])
            ((tokens, ended),) = sample_token_ids(self.model, torch.tensor(prompt["prompt_token_ids"]), rules, random)
            output = SimpleNamespace(token_ids=tokens + [end] * ended, finish_reason="stop" if ended else "length")
            answers.append(SimpleNamespace(outputs=[output]))
        return answers


@pytest.fixture
def generator(hub_models) -> Generator:
    return Generator.from_pretrained(hub_models[0], 2, max_length=40)


@pytest.fixture
def vllm(monkeypatch, generator):
    module = ModuleType("vllm")
    module.LLM, module.SamplingParams = Engine, lambda **wish: wish  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vllm", module)
    monkeypatch.setattr(Engine, "model", generator.model)


def test_texts_are_written_for_their_classes_and_reproducibly(vllm, generator):
    sampler = VLLMSampler("some/folder", generator.max_length)
    labels = [0, 1] * 5
    texts = generator.write(labels, seed=3, engine=sampler)
    assert all(isinstance(text, str) and text for text in texts)
    assert texts == generator.write(labels, seed=3, engine=sampler)
    assert texts != generator.write(labels, seed=4, engine=sampler)
    first = [prompt[0] for prompt, _ in sampler.engine.requests[: len(labels)]]
    assert first == [generator.class_ids[y] for y in labels]
    assert sampler.engine.options["model"] == "some/folder" and not sampler.engine.options["trust_remote_code"]


def test_control_tokens_are_banned_and_the_end_is_cut_off(vllm, generator):
    sampler = VLLMSampler("some/folder", generator.max_length)
    for text in generator.write([0] * 8, seed=1, engine=sampler):
        assert "<bos_" not in text and "<|endoftext|>" not in text
    _, wish = sampler.engine.requests[0]
    assert {*generator.class_ids, generator.sep_id} <= set(wish["logit_bias"])
    assert wish["min_tokens"] == 1 and generator.eos_id not in wish["logit_bias"]


def test_malformed_pairs_are_written_again_within_a_bound(vllm, generator):
    sampler = VLLMSampler("some/folder", generator.max_length)
    pairs = generator.write([0, 1], seed=1, pairs=True, engine=sampler, max_tries=3)
    assert all(pair is None or (isinstance(pair, tuple) and all(pair)) for pair in pairs)
    assert len(sampler.engine.requests) <= 6


def test_it_is_used_where_it_is_installed_and_a_gpu_is_there(monkeypatch):
    found, gpu = {"vllm": object()}, True
    monkeypatch.setattr(vllm_sampling.util, "find_spec", lambda name: found.get(name))
    monkeypatch.setattr(vllm_sampling.torch.cuda, "is_available", lambda: gpu)
    gpt2, bert = (SimpleNamespace(config=SimpleNamespace(model_type=kind)) for kind in ("gpt2", "bert"))
    assert vllm_sampling.vllm_is_there(gpt2) and not vllm_sampling.vllm_is_there(bert)
    found.clear()
    assert not vllm_sampling.vllm_is_there(gpt2)
    found["vllm"], gpu = object(), False
    assert not vllm_sampling.vllm_is_there(gpt2)

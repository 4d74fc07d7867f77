"""Tiny models and tasks that every test can make in milliseconds; no network, no GPU, caches in a temporary folder."""

import os
import shutil
import signal
import tempfile

os.environ["TEST_CACHES"] = tempfile.mkdtemp(prefix="dilm-test-")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_CACHE"] = os.environ["TEST_CACHES"] + "/datasets"
os.environ["DILM_CACHE"] = os.environ["TEST_CACHES"] + "/features"
os.environ["TRACKIO_DIR"] = os.environ["TEST_CACHES"] + "/trackio"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["COLUMNS"] = "200"
os.environ["OMP_NUM_THREADS"] = "1"  # also of the commands that tests start: threads that wait for each other crawl

import hypothesis
import pytest
import torch
from datasets import ClassLabel, Dataset, Features, Value
from tokenizers import decoders, pre_tokenizers
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from dilm.models import offline
from dilm.models.generator import Generator
from dilm.models.learner import Learner
from dilm.reviews import generate
from dilm.task import Task, load_task

torch.set_num_threads(1)
# How fast an example is checked is no promise; all else is as in hypothesis' own profile, on CI as elsewhere.
SLOW = [hypothesis.HealthCheck.too_slow]
hypothesis.settings.register_profile("untimed", hypothesis.settings(), deadline=None, suppress_health_check=SLOW)
hypothesis.settings.load_profile("untimed")


def pytest_configure() -> None:
    """A shell that starts the tests in the background has them ignore Ctrl-C; here it is to arrive."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_unconfigure() -> None:
    """Nothing stays behind."""
    shutil.rmtree(os.environ["TEST_CACHES"], ignore_errors=True)


@pytest.fixture(scope="session")
def texts() -> list[str]:
    return [row["text"] for row in generate(400, seed=1)]


@pytest.fixture(scope="session")
def tokenizer_folder(texts, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    tokenizer = offline.train_tokenizer(texts, vocab_size=600)
    backend = tokenizer.backend_tokenizer  # no space before a text, as with those that come from a hub
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def tokenizer(tokenizer_folder) -> PreTrainedTokenizerFast:
    """A small BPE tokenizer, a fresh copy for every test: generators add tokens to it."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(tokenizer_folder)
    tokenizer.add_special_tokens({"cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"})
    return tokenizer


def tiny_bert(vocab_size: int, **changes) -> BertConfig:
    settings = {
        "vocab_size": vocab_size,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 80,
        "num_labels": 2,
    }
    return BertConfig(**(settings | changes))


@pytest.fixture
def learner(tokenizer) -> Learner:
    torch.manual_seed(0)
    return Learner(BertForSequenceClassification(tiny_bert(len(tokenizer))), tokenizer, max_length=48)


def tiny_gpt2(tokenizer, positions: int = 64):
    from transformers import GPT2Config, GPT2LMHeadModel

    end = int(tokenizer.eos_token_id)
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=len(tokenizer),
            n_positions=positions,
            n_embd=32,
            n_layer=2,
            n_head=2,
            bos_token_id=end,
            eos_token_id=end,
            pad_token_id=end,
        )
    )


@pytest.fixture
def generator(tokenizer) -> Generator:
    torch.manual_seed(0)
    return Generator(tiny_gpt2(tokenizer), tokenizer, 2, max_length=40)


@pytest.fixture(scope="session")
def task() -> Task:
    """400 training reviews, two classes."""
    rows = generate(560, seed=3)
    features = Features({"text": Value("string"), "label": ClassLabel(names=["negative", "positive"])})
    train, test = (Dataset.from_list(part, features=features) for part in (rows[:480], rows[480:]))
    return load_task({"train": train, "test": test})


@pytest.fixture(scope="session")
def pair_task() -> Task:
    """Pairs of reviews, labelled by the first."""
    rows = generate(400, seed=4)
    pairs = [
        {"text": a["text"], "text_pair": b["text"], "label": a["label"]}
        for a, b in zip(rows[::2], rows[1::2], strict=True)
    ]
    return load_task(Dataset.from_list(pairs))


@pytest.fixture(scope="session")
def hub_models(tokenizer_folder, texts, tmp_path_factory):
    """A tiny causal LM and a tiny encoder as folders in hub format: (generator, learner)."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(tokenizer_folder)
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("hub")
    gpt2 = tiny_gpt2(tokenizer)
    _teach(gpt2, tokenizer, texts)
    gpt2.save_pretrained(folder / "gpt2")
    tokenizer.save_pretrained(folder / "gpt2")
    BertForSequenceClassification(tiny_bert(len(tokenizer))).base_model.save_pretrained(folder / "bert")
    tokenizer.save_pretrained(folder / "bert")
    return str(folder / "gpt2"), str(folder / "bert")


def _teach(model, tokenizer, texts, steps: int = 150) -> None:
    """So much language that most of what the model writes is whole characters and comes to an end."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    tokenizer.padding_side = "right"
    ids = tokenizer([text + tokenizer.eos_token for text in texts], return_tensors="pt", padding=True)["input_ids"]
    for step in range(steps):
        batch = ids[step * 16 % 384 :][:16, :40]
        model(input_ids=batch, labels=batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()


@pytest.fixture(scope="session")
def finished_run(task, hub_models, tmp_path_factory):
    """A tiny run of the preset `fast`, two sizes, two sets; tests that change something copy the folder."""
    from test_distill import tiny_run

    return tiny_run(task, hub_models, tmp_path_factory.mktemp("runs") / "tiny", preset="fast")

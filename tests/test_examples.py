"""Every example runs at small size, one after the other on one small run, with the tests' tiny models."""

import importlib
import json
from pathlib import Path

import pytest
import yaml
from conftest import tiny_gpt2
from transformers import PreTrainedTokenizerFast

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture(scope="module")
def example(hub_models, tmp_path_factory):
    """Loads an example by name; what it distils, it distils with tiny models."""
    settings = yaml.safe_load((EXAMPLES / "small.yaml").read_text()) | dict(
        zip(("generator", "learner"), hub_models, strict=True)
    )
    file = tmp_path_factory.mktemp("settings") / "small.yaml"
    file.write_text(yaml.safe_dump(settings))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(EXAMPLES)

        def load(name):
            module = importlib.import_module(name)
            module.SMALL = file
            return module

        yield load


@pytest.fixture(scope="module")
def run(example, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tickets")
    return example("support_tickets").main(["--small", "--folder", str(folder)])


def test_support_tickets_come_from_a_csv_in_five_queues(run, example):
    assert run.datasets[2][0].features["label"].names == sorted(example("support_tickets").QUEUES)
    again = example("support_tickets").main(["--small", "--folder", str(run.output_dir.parent)])
    assert again.results["rows"] == run.results["rows"], "a second call goes on with the first's run"
    rows = example("support_tickets").tickets(300)
    assert rows == example("support_tickets").tickets(300) and len({row["message"] for row in rows}) == 300


def test_few_shot_prompts_hold_every_text_and_the_question(run, example, tokenizer_folder, tmp_path, capsys):
    tokenizer = PreTrainedTokenizerFast.from_pretrained(tokenizer_folder)
    tiny_gpt2(tokenizer, positions=2048).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    arguments = ["--run", str(run.output_dir), "--text", "Where is my lamp?", "--small"]
    prompts = example("few_shot_prompts").main([*arguments, "--model", str(tmp_path)])
    texts = [" ".join(text.split()) for text in run.datasets[2][0]["text"]]
    assert all(text in prompts["plain"] for text in texts) and "Where is my lamp?" in prompts["plain"]
    assert len(json.loads(prompts["chat"])) == 1 + 2 * len(texts) + 1
    assert "Where is my lamp?" in prompts["own layout"]
    assert "dilm, 2 per class in the prompt: " in capsys.readouterr().out


def test_model_screening_reports_a_rank_correlation(run, example, capsys):
    found = example("model_screening").main(["--run", str(run.output_dir), "--small"])
    assert set(found) == {"distilled", "random"} and all(-1 <= value <= 1 for value in found.values())
    said = capsys.readouterr().out
    assert said.count(" on words ") + said.count(" on MiniLM ") == 6 and "rank correlation" in said


def test_continual_learning_forgets_without_memory(example, tmp_path):
    found = example("continual_learning").main(["--small", "--folder", str(tmp_path)])
    assert all(len(scores) == 2 for scores in found.values())
    assert found["nothing"][1] < found["all"][1] and found["nothing"][1] < found["real"][1]


@pytest.mark.filterwarnings("default")  # of setfit and what it stands on
def test_setfit_learns_from_distilled_texts(run, example):
    found = example("setfit_on_distilled").main(["--run", str(run.output_dir), "--small"])
    assert set(found) == {"distilled", "random", "k-centers"} and all(0 <= value <= 1 for value in found.values())
    assert found["random"] > 0.3  # five queues: guessing gives 0.2

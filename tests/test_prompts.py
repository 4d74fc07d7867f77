"""Few-shot prompts: what in-context learning is measured with, chat messages, templates; any folder of sets."""

import json
import sys

import numpy as np
import pytest

import dilm
from dilm import InputError
from dilm.cli import main
from dilm.evaluation.in_context import InContext
from dilm.evaluation.training_sets import HeldOut, TrainingSet
from dilm.prompts import example, layout
from dilm.run_folder import read_set, set_path, write_set

TEXTS = ["It was  bad,\nreally.", "Größe 👩‍🔬 “fine” {text}", "\u2028ok\u0000 {{ 7*7 }}", "<b>no</b> & [red]"]
NAMES = ("schlecht", "good one")


@pytest.fixture
def folder(tmp_path):
    """Two sizes, three sets of the smaller one."""
    for dpc, number in ((1, 0), (1, 1), (1, 2), (2, 0)):
        path = set_path(tmp_path / "run", dpc, number)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_set(path, TEXTS[number:][: 2 * dpc], [i % 2 for i in range(len(TEXTS[number:][: 2 * dpc]))], NAMES)
    return tmp_path / "run"


@pytest.fixture
def pairs(tmp_path):
    path = set_path(tmp_path / "pairs", 1, 0)
    path.parent.mkdir(parents=True)
    write_set(path, [("a", "b"), ("c\n c", "d")], [0, 1], NAMES)
    return tmp_path / "pairs"


def test_the_plain_prompt_is_what_in_context_learning_reads(folder, hub_models):
    learner = InContext("icl:tiny", hub_models[0], NAMES)
    texts, labels = read_set(set_path(folder, 2, 0))
    chosen = TrainingSet("dilm", 2, 0, texts, labels)
    read = []
    learner.log_probabilities = lambda prompt, texts: read.append(prompt) or np.zeros((1, 2))
    for seed in range(4):
        learner.predict(chosen, HeldOut(["A fine film."], np.array([1])), seed)
        ids = read[-1] + learner._query("A fine film.", None)
        whole = learner.tokenizer.decode(ids, skip_special_tokens=True)
        assert whole == dilm.prompt(folder, dpc=2, query=["A fine film."], seed=seed)
    assert len({tuple(ids) for ids in read}) > 1


def test_without_a_query_its_place_is_marked_and_the_smallest_size_is_taken(folder, pairs):
    made = dilm.prompt(folder)
    assert made == dilm.prompt(folder, dpc=1, set=0)
    assert sorted(made.split("\n\n")) == sorted(
        [f"{layout(TEXTS[0])} schlecht", f"{layout(TEXTS[1])} good one", "Text: {text}\nLabel:"]
    )
    assert dilm.prompt(folder, set=2) != made
    assert dilm.prompt(pairs).endswith("\n\nText 1: {text}\nText 2: {text_pair}\nLabel:")
    assert example(("c\n c", "d"), "good one") in dilm.prompt(pairs, query=["x", "y"])


def test_chat_messages_take_turns_and_name_the_labels(folder, pairs):
    for source, query in ((folder, ("a \u2029 query",)), (pairs, ("x", "y"))):
        first, *turns, last = json.loads(dilm.prompt(source, format="chat", query=query))
        assert first["role"] == "system" and first["content"].endswith("schlecht, good one")
        assert [message["role"] for message in turns] == ["user", "assistant"] * 2
        assert {message["content"] for message in turns[1::2]} == set(NAMES)
        assert last == {"role": "user", "content": layout(query[0] if len(query) == 1 else query)}


def test_a_template_gets_the_rows_as_they_are(folder, pairs, tmp_path):
    shown = dilm.prompt(folder, dpc=2, template="{% for e in examples %}{{ e.label }} {{ e.text }}|{% endfor %}")
    assert sorted(shown.split("|")) == sorted(["", *(f"{i % 2} {text}" for i, text in enumerate(TEXTS))])
    file = tmp_path / "mine.j2"
    file.write_text("{% for e in examples %}\n{{ e.text_pair }}\n{% endfor %}\n{{ label_names }} {{ query.text }}\n")
    assert set(dilm.prompt(pairs, template=str(file)).split("\n")) == {"b", "d", f"{list(NAMES)} {{text}}", ""}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dpc": 7}, "sizes: 1, 2"),
        ({"set": 3}, "sets: 0 to 2"),
        ({"set": -1}, "sets: 0 to 2"),
        ({"query": ("a", "b")}, "expected one text"),
        ({"template": "{{ textt }}"}, "'textt' is undefined; it is given examples"),
        ({"template": "{% for e in examples %}"}, "the template fails"),
        ({"template": "{{ examples.__class__.__mro__ }}"}, "the template fails"),
        ({"template": "{{ 1 / 0 }}"}, "the template fails"),
        ({"template": "mine.j2"}, "neither Jinja"),
        ({"template": "x" * 5000}, "neither Jinja"),
    ],
)
def test_what_cannot_be_made_is_told_in_one_line(folder, options, message):
    with pytest.raises(InputError, match=message) as caught:
        dilm.prompt(folder, **options)
    assert "\n" not in str(caught.value)


def test_folders_without_sets_and_damaged_sets_are_told(folder, pairs, tmp_path):
    with pytest.raises(InputError, match="no sets in"):
        dilm.prompt(tmp_path)
    with pytest.raises(InputError, match="expected two texts"):
        dilm.prompt(pairs, query=("a",))
    for damaged in ("not json", '{"text": 3, "label": 0, "label_name": "a"}', '{"text": "a"}', "[1]", ""):
        set_path(folder, 1, 0).write_text(damaged)
        with pytest.raises(InputError, match="is no set of dilm"):
            dilm.prompt(folder)


def test_the_verb_prints_the_prompt_in_utf_8(folder, capfdbinary):
    assert main(["prompt", str(folder), "--dpc", "2", "--seed", "3", "--query", "wie groß?"]) == 0
    expected = dilm.prompt(folder, dpc=2, seed=3, query=["wie groß?"])
    assert capfdbinary.readouterr().out.decode() == expected + "\n"
    assert main(["prompt", str(folder), "--format", "chat"]) == 0
    assert json.loads(capfdbinary.readouterr().out) == json.loads(dilm.prompt(folder, format="chat"))
    assert main(["prompt", str(folder), "--template", "{{ query.text }}\n"]) == 0
    assert capfdbinary.readouterr().out == b"{text}\n"
    assert main(["prompt", str(folder / "gone")]) == 2


def test_a_terminal_gets_no_control_characters_and_a_pipe_gets_the_bytes(folder, monkeypatch, capfdbinary):
    command = ["prompt", str(folder), "--query", "red\x1b[31m \u202e!"]
    assert main(command) == 0
    assert "red\x1b[31m \u202e!".encode() in capfdbinary.readouterr().out
    monkeypatch.setattr(type(sys.stdout), "isatty", lambda _: True)
    assert main(command) == 0
    shown = capfdbinary.readouterr().out.decode()
    assert r"Text: red\x1b[31m \u202e!" in shown and "Größe 👩‍🔬" in dilm.prompt(folder)
    assert shown.endswith("\nLabel:\n") and "\x1b" not in shown

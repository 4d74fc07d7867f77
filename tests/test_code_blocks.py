"""Every code block of the README and the tutorials runs, in the order of the page, in one folder that holds a mine.csv.

The blocks are taken as they stand. What makes them fast is added the way a user would: `--config` with few steps and
tiny models for what distils, few steps for what evaluates. A command that cannot run here is named in NOT_RUN with the
reason, and is still put to its own parser.
"""

import dataclasses
import functools
import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml
from markdown_it import MarkdownIt
from test_distill import TINY

import dilm
from dilm.cli import main
from dilm.config import flatten
from dilm.models import offline
from dilm.parsing import parse
from dilm.reviews import generate
from dilm.verbs import FORMS, nested

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "docs/tutorial.md", "docs/tutorial-python.md")
NOT_RUN = {
    "make": "installs an environment and takes minutes: make itself says what it would do",
    "push": "needs an account on the hub: its parser takes the options",
}
SHELL, PYTHON, OTHER = ("sh", "bash"), ("python",), ("yaml", "text", "json", "bibtex")


def blocks(page):
    """(language, code) of the fenced blocks of a page."""
    tokens = MarkdownIt().parse((ROOT / page).read_text(encoding="utf-8"))
    return [(token.info.strip(), token.content) for token in tokens if token.type == "fence"]


def commands(code):
    """The commands of a shell block as lists of words, without comments."""
    lines = code.replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


@pytest.fixture
def place(tmp_path, hub_models, monkeypatch):
    """The folder of a reader: mine.csv, and a file of settings (outside of it) that make every run small."""
    folder = tmp_path / "reader"
    folder.mkdir()
    lines = ["review,stars", *(f'"{row["text"]}",{1 + 4 * row["label"]}' for row in generate(160, seed=8))]
    (folder / "mine.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "their/folder").mkdir(parents=True)
    (folder / "their/folder/dataset_0.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in generate(40, seed=9))
    )
    settings = {key: value for key, value in TINY.items() if key not in ("dpc", "sets")}
    settings |= {"sets": 1, "generator": hub_models[0], "learner": hub_models[1], "pool": {"texts_per_dpc": 4}}
    settings["evaluation"] = settings["evaluation"] | {"learners": ["probe"]}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(settings))
    monkeypatch.setattr(offline, "minilm_folder", lambda: Path(hub_models[1]))  # what `offline` stands for here
    monkeypatch.chdir(folder)
    return folder


def tiny(words, settings):
    """The command with what makes it small; the block's own options win."""
    if words[0] in ("distill", "ablate"):
        small = yaml.safe_load(settings.read_text())
        if "--config" in words:
            place = words.index("--config")
            own = yaml.safe_load(Path(words[place + 1]).read_text())
            small = nested(flatten(small) | flatten(own) | {"language_modeling.max_steps": 6})
            words = words[:place] + words[place + 2 :]
        settings = settings.with_name("added.yaml")
        settings.write_text(yaml.safe_dump(small))
        return [*words, "--config", str(settings)]
    if words[0] == "evaluate":
        return ["evaluate", "--max-texts", "40", "--max-steps", "2", "--full-data-steps", "2", *words[1:]]
    return words


def run_command(words, settings):
    """Run one command of a block, or check it in the way that NOT_RUN says."""
    if words[0] == "make":
        subprocess.run(["make", "--dry-run", "--directory", str(ROOT), *words[1:]], check=True, capture_output=True)
    elif words[0] == "head":
        subprocess.run(words, check=True, capture_output=True)
    else:
        assert words[0] == "dilm", f"no way to run {words}"
        if words[1] in NOT_RUN:
            parse(FORMS[words[1]], words[1], words[2:])
        else:
            assert main(tiny(words[1:], settings)) == 0, " ".join(words)


@pytest.mark.parametrize("page", PAGES)
def test_every_code_block_runs(page, place, tmp_path, monkeypatch):
    settings, names = tmp_path / "tiny.yaml", {}
    monkeypatch.setattr(dilm, "distill", functools.partial(dilm.distill, config=settings), raising=False)
    recipe = dataclasses.replace(dilm.RecipeConfig(), max_texts=40, max_steps=2, full_data_steps=2)
    monkeypatch.setattr(dilm, "evaluate", functools.partial(dilm.evaluate, recipe=recipe), raising=False)
    for language, code in blocks(page):
        if language in SHELL:
            for words in commands(code):
                run_command(words, settings)
        elif language in PYTHON:
            exec(compile(code, page, "exec"), names)
        else:
            assert language in OTHER, f"a block of language '{language}' is neither run nor known as data"
            if name := re.match(r"# (\S+\.yaml)\n", code):
                Path(name[1]).write_text(code)
    assert list(place.glob("runs/*/results.json"))


@pytest.mark.parametrize("page", PAGES)
def test_no_command_hides_in_a_block_that_is_not_run(page):
    tokens = MarkdownIt().parse((ROOT / page).read_text(encoding="utf-8"))
    indented = "".join(token.content for token in tokens if token.type == "code_block")
    assert not re.search(r"^(\$ )?(dilm|make|pip|python|import|from) ", indented, re.MULTILINE)
    assert any(language in SHELL + PYTHON for language, _ in blocks(page))

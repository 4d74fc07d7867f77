"""Ablations: every variant on one stage 1, one table."""

import json
import shutil

import pytest
from test_distill import TINY

import dilm
from dilm import InputError
from dilm.ablation import VARIANTS
from dilm.config import load_config, preset_names
from dilm.pool import candidates
from dilm.run_folder import read_rows


@pytest.fixture(scope="module")
def ablation(task, hub_models, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ablation") / "out"
    settings = TINY | {"dpc": (2,), "generator": hub_models[0], "learner": hub_models[1], "output_dir": str(folder)}
    settings["evaluation"] = TINY["evaluation"] | {"learners": ("probe",)}
    settings["pool"] = TINY["pool"] | {"tries": 2}
    return folder, settings, dilm.ablate(task, preset="fast", quiet=True, **settings)


def test_every_variant_stands_in_one_table(ablation):
    folder, _, comparison = ablation
    methods = {line["method"] for line in comparison["lines"]}
    assert methods == {*VARIANTS, "random", "k-centers"} and comparison["against"] == "dilm"
    assert "| Gumbel softmax |" in (folder / "comparison.md").read_text()
    rows = json.loads((folder / "results.json").read_text())["rows"]
    assert {(row["set"], row["method"]) for row in rows} == {
        (number, method) for number in (0, 1) for method in methods
    }
    files = list(folder.glob("*/dpc_2/dataset_*.jsonl"))
    assert len(files) == 2 * len(VARIANTS) and all("label_probs" in row for file in files for row in read_rows(file))


def test_variants_share_stage_1_and_differ_after_it(ablation):
    folder, _, _ = ablation

    def weights(name, part):
        return (folder / name / part / "model.safetensors").read_bytes()

    names = [name.replace(" ", "-") for name in VARIANTS]
    assert len({weights(name, "checkpoints/stage_1") for name in names}) == 1
    tuned = {name: weights(name, "generator") for name in names}
    assert tuned["no-selection"] == tuned["dilm"]
    assert tuned["no-gradient-matching"] == weights("dilm", "checkpoints/stage_1")
    assert len(set(tuned.values())) == len(names) - 1
    tried = {name for name in names if (folder / name / "checkpoints/tries_on_dev").exists()}
    assert tried == {*names} - {"no-selection"}, "choosing among tries is selection too"


@pytest.mark.parametrize("preset", preset_names())
def test_without_selection_every_usable_text_of_a_set_is_a_candidate(preset):
    config, _ = load_config(preset, None, VARIANTS["no selection"])
    odd = {"predicted_label": 1, "new_words": 3, "set": 0}
    rows = [{"text": f"text {i}", "label": i % 2, "nll": float(i), **odd} for i in range(40)]
    assert sorted(row["nll"] for row in candidates(rows, 10, config, 2)) == [row["nll"] for row in rows]
    assert config.pool.selection == "random" and config.pool.parts == 1 and not config.pool.shared


def test_an_ablation_goes_on_where_it_was(ablation, task):
    folder, settings, comparison = ablation
    (folder / "log.txt").write_text("what was printed")
    shutil.rmtree(folder / "distribution-matching/generator")
    (folder / "distribution-matching/pool.parquet").unlink()
    assert dilm.ablate(task, preset="fast", quiet=True, **settings) == comparison


def test_a_prompt_that_no_set_fits_is_told_before_anything_is_measured(ablation, task):
    folder, settings, _ = ablation
    before = (folder / "results.json").read_text()
    learners = {"evaluation": settings["evaluation"] | {"learners": (f"icl:{settings['generator']}",)}}
    with pytest.raises(InputError, match="make a prompt of"):
        dilm.ablate(task, preset="fast", quiet=True, **(settings | learners))
    assert (folder / "results.json").read_text() == before


def test_a_folder_with_anything_else_is_refused(task, hub_models, finished_run, tmp_path):
    folder = shutil.copytree(finished_run.output_dir, tmp_path / "run")
    (tmp_path / "results.json").write_text("mine")
    before = (folder / "results.json").read_text()
    for place in (folder, tmp_path, tmp_path / "results.json"):
        with pytest.raises(InputError, match="holds no ablation"):
            dilm.ablate(task, generator=hub_models[0], learner=hub_models[1], output_dir=str(place), quiet=True)
    assert (folder / "results.json").read_text() == before and (tmp_path / "results.json").read_text() == "mine"


def test_an_ablation_needs_a_stage_2(task, hub_models, tmp_path):
    settings = {"output_dir": str(tmp_path / "x"), "generator": hub_models[0], "learner": hub_models[1]}
    with pytest.raises(InputError, match="needs a stage 2"):
        dilm.ablate(task, gradient_matching={"max_steps": 0}, quiet=True, **settings)

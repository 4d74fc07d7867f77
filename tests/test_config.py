"""Settings: presets, files, keywords, where each value came from, and refusals."""

import math

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from dilm import InputError
from dilm.config import DistillConfig, base_preset, flatten, load_config, preset_names


@pytest.mark.parametrize("name", preset_names())
def test_every_shipped_preset_loads(name):
    config, origins = load_config(name)
    assert isinstance(config, DistillConfig) and f"preset {name}" in origins.values()


def test_the_four_presets_are_there():
    assert set(preset_names()) == {"embedded", "fast", "fine-tuning", "paper"}


def test_a_preset_may_stand_on_another():
    (above, origins), (below, _) = load_config("fine-tuning"), load_config("embedded")
    own = {"pool.depth": 0.67, "pool.sure_share": 0.5, "pool.parts": 6, "pool.longest": 1.0, "pool.tries": 3}
    assert flatten(above) == flatten(below) | own
    assert {key for key, origin in origins.items() if origin == "preset fine-tuning"} == own.keys()
    assert origins["generator"] == "preset embedded"


def test_paper_preset_holds_the_paper_s_values():
    values = flatten(load_config("paper")[0])
    expected = {
        "generator": "gpt2",
        "learner": "bert-base-uncased",
        "sets": 20,
        "top_p": 0.95,
        "language_modeling.max_steps": 80_000,
        "language_modeling.learning_rate": 1e-5,
        "language_modeling.batch_size": 64,
        "language_modeling.warmup_steps": 0.1,
        "gradient_matching.max_steps": 20_000,
        "gradient_matching.inner_steps": 10,
        "gradient_matching.learning_rate": 3e-7,
        "gradient_matching.warmup_steps": 0.05,
        "gradient_matching.weight_decay": 0.01,
        "gradient_matching.max_grad_norm": 1.0,
        "gradient_matching.batch_size": 64,
        "gradient_matching.teacher_size": 200,
        "gradient_matching.teacher_sets": 10,
        "gradient_matching.temperature": 1.0,
        "gradient_matching.learner_steps": 20,
        "gradient_matching.learner_learning_rate": 1e-4,
        "gradient_matching.refresh_steps": 200,
        "gradient_matching.learners": "fresh",
        "gradient_matching.teacher": "representative",
        "gradient_matching.minibatches": "diverse",
        "pool.texts_per_dpc": 100,
        "pool.keep": "all",
        "evaluation.max_steps": 200,
        "evaluation.learning_rate": 1e-4,
        "evaluation.warmup_steps": 0.5,
        "evaluation.seeds": 5,
    }
    assert {key: values[key] for key in expected} == expected


def test_keyword_beats_file_beats_preset_beats_default(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("sets: 7\ngradient_matching: {max_steps: 3, learning_rate: 1e-4}\n")
    config, origins = load_config("embedded", file, {"gradient_matching": {"max_steps": 9}, "dpc": 4})
    assert (config.sets, config.gradient_matching.max_steps, config.gradient_matching.learning_rate) == (7, 9, 1e-4)
    assert config.dpc == (4,)
    assert origins["gradient_matching.max_steps"] == "given"
    assert origins["sets"] == str(file)
    assert origins["gradient_matching.teacher_size"] == "preset embedded"
    assert origins["top_p"] == "default"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "gradient_matching: {learning_rte: 1}",
            "no setting 'gradient_matching.learning_rte'; did you mean 'learning_rate'",
        ),
        ("lerner: x", "did you mean 'learner'"),
        ("sets: many", "'sets' must be of type int; found 'many'"),
        ("sets: true", "must be of type int"),
        ("sets: 0", "'sets' must be above 0"),
        ("top_p: 1.5", "at most 1"),
        ("pool: {fluent_share: 1.5}", "at most 1"),
        ("pool: {sure_share: 1.01}", "at most 1"),
        ("pool: {longest: 1.1}", "at most 1"),
        ("pool: {depth: 1.1}", "at most 1"),
        ("top_p: .nan", "above 0 and finite"),
        ("dpc: []", "at least one size"),
        ("dpc: [5, 5]", "names something twice"),
        ("generator_max_length: 2", "at least 8 tokens"),
        ("pool: 5", "group of settings"),
        ("pool: {keep: some}", "must be one of all, on-label"),
        ("[1, 2]", "must hold keys and values"),
        ("a: [", "cannot be read as YAML"),
        ("[" * 400, "cannot be read as YAML"),
        ("sets: !!python/object/apply:os.getcwd []", "cannot be read as YAML"),
        ("a\x00: 1", "cannot be read as YAML"),
        ("1: 2", "no setting '1'"),
        ("dpc: {a: 1}", "'dpc' must be of type int"),
        ("dpc: [1, x]", "'dpc' must be of type int; found 'x'"),
        ("seed: 1.5", "'seed' must be of type int"),
        ("seed: -1", "0 or more"),
        ("seed: 99999999999999999999", "'seed' must be below 2^63"),
        ("sets: .inf", "must be of type int"),
        ("gradient_matching: {temperature: 0}", "above 0 and finite"),
        ("gradient_matching: {learning_rate: -.inf}", "above 0 and finite"),
        (f"gradient_matching: {{learning_rate: {'9' * 400}}}", "must be of type float"),
        ("evaluation: {warmup_steps: .nan}", "0 or more and finite"),
        ("evaluation: {learners: [[a]]}", "'evaluation.learners' must be of type str"),
        ("pool: {keep: [all]}", "must be one of all, on-label"),
    ],
)
def test_a_bad_file_is_refused_with_the_way_out(tmp_path, text, message):
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    with pytest.raises(InputError) as caught:
        load_config("embedded", file)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_that_unfolds_to_gigabytes_is_told_in_a_line(tmp_path):
    file = tmp_path / "bomb.yaml"
    nested = [f"b{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    file.write_text("\n".join(["dpc: &a0 [5]", *nested, "sets: *a11"]))
    with pytest.raises(InputError) as caught:
        load_config("embedded", file)
    assert len(str(caught.value)) < 500


scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.just(2**70))
known = st.sampled_from(sorted(flatten(DistillConfig()))).map(lambda key: key.split("."))
names = st.one_of(known, st.lists(st.text(max_size=5), max_size=2))


@settings(max_examples=60)
@given(st.lists(st.tuples(names, st.one_of(scalars, st.lists(scalars, max_size=2))), max_size=3))
def test_any_settings_are_a_configuration_or_an_input_error(entries):
    overrides: dict = {}
    for path, value in entries:
        if len(path) == 2:
            group = overrides.setdefault(path[0], {})
            overrides[path[0]] = (group if isinstance(group, dict) else {}) | {path[1]: value}
        elif path:
            overrides[path[0]] = value
    try:
        config, _ = load_config("embedded", None, overrides)
    except InputError as error:
        assert "\n" not in str(error)
        return
    assert all(not isinstance(v, float) or math.isfinite(v) for v in flatten(config).values())


def test_unknown_preset_and_missing_file_are_refused(tmp_path):
    with pytest.raises(InputError, match="did you mean 'paper'"):
        load_config("papr")
    with pytest.raises(InputError, match="no configuration file"):
        load_config("embedded", tmp_path / "none.yaml")


def test_a_file_names_its_preset(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("preset: paper\nsets: 7\n")
    named, _ = load_config(None, file)
    assert named == load_config("paper", None, {"sets": 7})[0]
    assert load_config("embedded", file)[0] == load_config("embedded", None, {"sets": 7})[0], "one that is given counts"
    assert (base_preset(None, file), base_preset("fast", file), base_preset()) == ("paper", "fast", "embedded")
    file.write_text("preset:\nsets: 7\n")
    assert base_preset(None, file) == "embedded"
    file.write_text("preset: papr\n")
    with pytest.raises(InputError, match="did you mean 'paper'"):
        load_config(None, file)
    file.write_text("preset: ablation\ntask_fingerprint: x\n")  # the record of a variant
    assert base_preset(None, file) == "embedded" and load_config(None, file)[0] == DistillConfig()


def test_a_configuration_survives_yaml(tmp_path):
    config, _ = load_config("fast", None, {"dpc": (5, 10)})
    nested: dict = {}
    for key, value in flatten(config).items():
        *groups, name = key.split(".")
        place = nested
        for group in groups:
            place = place.setdefault(group, {})
        place[name] = list(value) if isinstance(value, tuple) else value
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(nested | {"preset": "fast", "versions": {"torch": "2"}}))
    assert load_config("embedded", file)[0] == config


def test_a_path_may_be_a_path(tmp_path):
    config, _ = load_config(overrides={"output_dir": tmp_path, "generator": tmp_path / "model"})
    assert config.output_dir == str(tmp_path) and config.generator == str(tmp_path / "model")

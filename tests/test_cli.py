"""The command line as a person meets it: exit codes, messages, help, lazy imports."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys

import pytest
from patience import PATIENCE, wait_for
from test_distill import TINY

from dilm.cli import main
from dilm.config import flatten
from dilm.reviews import generate
from dilm.verbs import FORMS, VERBS, nested


def dilm(*arguments, **kwargs):
    return subprocess.run([sys.executable, "-m", "dilm", *arguments], capture_output=True, text=True, **kwargs)


@pytest.fixture
def csv(tmp_path):
    path = tmp_path / "mine.csv"
    lines = ["review,stars", *(f'"{row["text"]}",{row["label"] + 1}' for row in generate(300, seed=8))]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def tiny_flags(hub_models):
    flags = ["--generator", hub_models[0], "--learner", hub_models[1]]
    for key, value in flatten(TINY).items():
        values = map(str, value) if isinstance(value, tuple) else [str(value)]
        flags += [f"--{key.replace('_', '-')}", *values]
    return flags


def test_own_csv_from_the_command_line(csv, hub_models, tmp_path, capsys):
    folder = tmp_path / "run"
    columns = ["--text", "review", "--label", "stars", "--output_dir", str(folder)]  # underscores work too
    assert main(["distill", str(csv), *columns, *tiny_flags(hub_models)]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"stage 1, language modelling: 6 done in 0:\d\d", shown)
    assert "given" in shown and "preset embedded" in shown
    assert "accuracy on the held-out test split of mine" in shown and "random real texts" in shown
    assert "report.html" in shown
    results = json.loads((folder / "results.json").read_text())
    assert results["label_names"] == ["1", "2"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{csv}"], "pass --label"),
        (["{csv}", "--label", "stars", "--text", "text"], "columns: 'review', 'stars'"),
        (["{csv}", "--text", "revew"], "did you mean 'review'"),
        (["{csv}.gone"], "no file"),
        (["{csv}", "--text", "review", "--label", "stars", "--dpc", "900"], "dpc 900"),
        (["{csv}", "--text", "review", "--label", "stars", "--learner", "no/such"], "could not be loaded"),
        (["reviws"], "did you mean 'reviews'"),
        (["reviews", "--dpc", "0"], "must be above 0"),
        (["reviews", "--evaluation.learners", "finetuning"], "did you mean 'finetune'"),
        (["reviews", "--evaluation.baselines", "k-center"], "did you mean 'k-centers'"),
        (["reviews", "--preset", "papr"], "did you mean 'paper'"),
        (["reviews", "--config", "none.yaml"], "no configuration file"),
    ],
)
def test_bad_input_ends_in_one_line_and_exit_code_2(csv, capsys, arguments, message, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert main(["distill", *(a.replace("{csv}", str(csv)) for a in arguments)]) == 2
    told = capsys.readouterr().err.strip()
    assert told.startswith("error: ") and "\n" not in told and message in told
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("rows", ["text,label\na,x\nb,x\nc,x\n", 'text,label\n"",x\n" ",y\n'])
def test_one_class_or_no_text_is_exit_code_2(tmp_path, rows, capsys):
    path = tmp_path / "bad.csv"
    path.write_text(rows)
    assert main(["distill", str(path)]) == 2
    assert "bad.csv" in capsys.readouterr().err


def test_unknown_option_and_unknown_verb_are_exit_code_2(capsys):
    assert main(["distil"]) == 2
    assert "verbs: distill" in capsys.readouterr().err
    with pytest.raises(SystemExit) as caught:
        main(["distill", "--dcp", "5"])
    assert caught.value.code == 2


def test_help_shows_the_dials_and_help_all_every_setting(capsys):
    assert main(["--help"]) == 0 and "dilm distill [TASK]" in capsys.readouterr().out
    for flag, hidden in (("--help", True), ("--help-all", False)):
        with pytest.raises(SystemExit) as caught:
            main(["distill", flag])
        shown = capsys.readouterr().out
        assert caught.value.code == 0 and "--dpc" in shown and "--preset" in shown
        assert ("--gradient-matching.temperature" not in shown) == hidden


@pytest.mark.parametrize("verb", FORMS)
def test_help_of_every_verb_fits_a_screen_with_an_example_and_no_empty_values(verb, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        main([verb, "--help"])
    shown = capsys.readouterr().out
    assert shown.count("\n") <= 45 and shown.count(f"Example: dilm {verb} ") == 1
    assert not re.search(r"default: ?(None|False)?\)|\{None", shown)


def test_an_option_is_documented_in_help_all(capsys):
    for verb, option in (("evaluate", "--warmup-steps"), ("distill", "--save-total-limit")):
        for flag, hidden in (("--help", True), ("--help-all", False)):
            with pytest.raises(SystemExit):
                main([verb, flag])
            assert (option not in capsys.readouterr().out) == hidden


def test_completion_knows_every_verb_and_its_options(capsys):
    assert set(FORMS) | {"completion"} == set(VERBS)
    for shell in ("bash", "zsh", "fish"):
        with pytest.raises(SystemExit) as caught:
            main(["completion", shell])
        script = capsys.readouterr().out
        assert not caught.value.code and all(verb in script for verb in FORMS)
        assert "gradient-matching.temperature" in script and "output-dir" in script
    assert main(["completion", "tcl"]) == 2 and "bash" in capsys.readouterr().err


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_the_bash_completion_completes(tmp_path):
    script = tmp_path / "dilm.bash"
    script.write_text(dilm("completion", "bash").stdout)
    function = "$(complete -p dilm | grep -oP '(?<=-F )\\S+')"
    lines = [f"source {script}"]
    for words in (["sel"], *([verb, "--"] for verb in FORMS)):
        lines.append(f"COMPREPLY=(); COMP_WORDS=(dilm {' '.join(words)}); COMP_CWORD={len(words)}")
        lines.append(f"{function} dilm {words[-1]} {words[-2] if words[1:] else 'dilm'}; echo ${{COMPREPLY[@]}}")
    result = subprocess.run(["bash", "-c", "\n".join(lines)], capture_output=True, text=True)
    verb, *options = result.stdout.splitlines()
    assert verb == "select" and len(options) == len(FORMS)
    for form, offered in zip(FORMS.values(), options, strict=True):
        fields = {f"--{name.replace('_', '-')}" for name in ("quiet", "dpc", "metric") if name in vars(form)}
        assert {"--help", *fields} <= set(offered.split()), form


def test_version(capsys):
    assert main(["--version"]) == 0
    assert re.fullmatch(r"dilm \d+\.\d+\.\d+\n", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--help"], 0),
        (["distill", "missing.csv"], 2),
        (["distill", "--dpc", "0"], 2),
        (["evaluate", "sets", "--task", "missing.csv"], 2),
        (["select", "missing.csv"], 2),
        (["compare", "missing.json"], 2),
        (["audit", "missing", "--task", "missing.csv"], 2),
        (["prompt", "missing"], 2),
        (["push", "missing", "--repo-id", "me/x"], 2),
        (["report", "missing"], 2),
    ],
)
def test_help_and_early_errors_import_nothing_heavy(arguments, code):
    heavy = ("torch", "transformers", "datasets")
    program = f"import sys, dilm.cli; print(dilm.cli.main({arguments}), [m for m in {heavy} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip().endswith(f"{code} []")


def test_from_python_too_libraries_send_no_usage_statistics():
    program = "import dilm; from huggingface_hub import constants; print(constants.HF_HUB_DISABLE_TELEMETRY)"
    environment = {name: value for name, value in os.environ.items() if "TELEMETRY" not in name}
    command = [sys.executable, "-c", program]
    assert subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout == "True\n"


def test_public_names_are_pinned():
    import dilm

    assert dilm.__all__ == [
        "DistillConfig", "Generator", "InputError", "Learner", "RecipeConfig", "Run", "Task", "ablate", "audit",
        "compare", "distill", "evaluate", "load_config", "load_task", "prompt",
        "push", "select",
    ]  # fmt: skip
    assert all(getattr(dilm, name) is not None for name in dilm.__all__)
    assert set(dilm.__all__) <= set(dir(dilm))
    with pytest.raises(AttributeError):
        _ = dilm.nothing


def test_nested_is_the_inverse_of_flatten():
    tree = {"a": 1, "b": {"c": 2, "d": {"e": (3,)}}}
    assert nested(flatten(tree)) == tree


def test_a_run_that_is_interrupted_by_ctrl_c_says_how_to_go_on(csv, hub_models, tmp_path):
    """By SIGTERM in test_killed.py."""
    flags = ["--text", "review", "--label", "stars", "--output-dir", str(tmp_path / "run"), *tiny_flags(hub_models)]
    flags += ["--language-modeling.max-steps", "100000", "--language-modeling.num-train-epochs", "100000"]
    with subprocess.Popen(
        [sys.executable, "-m", "dilm", "distill", str(csv), *flags],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    ) as process:
        try:
            wait_for(tmp_path / "run/checkpoints/full_data.json", process)
            process.send_signal(signal.SIGINT)
            _, told = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    assert process.returncode == 130
    assert "--resume" in told and "Traceback" not in told


def test_python_m_dilm_runs():
    result = dilm("--version")
    assert result.returncode == 0 and result.stdout.startswith("dilm ")


def test_a_full_disk_ends_in_one_line_that_says_what_is_kept(monkeypatch, capsys):
    from safetensors import SafetensorError

    from dilm import cli

    for error in (OSError(28, "No space left on device", "runs/x"), SafetensorError("I/O error: No space left")):

        def fail(_, error=error):
            raise error

        monkeypatch.setitem(cli.VERBS, "distill", fail)
        assert main(["distill"]) == 1
        said = capsys.readouterr().err
        assert said.count("\n") == 1 and "No space left" in said and "--resume" in said
    monkeypatch.setitem(cli.VERBS, "distill", lambda _: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        main(["distill"])

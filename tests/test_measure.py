"""The verbs evaluate, select and compare, from the command line and from Python, with tiny models."""

import dataclasses
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import yaml
from conftest import tiny_gpt2
from patience import PATIENCE, patience
from transformers import BertModel, PreTrainedTokenizerFast

import dilm
from dilm import InputError
from dilm.cli import main
from dilm.config import RecipeConfig
from dilm.evaluation.coresets import real_sample
from dilm.evaluation.statistics import row_key
from dilm.evaluation.store import RowStore
from dilm.evaluation.training_sets import read_sets
from dilm.models.compute import derived_seed
from dilm.reviews import generate
from dilm.run_folder import read_set
from dilm.selection import METHODS, Reference, standardised
from dilm.spread import RENDEZVOUS

RECIPE = RecipeConfig(max_steps=2, seeds=2, max_texts=40, full_data_steps=2)


@pytest.fixture(scope="module")
def csv(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "mine.csv"
    lines = ["text,label", *(f'"{row["text"]}",{row["label"]}' for row in generate(200, seed=8))]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def coresets(csv, hub_models, tmp_path_factory):
    folder = tmp_path_factory.mktemp("coresets")
    for method in ("random", "herding"):
        dilm.select(
            csv, method=method, dpc=(2, 3), sets=3, output_dir=folder / method, learner=hub_models[1], quiet=True
        )
    return folder


def test_select_writes_balanced_sets_with_their_settings(csv, coresets):
    train = set(dilm.load_task(csv).texts("train"))
    for dpc in (2, 3):
        for number in range(3):
            file = coresets / f"herding/dpc_{dpc}/dataset_{number}.jsonl"
            rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
            assert [row["label"] for row in rows] == [0] * dpc + [1] * dpc
            assert {row["text"] for row in rows} <= train
    assert yaml.safe_load((coresets / "herding/config.yaml").read_text())["method"] == "herding"


def test_select_adds_what_is_missing_and_refuses_another_folder(csv, coresets, hub_models, tmp_path, monkeypatch):
    common = {"learner": hub_models[1], "quiet": True}
    before = (coresets / "random/dpc_2/dataset_0.jsonl").stat().st_mtime_ns
    paths = dilm.select(csv, method="random", dpc=2, sets=4, output_dir=coresets / "random", **common)
    assert len(paths) == 4 and paths[3].exists() and paths[0].stat().st_mtime_ns == before
    with monkeypatch.context() as patched:
        patched.delattr(dilm.Learner, "from_pretrained")  # of what is all there no model is needed
        assert dilm.select(csv, method="random", dpc=2, sets=4, output_dir=coresets / "random", **common) == paths
    paths[3].unlink()
    with pytest.raises(InputError, match="method: random there, kernel now"):
        dilm.select(csv, method="kernel", output_dir=coresets / "random", **common)
    with pytest.raises(InputError, match=r"depth: 1\.0 there, 0\.5 now"):
        dilm.select(csv, method="random", depth=0.5, output_dir=coresets / "random", **common)
    with pytest.raises(InputError, match="'depth' must be at most 1; found 2"):
        dilm.select(csv, method="random", depth=2, output_dir=tmp_path / "deep", **common)
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(InputError, match="holds no selection"):
        dilm.select(csv, method="kernel", output_dir=tmp_path, **common)


def test_select_from_a_pool(csv, hub_models, tmp_path):
    from dilm.run_folder import write_pool

    rows = [{"text": f"text {i}", "label": i % 2, "set": 0, "predicted_label": int(i % 3 > 0)} for i in range(60)]
    write_pool(tmp_path / "pool.parquet", rows)
    common = {"pool": tmp_path / "pool.parquet", "dpc": 2, "sets": 2, "learner": hub_models[1], "quiet": True}
    for method in ("kernel", "herding"):
        paths = dilm.select(csv, method=method, output_dir=tmp_path / method, **common)
        chosen = [json.loads(line) for path in paths for line in path.read_text().splitlines()]
        on_label = {row["text"] for row in rows if row["label"] == row["predicted_label"]}
        assert {row["text"] for row in chosen} <= on_label
    with pytest.raises(InputError, match="cannot be read as a pool"):
        dilm.select(csv, method="kernel", output_dir=tmp_path / "x", **common | {"pool": csv})
    with pytest.raises(InputError, match="has 10 texts to choose from, 25 are asked for"):
        dilm.select(csv, method="kernel", output_dir=tmp_path / "y", **common | {"dpc": 25})


def test_evaluate_goes_on_where_it_was_and_compare_reads_it(csv, coresets, hub_models, tmp_path):
    learners = [f"finetune:{hub_models[1]}", f"probe:{hub_models[1]}", "tfidf"]
    options = {"task": csv, "recipe": RECIPE, "output": tmp_path / "r.json", "quiet": True, "full": True}
    first = dilm.evaluate([coresets], learners=learners[1:], **options)
    assert {row["method"] for row in first["rows"]} == {"random", "herding", "full"}
    assert len(first["rows"]) == 2 * (2 * 2 * 3 + 1)
    stored = (tmp_path / "r.json.runs/rows-0.jsonl").read_text().splitlines()
    both = dilm.evaluate([coresets], learners=learners, **options)
    assert (tmp_path / "r.json.runs/rows-0.jsonl").read_text().splitlines()[: len(stored)] == stored
    assert len(both["rows"]) == len(first["rows"]) + 2 * 2 * 2 * 3 + 1
    assert json.loads((tmp_path / "r.json").read_text())["rows"] == both["rows"]
    found = dilm.compare([tmp_path / "r.json", tmp_path / "r.json"], output=tmp_path / "table.md")
    assert set(both["recipes"]) == {row["recipe"] for row in both["rows"]}
    cells = {(x["learner"], x["method"], x["dpc"]): x for x in found["lines"]}
    assert cells[learners[0], "herding", 3]["runs"] == 6 and cells[learners[0], "herding", 3]["sets"] == 3
    assert "closed" in cells["tfidf", "herding", 2]
    assert {path.name for path in tmp_path.glob("table.*")} == {"table.md", "table.csv", "table.json"}


def test_different_sets_of_one_name_are_not_taken_for_one_method(tmp_path):
    row = {"task": "t", "method": "dilm", "dpc": 5, "set": 0, "learner": "tfidf", "seed": 0, "accuracy": 0.5}
    files = [tmp_path / "a.json", tmp_path / "b.json"]
    for file, content in zip(files, ("aa", "bb"), strict=True):
        file.write_text(json.dumps({"rows": [row | {"content": content, "recipe": "r"}]}))
    with pytest.raises(InputError, match=r"a\.json and .*b\.json have different texts under one name \(dilm, 5 per"):
        dilm.compare(files)
    assert dilm.compare([files[0], files[0]])["lines"][0]["runs"] == 1


def test_two_ways_of_learning_the_full_data_are_not_averaged(tmp_path):
    row = {
        "task": "t",
        "method": "dilm",
        "dpc": 5,
        "set": 0,
        "seed": 0,
        "accuracy": 0.5,
        "content": "aa",
        "recipe": "r",
    }
    full = row | {"method": "full", "dpc": 0, "learner": "finetune:x"}
    files = [tmp_path / "a.json", tmp_path / "b.json"]
    for file, way in zip(files, ("50 steps", "60 steps"), strict=True):
        rows = [row | {"learner": "tfidf"}, full | {"content": way}, full | {"learner": "tfidf"}]
        file.write_text(json.dumps({"rows": rows}))
    with pytest.raises(InputError, match=r"have finetune:x trained on the full data in different ways; .*--full-data"):
        dilm.compare(files)
    assert len(dilm.compare([files[0]])["lines"]) == 3, "of different learners it is no matter"


def test_processes_share_the_runs_and_agree_with_one(csv, coresets, hub_models, tmp_path, capfd):
    command = ["evaluate", str(coresets / "random"), "--task", str(csv), "--learner", f"finetune:{hub_models[1]}"]
    command += ["--max-steps", "2", "--seeds", "2", "--max-texts", "40", "--bf16", "False"]
    with patience():
        code = main([*command, "--num-processes", "2", "--output", str(tmp_path / "two.json")])
    out, err = capfd.readouterr()
    assert code == 0, err
    assert out.count("## mine") == 1  # one process speaks
    parts = [len(path.read_text().splitlines()) for path in (tmp_path / "two.json.runs").glob("rows-*.jsonl")]
    assert len(parts) == 2 and min(parts) > 0
    assert main([*command, "--output", str(tmp_path / "one.json"), "--quiet"]) == 0
    one, two = (json.loads((tmp_path / name).read_text())["rows"] for name in ("one.json", "two.json"))
    assert one == two


ONE_OF_TWO = """
import os, sys
import dilm
from dilm.evaluation.store import RowStore

if os.environ["RANK"] == "1":  # another evaluation has added a row since the first process looked
    RowStore.missing = lambda store, planned, missing=RowStore.missing: missing(store, planned)[1:]
dilm.evaluate(sys.argv[1], task=sys.argv[2], learners=["tfidf"], output=sys.argv[3], quiet=True)
"""


def test_processes_that_find_different_rows_share_one_list_of_runs(csv, coresets, tmp_path):
    command = [sys.executable, "-c", ONE_OF_TWO, str(coresets / "random"), str(csv), str(tmp_path / "r.json")]
    meeting = tmp_path / "a #1 meeting? 50%20"
    common = os.environ | {RENDEZVOUS: str(meeting), "MASTER_ADDR": "127.0.0.1"}
    common |= {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    both = [subprocess.Popen(command, env=common | {"RANK": rank, "LOCAL_RANK": rank}) for rank in "01"]
    try:
        assert [process.wait(PATIENCE) for process in both] == [0, 0]
    finally:
        for process in both:
            process.kill()
    assert len(json.loads((tmp_path / "r.json").read_text())["rows"]) == 6
    assert len(RowStore(tmp_path / "r.json.runs").rows()) == 6, "each made once"
    assert {path.name for path in tmp_path.iterdir() if path.name.startswith("a")} <= {meeting.name}


def test_rows_that_are_gone_are_told_and_no_results_are_written(csv, coresets, tmp_path, monkeypatch):
    monkeypatch.setattr(RowStore, "keep", lambda store, rows: rows)
    with pytest.raises(InputError, match=r"6 of 6 runs are not in .*r\.json\.runs, though they were made"):
        dilm.evaluate(coresets / "random", task=csv, learners=["tfidf"], output=tmp_path / "r.json", quiet=True)
    assert not (tmp_path / "r.json").exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_interrupted_and_gone_on_with_gives_the_rows_of_an_uninterrupted_evaluation(
    csv, coresets, tmp_path, monkeypatch, capsys, number, code
):
    command = ["evaluate", str(coresets), "--task", str(csv), "--learner", "tfidf", "--quiet", "--output"]
    assert main([*command, str(tmp_path / "whole.json")]) == 0

    def interrupted(store, rows, keep=RowStore.keep):
        for count, row in enumerate(keep(store, rows), 1):
            if count == 5:
                signal.raise_signal(number)
            yield row

    with monkeypatch.context() as patch:
        patch.setattr(RowStore, "keep", interrupted)
        assert main([*command, str(tmp_path / "cut.json")]) == code
    assert "interrupted; what was finished is kept" in capsys.readouterr().err
    assert not (tmp_path / "cut.json").exists() and len(RowStore(tmp_path / "cut.json.runs").rows()) == 5
    assert main([*command, str(tmp_path / "cut.json")]) == 0
    assert len(RowStore(tmp_path / "cut.json.runs").rows()) == 12, "no run is made twice"
    whole, cut = (json.loads((tmp_path / name).read_text()) for name in ("whole.json", "cut.json"))
    assert whole == cut


def test_a_full_disk_leaves_the_results_that_are_there_and_says_which_file(
    csv, coresets, tmp_path, monkeypatch, capsys
):
    """Files can grow to 1,000 bytes, first when rows are kept, then when results are written: real failures."""
    output = tmp_path / "r.json"
    command = ["evaluate", "--task", str(csv), "--learner", "tfidf", "--quiet", "--output", str(output)]
    assert main([*command, str(coresets / "random")]) == 0
    before, limits = output.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)

    def on_full_disk(operation):
        def call(*arguments):
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
            return operation(*arguments)

        return call

    for name, file in (("keep", "r.json.runs"), ("finished", "r.json")):
        with monkeypatch.context() as patch:
            patch.setattr(RowStore, name, on_full_disk(getattr(RowStore, name)))
            try:
                assert main([*command, str(coresets)]) == 1
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        told = capsys.readouterr().err
        assert told.count("\n") == 1 and f"File too large: '{tmp_path / file}'; what was finished is kept" in told
        assert output.read_bytes() == before
        assert sorted(tmp_path.iterdir()) == [output, tmp_path / "r.json.runs"]
    assert len(RowStore(tmp_path / "r.json.runs").rows()) == 12
    assert main([*command, str(coresets)]) == 0 and len(json.loads(output.read_text())["rows"]) == 12


def test_evaluations_side_by_side_in_one_store_lose_nothing(csv, coresets, tmp_path):
    """Ten at once, each of one set of its own or of the same ones, and readers meanwhile."""
    output, options = tmp_path / "r.json", {"task": csv, "learners": ["tfidf"], "quiet": True}
    files = sorted(coresets.glob("*/dpc_*/*.jsonl"))
    wanted = [[file] for file in files[:6]] + [[coresets]] * 4
    with ThreadPoolExecutor(10) as pool:
        running = [pool.submit(dilm.evaluate, sets, output=output, **options) for sets in wanted]
        while not all(future.done() for future in running):
            if output.exists():
                assert json.loads(output.read_text())["rows"]
    for sets, future in zip(wanted, running, strict=True):
        assert future.result()["rows"] == dilm.evaluate(sets, output=tmp_path / "alone.json", **options)["rows"]
    keys = {row_key(row) for row in RowStore(tmp_path / "r.json.runs").rows()}
    assert keys >= {row_key(row) for future in running for row in future.result()["rows"]}
    assert not [path for path in tmp_path.rglob("*") if "partial" in path.name]


def test_the_learning_rate_is_chosen_once_and_kept(csv, coresets, hub_models, tmp_path, capsys):
    command = ["evaluate", str(coresets / "random"), "--task", str(csv), "--learner", f"finetune:{hub_models[1]}"]
    command += ["--max-steps", "2", "--seeds", "1", "--output", str(tmp_path / "r.json"), "--max-texts", "40"]
    assert main([*command, "--learning-rates", "1e-4", "1e-2"]) == 0
    assert "learning rate 0.01" in capsys.readouterr().out
    rates = json.loads((tmp_path / "r.json").read_text())["learning_rates"]
    assert set(rates[f"finetune:{hub_models[1]}"]) == {"0.0001", "0.01"}
    assert main([*command, "--learning-rates", "1e-4", "1e-2"]) == 0
    assert "on dev" not in capsys.readouterr().out
    assert main([*command, "--learning-rates", "1e-4"]) == 0
    assert main([*command, "--learning-rates", "1e-4", "1e-2"]) == 0
    assert capsys.readouterr().out.count("on dev") == 1, "other rates do not take the place of those that were tried"
    made = [path.name for path in (tmp_path / "r.json.runs").glob("rows-*")]
    assert len(made) == 2, "runs are made once for each of the two rates that were chosen"
    assert main([*command, "--max-steps", "3", "--learning-rates", "1e-4", "1e-2"]) == 0
    assert "on dev" in capsys.readouterr().out, "by another recipe another rate may be best"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate", "--task", "{csv}"], "no sets"),
        (["evaluate", "none", "--task", "{csv}"], "no file or folder 'none'"),
        (["evaluate", "{sets}", "--task", "{csv}", "--learner", "prob:x"], "did you mean 'probe'"),
        (["evaluate", "{sets}", "--task", "{csv}", "--learner", "probe:no/such"], "could not be loaded"),
        (["evaluate", "{sets}", "--task", "{csv}", "--seeds", "0"], "'seeds' must be above 0"),
        (["evaluate", "{sets}", "--task", "{csv}", "--learner", "icl:x", "--soft-labels"], "takes no soft labels"),
        (["evaluate", "{sets}", "--task", "{csv}", "--soft-labels"], "no set has soft labels"),
        (["evaluate", "{sets}", "--task", "{csv}", "--output", "."], "is a folder; name a file"),
        (["select", "{csv}", "--method", "kernal"], "did you mean 'kernel'"),
        (["select", "{csv}", "--dpc", "900", "--output-dir", "x"], "dpc 900"),
        (["compare"], "no results"),
        (["compare", "none.json"], "no results in none.json"),
        (["compare", "{csv}"], "is no results file"),
    ],
)
def test_bad_input_ends_in_one_line_and_exit_code_2(csv, coresets, capsys, arguments, message, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    known = {"{csv}": str(csv), "{sets}": str(coresets / "random")}
    assert main([known.get(argument, argument) for argument in arguments]) == 2
    told = capsys.readouterr().err.strip()
    assert told.startswith("error: ") and "\n" not in told and message in told


def test_results_go_where_a_link_leads_and_never_in_the_place_of_a_device(csv, coresets, tmp_path):
    options = {"task": csv, "learners": ["tfidf"], "quiet": True}
    (tmp_path / "disk").mkdir()
    (tmp_path / "r.json").symlink_to(tmp_path / "disk" / "r.json")
    dilm.evaluate(coresets / "random", output=tmp_path / "r.json", **options)
    assert (tmp_path / "r.json").is_symlink() and json.loads((tmp_path / "disk" / "r.json").read_text())["rows"]
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(InputError, match="is neither a file nor free"):
        dilm.evaluate(coresets / "random", output=tmp_path / "fifo", **options)
    assert not (tmp_path / "fifo").is_file()


def test_results_among_the_sets_are_no_sets(csv, coresets, tmp_path):
    shutil.copytree(coresets / "random", tmp_path / "sets")
    options = {"task": csv, "learners": ["tfidf"], "output": tmp_path / "sets/results.json", "quiet": True}
    first = dilm.evaluate(tmp_path / "sets", **options)["rows"]
    assert dilm.evaluate(tmp_path / "sets", **options)["rows"] == first and len(first) == 6


def test_without_dev_texts_no_learning_rate_is_chosen(csv, coresets, hub_models, tmp_path):
    task = dilm.load_task(csv)
    task = dataclasses.replace(task, dev=task.dev.select([]))
    options = {"learners": [f"finetune:{hub_models[1]}"], "output": tmp_path / "r.json", "quiet": True}
    with pytest.raises(InputError, match="no dev texts to choose a learning rate on"):
        dilm.evaluate(coresets, task=task, learning_rates=(1e-4, 1e-3), **options)


def test_what_is_yet_to_be_chosen_is_compared_on_dev(csv, coresets, tmp_path):
    task = dilm.load_task(csv)
    options = {"learners": ["tfidf"], "output": tmp_path / "r.json", "quiet": True}
    tested = dilm.evaluate(coresets, task=task, **options)
    on_dev = dilm.evaluate(coresets, task=task, split="dev", **options)
    assert on_dev["test_split"] == "dev" and on_dev["test_texts"] == len(task.dev) != tested["test_texts"]
    as_test = dilm.evaluate(coresets, task=dataclasses.replace(task, test=task.dev), **options)
    scores = [[row["accuracy"] for row in results["rows"]] for results in (on_dev, as_test)]
    assert scores[0] == scores[1]
    assert dilm.evaluate(coresets, task=task, **options)["rows"] == tested["rows"], "rows on dev are not those of test"
    with pytest.raises(InputError, match="no dev texts to test on; leave --split out"):
        dilm.evaluate(coresets, task=dataclasses.replace(task, dev=task.dev.select([])), split="dev", **options)
    with pytest.raises(InputError, match="no sets are measured on split 'train'"):
        dilm.evaluate(coresets, task=task, split="train", **options)


def test_results_of_dev_do_not_replace_those_of_test(csv, coresets, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    command = ["evaluate", str(coresets / "random"), "--task", str(csv), "--learner", "tfidf"]
    for options, name, told in (([], "results.json", ""), (["--split", "dev"], "results_dev.json", " on dev")):
        before = {path.name: path.read_text() for path in tmp_path.glob("results*.json")}
        assert main([*command, *options]) == 0
        assert f"results{told}: {name}; every figure: dilm compare {name}" in capsys.readouterr().out
        after = {path.name: path.read_text() for path in tmp_path.glob("results*.json")}
        assert after.keys() == before.keys() | {name} and before.items() <= after.items()


def test_the_results_of_a_run_are_not_written_over(csv, finished_run, tmp_path, monkeypatch):
    folder = shutil.copytree(finished_run.output_dir, tmp_path / "run")
    there = (folder / "results.json").read_text()
    monkeypatch.chdir(folder)
    for output in ("results.json", folder / "results.json"):
        with pytest.raises(InputError, match="belongs to the run"):
            dilm.evaluate(".", task=csv, output=output, quiet=True)
    for output in ("results", "results.json", folder / "results.md"):
        with pytest.raises(InputError, match="which it reads"):
            dilm.compare([folder], output=output)
    (tmp_path / "own.json").write_text(there)
    for output in ("results", "report.md"):
        with pytest.raises(InputError, match="belongs to the run"):
            dilm.compare([tmp_path / "own.json"], output=folder / output)
    assert (folder / "results.json").read_text() == there


def test_f1_is_no_accuracy_by_another_name(csv, coresets, tmp_path, capsys):
    output = str(tmp_path / "r.json")
    assert (
        main(["evaluate", str(coresets), "--task", str(csv), "--learner", "tfidf", "--output", output, "--quiet"]) == 0
    )
    assert main(["compare", output, "--metric", "f1"]) == 2
    assert "have no F1" in capsys.readouterr().err


def test_compare_prints_markdown(csv, coresets, tmp_path, capsys):
    output = str(tmp_path / "r.json")
    assert main(["evaluate", str(coresets), "--task", str(csv), "--learner", "tfidf", "--output", output]) == 0
    assert "| herding |" in capsys.readouterr().out
    assert main(["compare", output, "--against", "herding", "--metric", "accuracy"]) == 0
    assert "gain over herding" in capsys.readouterr().out


def test_learned_embeddings_and_their_nearest_words(csv, hub_models, tmp_path, capsys):
    command = ["select", str(csv), "--method", "tdd", "--dpc", "2", "--sets", "2", "--output-dir", str(tmp_path / "t")]
    command += ["--learner", hub_models[1], "--tdd-steps", "4", "--bf16", "False"]
    assert main(command) == 0
    assert "embedding-level distillation: 8 done" in capsys.readouterr().out
    learners = [f"finetune:{hub_models[1]}", "tfidf"]
    options = {"task": csv, "recipe": RECIPE, "output": tmp_path / "r.json", "quiet": True, "bf16": False}
    rows = dilm.evaluate([tmp_path / "t"], learners=learners, **options)["rows"]
    found = {(row["method"], row["learner"].partition(":")[0]) for row in rows}
    assert found == {("tdd", "finetune"), ("tdd-text", "finetune"), ("tdd-text", "tfidf")}
    files = sorted((tmp_path / "t").glob("dpc_2/*.jsonl"))
    assert {one.method for one in read_sets(files, dilm.load_task(csv))} == {"tdd", "tdd-text"}, "as the folder is read"
    with pytest.raises(InputError, match="leave --pool out"):
        dilm.select(csv, method="tdd", pool=csv, output_dir=tmp_path / "x", learner=hub_models[1])


def test_select_compares_texts_at_the_depth_that_is_asked_for(csv, hub_models, tmp_path):
    task, common = dilm.load_task(csv), {"learner": hub_models[1], "quiet": True, "bf16": False}
    paths = dilm.select(csv, method="kernel", depth=0.5, dpc=2, sets=1, output_dir=tmp_path / "kernel", **common)
    texts, labels = real_sample(task, 2, 0)
    features = dilm.Learner.from_pretrained(hub_models[1], 2).features(texts, depth=0.5)
    features, reference = standardised(features, Reference(features, labels))
    chosen = METHODS["kernel"](features, labels, 2, derived_seed(0, "kernel", 0), reference)
    assert read_set(paths[0])[0] == [texts[i] for i in chosen]
    with pytest.raises(InputError, match="leave --depth out"):
        dilm.select(csv, method="tdd", depth=0.5, output_dir=tmp_path / "tdd", **common)


def test_embeddings_whose_words_could_not_be_told_apart_are_refused_before_the_work(
    csv, hub_models, tmp_path, monkeypatch
):
    monkeypatch.setattr(PreTrainedTokenizerFast, "is_fast", False)
    with pytest.raises(InputError, match="does not tell which text a token is of"):
        dilm.select(csv, method="tdd", dpc=1, sets=1, output_dir=tmp_path / "t", learner=hub_models[1], quiet=True)
    assert not (tmp_path / "t").exists()


def test_an_encoder_that_shows_no_layers_is_refused_before_the_folder_is_made(csv, hub_models, tmp_path, monkeypatch):
    shown = BertModel.forward
    monkeypatch.setattr(
        BertModel, "forward", lambda self, **inputs: shown(self, **inputs | {"output_hidden_states": None})
    )
    common = {"method": "kernel", "dpc": 1, "sets": 1, "output_dir": tmp_path / "k", "quiet": True}
    with pytest.raises(InputError, match="does not show the states of its layers; leave --depth"):
        dilm.select(csv, depth=0.5, learner=hub_models[1], **common)
    assert not (tmp_path / "k").exists()
    assert len(dilm.select(csv, learner=hub_models[1], **common)) == 1, "so another try may have it"


def test_in_context_learning_goes_all_the_way_to_a_comparison(csv, coresets, tokenizer, tmp_path):
    """A local causal LM, plain and calibrated, beside another learner, on two methods."""
    tiny_gpt2(tokenizer, positions=512).save_pretrained(tmp_path / "gpt2")
    tokenizer.save_pretrained(tmp_path / "gpt2")
    gpt2 = f"icl:{tmp_path / 'gpt2'}"
    sets, common = [coresets / "random/dpc_2", coresets / "herding/dpc_2"], {"task": csv, "quiet": True}
    for calibrated in (False, True):
        recipe = dataclasses.replace(RECIPE, icl_calibrated=calibrated)
        output = tmp_path / f"calibrated_{calibrated}.json"
        results = dilm.evaluate(sets, learners=[gpt2, "tfidf"], output=output, recipe=recipe, **common)
        own = [row for row in results["rows"] if row["learner"] == gpt2]
        assert len(own) == 2 * 3 * RECIPE.seeds and all(0 <= row["accuracy"] <= 1 for row in own)
        assert dilm.evaluate(sets, learners=[gpt2, "tfidf"], output=output, recipe=recipe, **common) == results
        table = dilm.compare(str(output), output=tmp_path / f"table_{calibrated}")
        cells = {(line["learner"], line["method"]): line["runs"] for line in table["lines"]}
        assert cells[gpt2, "random"] == cells[gpt2, "herding"] == 3 * RECIPE.seeds
        assert "icl:" in (tmp_path / f"table_{calibrated}.md").read_text(encoding="utf-8")
    with pytest.raises(InputError, match="recipes"):
        dilm.compare(sorted(tmp_path.glob("calibrated_*.json")), output=tmp_path / "both")

"""Looking on while a run works: samples, trackers and the JSON log change nothing in it, and say what happened."""

import contextlib
import io
import json

import pyarrow.parquet as pq
import pytest
import trackio
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from test_distill import tiny_run

from dilm import InputError, samples, tracking

SMALL = {"save_steps": 2, "dpc": 2, "sets": 1, "evaluation": {"learners": ("probe",)}}


@pytest.fixture(scope="module")
def alone(task, hub_models, tmp_path_factory):
    """A run at which nobody looks."""
    return tiny_run(task, hub_models, tmp_path_factory.mktemp("alone") / "run", **SMALL)


@pytest.fixture(scope="module")
def watched(task, hub_models, tmp_path_factory):
    """The same run with everything on, cut off in both stages and resumed; with all that it printed."""
    folder, out = tmp_path_factory.mktemp("watched") / "run", io.StringIO()
    looks = {"quiet": False, "log_format": "json", "report_to": ("tensorboard", "trackio"), "logging_steps": 1}
    cut_off = {("stage 1", 3), ("stage 2", 3)}
    show = samples._show

    def show_or_break(work, title, texts, stage, step=None):
        show(work, title, texts, stage, step)
        if (stage, step) in cut_off:
            cut_off.remove((stage, step))
            raise RuntimeError("cut off")

    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out):
        patch.setattr(samples, "SAMPLE_SECONDS", 0.0)
        patch.setattr(samples, "_show", show_or_break)
        for resume in (False, True):
            with pytest.raises(RuntimeError, match="cut off"):
                tiny_run(task, hub_models, folder, resume_from_checkpoint=resume, **SMALL, **looks)
        run = tiny_run(task, hub_models, folder, resume_from_checkpoint=True, **SMALL, **looks)
    return run, [json.loads(line) for line in out.getvalue().splitlines()]


def test_samples_and_trackers_do_not_change_the_run_by_a_bit(alone, watched):
    run, _ = watched
    for name in ("checkpoints/stage_1/model.safetensors", "generator/model.safetensors"):
        assert (alone.output_dir / name).read_bytes() == (run.output_dir / name).read_bytes(), name
    one, two = (pq.read_table(r.output_dir / "pool.parquet") for r in (alone, run))
    assert one.equals(two) and alone.results["rows"] == run.results["rows"]
    assert alone.results["diagnostics"] == run.results["diagnostics"]


def test_the_json_log_tells_the_whole_run(watched):
    run, events = watched
    (configuration, *_) = [e for e in events if e["event"] == "configuration"]
    assert configuration["settings"]["gradient_matching"]["max_steps"] == 4
    done = {e["stage"]: e for e in events if e["event"] == "done"}
    assert done["stage 1, language modelling"]["step"] == 6 and done["stage 2, gradient matching"]["step"] == 4
    assert done["stage 2, gradient matching"]["loss"] == history(run, 2)[-1]["loss"]
    assert 0 <= done["evaluation, runs"]["accuracy"] <= 1
    assert events[-1]["event"] == "results" and events[-1]["summary"] == run.results["summary"]


def test_three_texts_are_shown_after_the_steps_of_both_stages(watched, task):
    _, events = watched
    shown = [e for e in events if e["event"] == "samples"]
    steps = {stage: {e["step"] for e in shown if e["stage"] == stage} for stage in ("stage 1", "stage 2")}
    assert max(steps["stage 1"]) == 6 and max(steps["stage 2"]) == 4 and 3 in steps["stage 1"] & steps["stage 2"]
    live = [e for e in shown if e["step"] is not None]
    assert all(len(e["samples"]) == 3 for e in live)
    assert all(s["label_name"] in task.label_names for e in live for s in e["samples"])
    assert any(s["text"] for e in live for s in e["samples"])


def test_people_see_the_texts_on_one_line_each(task, generator, monkeypatch, tmp_path, capsys):
    from dilm.config import DistillConfig
    from dilm.progress import Reporter
    from dilm.workspace import Workspace

    work = Workspace(task, DistillConfig(), tmp_path, Reporter())
    monkeypatch.setattr(generator, "write", lambda labels, **_: ["a\n[red]b\x1b", None, "c"])
    monkeypatch.setattr(samples, "SAMPLE_SECONDS", 0.0)
    assert list(samples.with_samples(work, generator, [{"loss": 1.0}], "stage 1")) == [{"loss": 1.0}]
    title, *lines = capsys.readouterr().out.splitlines()
    assert "stage 1, step 1" in title
    assert lines == [r"  [negative] a [red]b\x1b", "  [positive] ", "  [negative] c"]


def history(run, stage):
    return json.loads((run.output_dir / f"checkpoints/stage_{stage}_history.json").read_text())["history"]


def test_tensorboard_has_both_curves_and_the_accuracies(watched):
    run, _ = watched
    (folder,) = (run.output_dir / "logs").iterdir()
    board = EventAccumulator(str(folder))
    board.Reload()
    for stage, key, before in ((1, "loss", 0), (2, "loss", 6), (2, "cosine", 6)):
        curve = {point.step: point.value for point in board.Scalars(f"stage_{stage}/{key}")}
        assert list(curve) == [before + i for i in range(1, len(history(run, stage)) + 1)]
        assert list(curve.values()) == pytest.approx([record[key] for record in history(run, stage)])
    means = {tag: board.Scalars(tag)[-1].value for tag in board.Tags()["scalars"] if tag.startswith("accuracy/")}
    assert sorted(means.values()) == pytest.approx(sorted(line["mean"] for line in run.results["summary"]))


def test_trackio_has_the_curves_of_the_resumed_run_whole(watched):
    run, _ = watched
    project = f"dilm-{run.results['task']}"
    *_, last = sorted((r for r in trackio.Api().runs(project)), key=lambda r: r.config["_Created"])
    assert last.config["report_to"] == "('tensorboard', 'trackio')" and last.config["logging_steps"] == 1
    lines = trackio.SQLiteStorage.get_logs(project, last.name, run_id=last.id)
    curve = {line["step"]: line["stage_2/loss"] for line in lines if "stage_2/loss" in line}
    assert curve == {6 + i: record["loss"] for i, record in enumerate(history(run, 2), 1)}


def test_a_tracker_that_is_unknown_missing_or_broken_is_told_before_any_work(task, hub_models, tmp_path, monkeypatch):
    monkeypatch.setattr(tracking, "get_available_trackers", lambda: ["tensorboard"])
    for name, message in (
        ("tensorbord", "did you mean 'tensorboard'"),
        ("wandb", "run pip install wandb$"),
        ("trackio", r"run pip install trackio or 'dilm\[tracking\]'"),
    ):
        with pytest.raises(InputError, match=message):
            tiny_run(task, hub_models, tmp_path / "run", report_to=name)
    assert not (tmp_path / "run").exists()

    def fail(self):
        raise ConnectionError("no server\nthere")

    monkeypatch.setattr(tracking.LOGGER_TYPE_TO_CLASS["tensorboard"], "start", fail)
    with pytest.raises(InputError, match="tensorboard cannot be started: no server there"):
        tiny_run(task, hub_models, tmp_path / "run", report_to="tensorboard")
    monkeypatch.undo()
    assert {path.name for path in (tmp_path / "run/checkpoints").iterdir()} <= {".lock"}


def test_a_tracker_that_fails_is_told_once_and_ends_neither_the_run_nor_its_interruption(
    task, tmp_path, monkeypatch, capsys
):
    from dilm.config import DistillConfig
    from dilm.progress import Reporter
    from dilm.workspace import Workspace

    def fail(*_, **__):
        raise ConnectionError("no server\nthere")

    board = tracking.LOGGER_TYPE_TO_CLASS["tensorboard"]
    work = Workspace(task, DistillConfig(report_to=("tensorboard",)), tmp_path, Reporter())
    monkeypatch.setattr(board, "log", fail)
    records = [{"loss": float(i)} for i in range(3)]
    with tracking.tracked(work):
        for stage in ("stage 1", "stage 2"):
            assert list(tracking.with_trackers(work, records, stage)) == records
    monkeypatch.undo()
    monkeypatch.setattr(board, "finish", fail)
    with pytest.raises(KeyboardInterrupt), tracking.tracked(work):
        raise KeyboardInterrupt
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and set(lines) == {lines[0]}
    assert lines[0].startswith("report_to tensorboard fails") and lines[0].endswith("ConnectionError: no server there")


def test_only_every_so_many_steps_are_logged_and_the_last(alone, task, tmp_path):
    from dilm.config import DistillConfig
    from dilm.progress import Reporter
    from dilm.workspace import Workspace

    class Memory:
        def __init__(self):
            self.lines = []

        def log(self, values, step):
            self.lines.append((step, values))

    work = Workspace(task, DistillConfig(logging_steps=3), tmp_path, Reporter(quiet=True))
    work.trackers = (Memory(),)
    records = [{"loss": float(i)} for i in range(7)]
    records[1]["real_cosine"], records[4]["real_cosine"] = 0.5, float("nan")
    assert list(tracking.with_trackers(work, records, "stage 2", before=10)) == records
    assert work.trackers[0].lines == [
        (13, {"stage_2/loss": 2.0, "stage_2/real_cosine": 0.5}),
        (16, {"stage_2/loss": 5.0}),
        (17, {"stage_2/loss": 6.0}),
    ]

"""Checkpoints inside a stage: what goes on from one is what was not interrupted, and a broken one is not taken."""

import os
import signal

import pytest
import torch
from torch import nn

import dilm.training.checkpoints as checkpoint_module
from dilm import durable
from dilm.config import LanguageModelingConfig
from dilm.interruption import Terminated, heeded_interruptions, waiting_interruptions
from dilm.models.compute import make_optimizer
from dilm.models.generator import Generator
from dilm.training.checkpoints import Checkpoints, Training, what_is_broken
from dilm.training.language_modeling import learn_language
from dilm.training.minibatches import RealBatches

CONFIG = LanguageModelingConfig(max_steps=12, batch_size=16, learning_rate=3e-3)


@pytest.fixture
def said():
    return []


@pytest.fixture
def checkpoints(tmp_path, said):
    return Checkpoints(tmp_path / "steps", save_steps=4, save_total_limit=2, say=said.append)


def fresh(hub_models) -> Generator:
    return Generator.from_pretrained(hub_models[0], 2, max_length=40)


def weights(generator: Generator) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in generator.model.parameters()])


def cut_off(generator, task, checkpoints, after: int) -> None:
    """Train, and stop without any warning."""
    steps = learn_language(generator, task, CONFIG, 0, checkpoints)
    for _ in range(after):
        next(steps)
    steps.close()


def test_going_on_equals_not_having_been_cut_off(hub_models, task, checkpoints, said):
    whole = fresh(hub_models)
    records = list(learn_language(whole, task, CONFIG, 0))
    cut_off(fresh(hub_models), task, checkpoints, after=10)
    assert sorted(p.name for p in checkpoints.folder.iterdir()) == ["step_4", "step_8"]
    again = fresh(hub_models)
    assert list(learn_language(again, task, CONFIG, 0, checkpoints)) == records
    assert torch.equal(weights(again), weights(whole))
    assert any("step 8" in line for line in said)
    assert sorted(p.name for p in checkpoints.folder.iterdir()) == ["step_12", "step_8"], "older ones go"


@pytest.mark.parametrize("harm", ["cut", "flipped", "no manifest", "no notes", "not JSON"])
def test_a_broken_checkpoint_is_passed_over_with_the_reason(hub_models, task, checkpoints, said, harm):
    cut_off(fresh(hub_models), task, checkpoints, after=9)
    newest = checkpoints.folder / "step_8"
    state = newest / "state.safetensors"
    if harm == "cut":
        os.truncate(state, 1000)
    elif harm == "flipped":
        content = bytearray(state.read_bytes())
        content[-1] ^= 1
        state.write_bytes(bytes(content))
    elif harm == "not JSON":
        (newest / "manifest.json").write_text("{")
    else:
        (newest / f"{harm[3:]}.json").unlink()
    assert what_is_broken(newest) and not what_is_broken(checkpoints.folder / "step_4")
    again, whole = fresh(hub_models), fresh(hub_models)
    list(learn_language(again, task, CONFIG, 0, checkpoints))
    list(learn_language(whole, task, CONFIG, 0))
    assert torch.equal(weights(again), weights(whole))
    assert [("passed over" in line, "step 4" in line) for line in said[:2]] == [(True, False), (False, True)]


def small_training() -> Training:
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    return Training(model, *make_optimizer(list(model.parameters()), CONFIG, 12))


def train(training: Training, checkpoints: Checkpoints, until: int) -> list[dict[str, float]]:
    """Go on from the last checkpoint; the records of all steps."""
    done, history, _ = checkpoints.restore(training)
    for step in range(done + 1, until + 1):
        loss = training.model(torch.full((1, 3), float(step))).square().sum()
        loss.backward()
        training.optimizer.step()
        training.scheduler.step()
        training.optimizer.zero_grad()
        history.append({"loss": loss.item()})
        checkpoints.after_step(training, step, history)
    return history


OPERATIONS = [
    *((durable.Path, name) for name in ("mkdir", "rename", "write_text")),
    *((durable.os, name) for name in ("open", "fsync")),
    (durable.shutil, "rmtree"),
    (checkpoint_module, "save_file"),
]


@pytest.mark.parametrize("killed", [False, True], ids=["failed write", "killed"])
def test_a_save_that_ends_between_any_two_operations_leaves_the_last_good_checkpoint(tmp_path, monkeypatch, killed):
    """The n-th file operation of a save fails, for every n (a full disk, a lost mount), or nothing comes after it."""
    expected = train(whole := small_training(), Checkpoints(tmp_path / "whole", 4, 2, str), 12)
    reached, number = set(), 0
    while True:
        checkpoints, calls = Checkpoints(tmp_path / str(number), 4, 2, str), []
        train(small_training(), checkpoints, 7)

        def failing(name, operation, calls=calls, number=number):
            def call(*args, **kwargs):
                calls.append(name)
                if len(calls) == number + 1 or (killed and len(calls) > number):
                    raise OSError(28, "No space left on device")
                return operation(*args, **kwargs)

            return call

        with monkeypatch.context() as patch:
            for place, name in OPERATIONS:
                patch.setattr(place, name, failing(name, getattr(place, name)))
            try:
                train(small_training(), checkpoints, 8)
            except OSError as error:
                assert error.errno == 28
        there = {path.name for path in checkpoints.folder.glob("step_*") if not what_is_broken(path)}
        assert there in ({"step_4"}, {"step_4", "step_8"}), (number, calls)
        assert train(again := small_training(), checkpoints, 12) == expected
        assert torch.equal(again.model.weight, whole.model.weight)
        if len(calls) <= number:
            break
        reached, number = reached | {calls[number]}, number + 1
    assert reached == {name for _, name in OPERATIONS} and number >= 16 and there == {"step_4", "step_8"}


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGTERM, Terminated), (signal.SIGINT, KeyboardInterrupt)])
def test_an_interruption_waits_for_the_step_and_keeps_it(hub_models, task, checkpoints, number, expected):
    generator = fresh(hub_models)
    with pytest.raises(expected), heeded_interruptions(), waiting_interruptions():
        for step, _ in enumerate(learn_language(generator, task, CONFIG, 0, checkpoints), 1):
            if step == 6:
                signal.raise_signal(number)
    assert (checkpoints.folder / "step_7").exists()
    again, whole = fresh(hub_models), fresh(hub_models)
    list(learn_language(again, task, CONFIG, 0, checkpoints))
    list(learn_language(whole, task, CONFIG, 0))
    assert torch.equal(weights(again), weights(whole))


def test_a_second_interruption_does_not_wait_and_an_unheeded_one_ends_the_block():
    with pytest.raises(KeyboardInterrupt), waiting_interruptions():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        pytest.fail("the second one did not raise")
    reached = []
    with pytest.raises(KeyboardInterrupt), waiting_interruptions():
        signal.raise_signal(signal.SIGINT)
        reached.append(True)
    assert reached
    with pytest.raises(OSError, match="full"), waiting_interruptions():
        signal.raise_signal(signal.SIGINT)
        raise OSError("full")
    with waiting_interruptions():
        pass  # nothing is left over


@pytest.mark.parametrize("done", [0, 1, 5, 24, 25, 26, 60])
def test_batches_after_some_steps_are_those_that_would_have_come(task, done):
    batches, direct = RealBatches(task, 16, 3), RealBatches(task, 16, 3)
    slow = iter(batches)
    for _ in range(done):
        next(slow)
    fast = direct.after(done)
    for _ in range(4):
        assert next(fast) == next(slow)

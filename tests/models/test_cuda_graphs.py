"""The step that a GPU records is the step that is trained without recording."""

import torch

from dilm.config import OptimizationConfig
from dilm.evaluation.fine_tuning import shuffled_batches
from dilm.models.cuda_graphs import SummedLoss
from dilm.models.learner import Learner


def trained(learner: Learner, batches: list, seed: int = 3) -> tuple[list[float], torch.Tensor]:
    learner.reinitialize(1)
    losses = list(learner.train(iter(batches), OptimizationConfig(max_steps=len(batches)), seed=seed))
    return losses, learner.output_layer.weight.detach().clone()


def test_recorded_steps_train_as_others_do(hub_models, monkeypatch):
    learner = Learner.from_pretrained(hub_models[1], 2)
    texts, labels = ["good", "bad film", "a good one", "not at all"], [1, 0, 1, 0]
    same = next(shuffled_batches(learner, learner.encode(texts), labels, 64, 0))
    other = learner.batch(texts[:2], labels[:2])
    assert len(same) == len(other) == 1, "one group each"
    batches, asked = [same, same, same, other, other, same], []
    expected = trained(learner, batches)

    def recorded(batch, dropout):
        asked.append(batch)
        inputs, targets = batch[0]
        loss = SummedLoss(learner.model, learner.bf16, list(inputs))
        return lambda: loss(targets, *inputs.values())

    monkeypatch.setattr(learner, "_recorded", recorded)
    losses, weights = trained(learner, batches)
    assert asked == [same, other], "from the second time on that a batch comes; another one is another graph"
    torch.testing.assert_close(torch.tensor(losses), torch.tensor(expected[0]))
    torch.testing.assert_close(weights, expected[1])


def test_nothing_is_recorded_on_a_cpu(hub_models):
    learner = Learner.from_pretrained(hub_models[1], 2)
    batch = learner.batch(["good", "bad"], [1, 0])
    assert learner._recorded(batch, None) is False  # type: ignore[arg-type]

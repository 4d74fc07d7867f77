"""Continual learning with distilled texts as memory: new queues of tickets arrive, the old texts may not be kept.

    python examples/continual_learning.py            # some minutes on 2 cores
    python examples/continual_learning.py --small    # seconds

Queues arrive in three stages (the tickets are those of support_tickets.py, beside this file). A classifier, linear on
MiniLM, is trained further on what arrives and on its memory of the old queues: nothing, 10 real texts of each picked at
random, 10 distilled ones, or all of them. Accuracy is that on all queues seen so far: what falls was forgotten.
"""

import argparse
import random
from pathlib import Path

import numpy as np
from sklearn.linear_model import SGDClassifier
from support_tickets import QUEUES, tickets, write_csv

import dilm

SMALL = Path(__file__).with_name("small.yaml")
SHORT = {"sets": 1, "language_modeling": {"max_steps": 600}, "evaluation": {"learners": ("probe",)}}
STAGES = (("billing", "delivery"), ("returns", "account"), ("technical",))
Rows = list[dict[str, str]]


def distilled(rows: Rows, folder: Path, dpc: int, small: bool) -> Rows:
    """`dpc` written tickets for each queue of the rows; goes on if it was interrupted."""
    folder = folder / ("small" if small else "run")
    folder.mkdir(parents=True, exist_ok=True)
    write_csv(folder / "tickets.csv", rows)
    settings = {"config": SMALL} if small else SHORT
    place = folder / "run"
    run = dilm.distill(
        folder / "tickets.csv",
        text="message",
        label="queue",
        dpc=dpc,
        output_dir=place,
        resume_from_checkpoint=(place / "config.yaml").exists(),
        **settings,
    )
    chosen = run.datasets[dpc][0]
    names = chosen.features["label"].names
    return [{"message": row["text"], "queue": names[row["label"]]} for row in chosen]


def sampled(rows: Rows, dpc: int) -> Rows:
    """`dpc` real tickets for each queue of the rows."""
    queues = dict.fromkeys(row["queue"] for row in rows)
    return [one for q in queues for one in random.Random(0).sample([r for r in rows if r["queue"] == q], dpc)]


def learn(model: SGDClassifier, features: dict[str, np.ndarray], rows: Rows) -> None:
    """Train further, every queue weighing the same however many texts it has."""
    inputs, labels = np.stack([features[r["message"]] for r in rows]), np.array([r["queue"] for r in rows])
    counts = {queue: (labels == queue).sum() for queue in set(labels)}
    weights = np.array([len(rows) / len(counts) / counts[queue] for queue in labels])
    for epoch in range(20):
        order = np.random.default_rng(epoch).permutation(len(rows))
        model.partial_fit(inputs[order], labels[order], classes=list(QUEUES), sample_weight=weights[order])


def accuracy(model: SGDClassifier, features: dict[str, np.ndarray], rows: Rows) -> float:
    """Share of the rows whose queue the model names."""
    return float(model.score(np.stack([features[r["message"]] for r in rows]), [r["queue"] for r in rows]))


def main(arguments: list[str] | None = None) -> dict[str, list[float]]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="seconds instead of minutes; two stages")
    parser.add_argument("--folder", type=Path, default=Path("runs/continual_learning"))
    options = parser.parse_args(arguments)

    dpc, stages = (2, STAGES[:2]) if options.small else (10, STAGES)
    rows = tickets(150 if options.small else 3000)
    train, test = rows[: len(rows) * 4 // 5], rows[len(rows) * 4 // 5 :]
    arrivals = [[row for row in train if row["queue"] in queues] for queues in stages]
    keeps = {
        "nothing": [[] for _ in stages],
        "real": [sampled(new, dpc) for new in arrivals],
        "distilled": [
            distilled(new, options.folder / str(i), dpc, options.small) for i, new in enumerate(arrivals[:-1])
        ],
        "all": arrivals,
    }
    messages = [row["message"] for row in rows + [row for old in keeps["distilled"] for row in old]]
    features = dict(zip(messages, dilm.Learner.from_pretrained("offline", 2).features(messages), strict=True))
    accuracies: dict[str, list[float]] = {}
    for name, kept in keeps.items():
        model = SGDClassifier(loss="log_loss", alpha=1e-5, random_state=0)
        accuracies[name] = []
        for i, new in enumerate(arrivals):
            learn(model, features, new + [row for old in kept[:i] for row in old])
            seen = {row["queue"] for old in arrivals[: i + 1] for row in old}
            accuracies[name].append(accuracy(model, features, [row for row in test if row["queue"] in seen]))

    print(f"\n{'memory':<12}" + "".join(f"{f'after stage {i + 1}':>16}" for i in range(len(stages))))
    for name, found in accuracies.items():
        print(f"{name:<12}" + "".join(f"{one:>16.1%}" for one in found))
    return accuracies


if __name__ == "__main__":
    main()

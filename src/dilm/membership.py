"""audit(): does a learner that was trained on the distilled texts tell training texts from held-out ones?

Membership inference by a threshold on the loss (Yeom et al., 2018): who has the distilled sets trains a learner on them
and takes a text of small loss for a training text. Half of the pairs are told right by chance: AUC 0.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import norm, rankdata
from sklearn.linear_model import LogisticRegression

from .errors import InputError
from .evaluation.coresets import real_sample
from .evaluation.probing import REGULARIZATION
from .models.compute import default_device, derived_seed, native_bf16
from .models.feature_cache import pretrained_features
from .models.learner import Learner
from .progress import Reporter
from .run_folder import Run, read_set
from .task import Task, TextInput, load_task

TEXTS = 5_000
"""Training texts, and held-out texts, at most."""
FALSE_ALARMS = 0.01
Facts = dict[str, Any]


def audit(
    run: str | Path,
    *,
    task: Any = None,
    text: str | None = None,
    text_pair: str | None = None,
    label: str | None = None,
    quiet: bool = False,
) -> Facts:
    """Membership inference against the distilled sets of a finished run, by size, and against all training texts.

    run: a run folder. task, text, text_pair, label: as in `load_task`; by default what the run's config.yaml says.
    Held-out texts are those of dev, which no stage of the run has learnt from. The learner is the run's encoder with
    logistic regression; the losses of a text are averaged over the sets of a size.

    Returns {"learner", "members", "held_out", "lines": [{"trained_on", "dpc", "sets", "auc", "low", "high",
    "recognised"}]} and prints it in words. Raises InputError if the task is not the one that was distilled.
    """
    opened, reporter = Run(Path(run)), Reporter(quiet)
    config = opened.config
    loaded = load_task(
        config["task"] if task is None else task,
        text=text or config.get("text"),
        text_pair=text_pair or config.get("text_pair"),
        label=label or config.get("label"),
    )
    if loaded.fingerprint != config["task_fingerprint"]:
        raise InputError(
            f"{run} was distilled from other texts than {loaded.source} holds now (or from other columns); "
            "pass --task with the same data"
        )
    if not len(loaded.dev):
        raise InputError(f"task {loaded.name} has no dev texts to compare with")
    facts = {"learner": f"probe:{config['learner']}", **_attack(opened, loaded, _learner(config, loaded))}
    for line in in_words(facts):
        reporter.say(line)
    return facts


def _learner(config: Facts, task: Task) -> Learner:
    device = default_device()
    return Learner.from_pretrained(
        config["learner"],
        task.num_classes,
        max_length=config["learner_max_length"],
        bf16=native_bf16(device) if config["bf16"] is None else config["bf16"],
        device=device,
    )


def _attack(run: Run, task: Task, learner: Learner) -> Facts:
    texts, labels = real_sample(task, 1, derived_seed("audit"))
    features = pretrained_features(learner, texts)
    held_out = np.arange(min(len(task.dev), TEXTS))
    others = pretrained_features(learner, task.texts("dev", held_out))
    other_labels = task.labels("dev")[held_out]
    rows = like_in_classes(labels, other_labels, derived_seed("audit, members"))
    members, member_labels = features[rows], labels[rows]

    def line(trained_on: str, dpc: int, sets: Sequence[tuple[np.ndarray, np.ndarray]]) -> Facts:
        losses = [
            (losses_after(*one, members, member_labels), losses_after(*one, others, other_labels)) for one in sets
        ]
        of_members, of_others = (-np.mean([pair[side] for pair in losses], axis=0) for side in (0, 1))
        auc, low, high = auc_interval(of_members, of_others)
        recognised = float((of_members > np.quantile(of_others, 1 - FALSE_ALARMS)).mean())
        figures = {"auc": auc, "low": low, "high": high, "recognised": recognised}
        return {"trained_on": trained_on, "dpc": dpc, "sets": len(sets), **figures}

    def set_features(path: Path) -> tuple[np.ndarray, np.ndarray]:
        set_texts: list[TextInput]
        set_texts, set_labels = read_set(path)
        lacking = sorted({*range(task.num_classes)} - {*set_labels})
        if lacking:
            raise InputError(f"{path} holds no text of class '{task.label_names[lacking[0]]}'; put its texts back")
        return pretrained_features(learner, set_texts), np.array(set_labels)

    lines = [line("distilled", dpc, [set_features(path) for path in files]) for dpc, files in run.set_files().items()]
    lines.append(line("full", 0, [(features, labels)]))
    return {"members": len(members), "held_out": len(others), "lines": lines}


def like_in_classes(labels: np.ndarray, others: np.ndarray, seed: int) -> np.ndarray:
    """Rows of `labels`, TEXTS at most, with classes as frequent as among `others`: losses differ by class."""
    order = np.random.default_rng(seed).permutation(len(labels))
    shares = np.bincount(others, minlength=int(labels.max()) + 1) / len(others)
    counts = np.bincount(labels, minlength=len(shares))
    wanted = shares > 0
    total = min(TEXTS, int((counts[wanted] / shares[wanted]).min()))
    return np.concatenate([order[labels[order] == c][: round(total * share)] for c, share in enumerate(shares)])


def losses_after(
    features: Float[np.ndarray, "k d"],
    labels: Int[np.ndarray, " k"],
    texts: Float[np.ndarray, "n d"],
    classes: Int[np.ndarray, " n"],
) -> Float[np.ndarray, " n"]:
    """Cross-entropy of texts under logistic regression fitted to a set, which holds every class."""
    model = LogisticRegression(C=REGULARIZATION, max_iter=2000).fit(features, labels)
    return -model.predict_log_proba(texts)[np.arange(len(texts)), np.searchsorted(model.classes_, classes)]


def auc_interval(
    members: Float[np.ndarray, " m"], others: Float[np.ndarray, " n"], level: float = 0.95
) -> tuple[float, float, float]:
    """Area under the ROC curve of scores that are to be higher for members, with DeLong's interval.

    It is the chance that a random member scores higher than a random other; ties count half.
    """
    m, n = len(members), len(others)
    ranks = rankdata(np.concatenate([members, others]))
    above = (ranks[:m] - rankdata(members)) / n  # share of the others that each member beats
    below = 1 - (ranks[m:] - rankdata(others)) / m  # share of the members that beat each other
    auc = float(above.mean())
    spread = float(np.sqrt(_variance(above) / m + _variance(below) / n) * norm.ppf((1 + level) / 2))
    return auc, max(0.0, auc - spread), min(1.0, auc + spread)


def _variance(values: np.ndarray) -> float:
    return float(values.var(ddof=1)) if len(values) > 1 else 0.25


def in_words(facts: Facts) -> list[str]:
    """What was found, and what it does and does not mean."""
    said = [
        "Does a learner trained on the distilled texts tell training texts from held-out ones by its loss?",
        f"{facts['learner']}, {facts['members']:,} training and {facts['held_out']:,} held-out texts; "
        "AUC 0.5 is guessing, 1 is certainty",
    ]
    for line in facts["lines"]:
        name = f"{line['dpc']} distilled per class" if line["dpc"] else "all training texts"
        said.append(
            f"  trained on {name:<26} AUC {line['auc']:.3f} (95% interval {line['low']:.3f} to {line['high']:.3f}); "
            f"at {FALSE_ALARMS:.0%} false alarms it recognises {line['recognised']:.1%} of the training texts"
        )
    if any(line["low"] > 0.5 for line in facts["lines"] if line["dpc"]):
        said.append("The distilled texts give away, more than by chance, which texts the generator was trained on.")
    else:
        said.append(
            "No difference was found that chance would not make too. It does not mean that there is none: this is one "
            "simple attack, and a sample."
        )
    said.append(
        "An average says nothing of single texts: one that was copied is recognised, see overlap.json. What the "
        "generator's own weights give away is not looked at, and is more. None of this makes the texts anonymous."
    )
    return said

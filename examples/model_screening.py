"""Model screening: do 20 texts per class rank classifiers as the full data does?

    python examples/model_screening.py                   # embedded reviews
    python examples/model_screening.py --run runs/mine   # a run that you have

Who has to choose among models, or settings, trains each of them on the full data. A distilled set costs seconds
instead. Whether it may be trusted is a matter of the order alone: six classifiers are trained on all training texts,
on each distilled set and on as many random texts, and the rank correlations (Spearman) with the full data are printed.
With six models a correlation is coarse: below 0.89 it may be chance (two-sided p > 0.05). `--small` runs in seconds.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import MultinomialNB
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from sklearn.pipeline import make_pipeline

import dilm

SMALL = Path(__file__).with_name("small.yaml")
SHORT = {"dpc": 20, "language_modeling": {"max_steps": 600}, "evaluation": {"learners": ("probe",)}}


WORDS = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
ON_WORDS = {
    "naive Bayes on words": make_pipeline(WORDS, MultinomialNB()),
    "logistic regression on words": make_pipeline(WORDS, LogisticRegression(C=10.0)),
    "random forest on words": make_pipeline(WORDS, RandomForestClassifier(random_state=0)),
}
ON_FEATURES = {
    "logistic regression on MiniLM": LogisticRegression(C=10.0, max_iter=2000),
    "nearest centroid on MiniLM": NearestCentroid(),
    "nearest neighbour on MiniLM": KNeighborsClassifier(1),
}
NAMES = [*ON_WORDS, *ON_FEATURES]


class Screen:
    """The six classifiers, tested on the same texts."""

    def __init__(self, encoder: dilm.Learner, texts: list[str], labels: np.ndarray):
        self.encoder, self.texts, self.labels = encoder, texts, labels
        self.features = encoder.features(texts)

    def accuracies(self, texts: list[str], labels: list[int]) -> np.ndarray:
        """Of each classifier trained on the texts, in the order of NAMES."""
        features = self.encoder.features(texts)
        found = [clone(m).fit(texts, labels).score(self.texts, self.labels) for m in ON_WORDS.values()]
        found += [clone(m).fit(features, labels).score(self.features, self.labels) for m in ON_FEATURES.values()]
        return np.array(found)


def read(file: Path) -> tuple[list[str], list[int]]:
    """Texts and labels of a set."""
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return [row["text"] for row in rows], [row["label"] for row in rows]


def main(arguments: list[str] | None = None) -> dict[str, float]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="a finished run of single texts; without it the reviews are distilled")
    parser.add_argument("--small", action="store_true", help="seconds instead of minutes")
    options = parser.parse_args(arguments)

    settings = {"config": SMALL, "dpc": 2} if options.small else SHORT
    run = dilm.Run(options.run) if options.run else dilm.distill("reviews", **settings)
    task = dilm.load_task(run.config["task"], text=run.config["text"], label=run.config["label"])
    dpc, most = max(run.datasets), 60 if options.small else 4000
    encoder = dilm.Learner.from_pretrained("offline", task.num_classes)
    screen = Screen(encoder, task.texts("test")[:most], task.labels("test")[:most])

    full = screen.accuracies(task.texts("train")[:most], task.labels("train")[:most].tolist())
    beside = run.output_dir.with_name(f"{run.output_dir.name}-screening")
    paths = dilm.select(task, method="random", dpc=dpc, sets=len(run.datasets[dpc]), output_dir=beside / "random")
    kinds = {"distilled": run.set_files()[dpc], "random": paths}
    scores = {kind: [screen.accuracies(*read(file)) for file in files] for kind, files in kinds.items()}
    means = {kind: np.mean(found, axis=0) for kind, found in scores.items()}
    print(f"{'':32}{'all texts':>12}" + "".join(f"{kind:>12}" for kind in kinds) + f"   ({dpc} per class)")
    for place in np.argsort(-full):
        line = "".join(f"{means[kind][place]:>12.1%}" for kind in kinds)
        print(f"{NAMES[place]:32}{full[place]:>12.1%}{line}")
    found = {}
    for kind in kinds:
        found[kind] = float(spearmanr(full, means[kind]).statistic)
        single, of = [spearmanr(full, one).statistic for one in scores[kind]], "rank correlation with the full data"
        print(
            f"{of}, {kind} texts: {found[kind]:+.2f} for the mean of {len(single)} sets; "
            f"one set alone {np.mean(single):+.2f} (from {min(single):+.2f} to {max(single):+.2f})"
        )
    return found


if __name__ == "__main__":
    main()

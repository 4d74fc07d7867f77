"""Distil, then train SetFit on the few texts: a classifier for a laptop from 10 texts per class.

    pip install setfit
    python examples/setfit_on_distilled.py                   # embedded reviews
    python examples/setfit_on_distilled.py --run runs/mine   # a run that you have

SetFit (Tunstall et al. 2022) fine-tunes a sentence encoder on pairs of the texts, same class or not, and puts logistic
regression on top: made for a handful of texts per class, so a natural learner for distilled ones. Here with MiniLM from
the package of the extra `offline`, beside random and K-centers texts of the same number. `--small` runs in seconds.
"""

import argparse
from pathlib import Path

import numpy as np
from datasets import Dataset
from sentence_transformers import SentenceTransformer
from setfit import SetFitModel, Trainer, TrainingArguments
from sklearn.linear_model import LogisticRegression

import dilm
from dilm.models.offline import minilm_folder
from dilm.run_folder import read_rows

SMALL = Path(__file__).with_name("small.yaml")
SHORT = {"dpc": 10, "language_modeling": {"max_steps": 600}, "evaluation": {"learners": ("probe",)}}


def finished_run(folder: Path | None, small: bool) -> dilm.Run:
    """The run in the folder, or a new one on the embedded reviews."""
    if folder is not None:
        return dilm.Run(folder)
    return dilm.distill("reviews", **({"config": SMALL, "dpc": 2} if small else SHORT))


def task_of(run: dilm.Run) -> dilm.Task:
    """What the run distilled."""
    return dilm.load_task(run.config["task"], text=run.config["text"], label=run.config["label"])


def accuracy(texts: Dataset, task: dilm.Task, folder: Path, small: bool) -> float:
    """Of SetFit trained on the texts, on the first texts of the test split."""
    encoder = SentenceTransformer(str(minilm_folder()), device="cpu")
    model = SetFitModel(model_body=encoder, model_head=LogisticRegression(max_iter=1000))
    arguments = TrainingArguments(
        output_dir=str(folder),
        batch_size=16,
        num_epochs=1,
        num_iterations=1 if small else 10,
        seed=0,
        report_to="none",
        save_strategy="no",
        show_progress_bar=False,
    )
    Trainer(model=model, args=arguments, train_dataset=texts.select_columns(["text", "label"])).train()
    asked, labels = task.texts("test")[: 20 if small else 2000], task.labels("test")[: 20 if small else 2000]
    return float((np.asarray(model.predict(asked, show_progress_bar=False)) == labels).mean())


def main(arguments: list[str] | None = None) -> dict[str, float]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="a finished run of single texts; without it the reviews are distilled")
    parser.add_argument("--small", action="store_true", help="seconds instead of minutes")
    options = parser.parse_args(arguments)

    run = finished_run(options.run, options.small)
    task, dpc = task_of(run), max(run.datasets)
    sets = {"distilled": run.datasets[dpc][0]}
    beside = run.output_dir.with_name(f"{run.output_dir.name}-setfit")
    for method in ("random", "k-centers"):
        (path,) = dilm.select(task, method=method, dpc=dpc, sets=1, output_dir=beside / method)
        sets[method] = Dataset.from_list(read_rows(path))
    found = {}
    for method, texts in sets.items():
        found[method] = accuracy(texts, task, beside / "trainer", options.small)
        print(f"SetFit on {dpc} {method} texts per class: {found[method]:.1%} of the test texts")
    return found


if __name__ == "__main__":
    main()

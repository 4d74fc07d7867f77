"""Are distilled texts fluent, and of the class they are said to be? Our sets beside published ones and real texts.

    python benchmarks/text_quality.py path/to/sst2 dilm=runs/sst2 published=path/to/sets/sst2 kernel=coresets/kernel

Perplexity per token under a language model that has learnt from held-out texts of the task alone (dev and test), from
which no method selects or learns to write; and the share of texts whose class a classifier confirms that was fine-tuned
on the full data from a seed of its own. Writes benchmarks/results/text_quality_TASK.json.
"""

import argparse
import dataclasses
from pathlib import Path

import numpy as np
from common import write_result
from datasets import concatenate_datasets

import dilm
from dilm.config import LanguageModelingConfig, RecipeConfig
from dilm.evaluation.fine_tuning import full_data_steps, train_on_full_data
from dilm.evaluation.training_sets import read_sets
from dilm.models.compute import default_device, derived_seed, native_bf16
from dilm.models.generator import Generator
from dilm.models.learner import Learner
from dilm.progress import Reporter
from dilm.task import Task
from dilm.training.language_modeling import learn_language, num_steps


def perplexity(generator: Generator, texts: list, labels: list[int]) -> float:
    """Of all tokens of the texts together."""
    counts = np.array([len(tokens) - 1 for tokens in generator.encode(texts, labels)])
    return float(np.exp((generator.score(texts, labels).numpy() * counts).sum() / counts.sum()))


def held_out_model(task: Task, steps: int, reporter: Reporter) -> Generator:
    """A language model of the task's dev and test texts."""
    held_out = dataclasses.replace(task, train=concatenate_datasets([task.dev, task.test]))
    device = default_device()
    texts = held_out.texts("train")
    parts = [part for text in texts for part in ((text,) if isinstance(text, str) else text)]
    bf16 = native_bf16(device)
    generator = Generator.from_texts(parts, task.num_classes, max_length=128, bf16=bf16, device=device)
    config = LanguageModelingConfig(learning_rate=5e-4, max_steps=steps, num_train_epochs=3, batch_size=32)
    losses = learn_language(generator, held_out, config, derived_seed("held-out model"))
    for _ in reporter.track(losses, "language model of held-out texts", num_steps(held_out, config)):
        pass
    return generator


def judge(task: Task, steps: int, reporter: Reporter) -> Learner:
    """A classifier of the full data, from a seed that no run uses."""
    device = default_device()
    learner = Learner.from_pretrained("offline", task.num_classes, bf16=native_bf16(device), device=device)
    config = RecipeConfig(full_data_epochs=2, full_data_steps=steps)
    losses = train_on_full_data(learner, task, config, derived_seed("independent judge"))
    for _ in reporter.track(losses, "classifier of the full data", full_data_steps(task, config)):
        pass
    return learner


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task")
    parser.add_argument("folders", nargs="+", metavar="NAME=FOLDER")
    parser.add_argument("--steps", type=int, default=600, help="of either model, at most")
    args = parser.parse_args()
    task, reporter = dilm.load_task(args.task), Reporter()
    sets = read_sets(args.folders, task)
    sources = {"real dev texts": (task.texts("dev"), task.labels("dev").tolist())}
    for one in sets:
        texts, labels = sources.setdefault(one.method, ([], []))
        texts += one.texts
        labels += one.labels
    generator, rows = held_out_model(task, args.steps, reporter), {}
    for name, (texts, labels) in sources.items():
        words = [len(" ".join([text] if isinstance(text, str) else text).split()) for text in texts]
        rows[name] = {"texts": len(texts), "words": float(np.mean(words))}
        if not name.startswith("real"):  # the model has learnt from these
            rows[name]["perplexity"] = perplexity(generator, texts, labels)
    learner = judge(task, args.steps, reporter)
    for name, (texts, labels) in sources.items():
        rows[name]["on_label"] = float((learner.predict(texts).argmax(1) == np.array(labels)).mean())
        figures = f"perplexity {rows[name].get('perplexity', np.nan):.1f}, on label {rows[name]['on_label']:.3f}"
        print(f"{name:<20} {rows[name]['texts']:>6} texts, {rows[name]['words']:.1f} words, {figures}")
    path = Path(__file__).parent / "results" / f"text_quality_{task.name}.json"
    write_result(path, {"steps": args.steps, "methods": rows})
    print(f"wrote {path}")


if __name__ == "__main__":
    main()

"""Which offline generator writes better: a small GPT-2 from scratch, or MiniLM as a decoder of the task's own tokens?

Each is trained on the same batches of the same task and writes the same number of texts. Judged by seconds per
step, bits per character on dev, texts per second, agreement of the asked class with a classifier trained on the full
data, the share of texts that its tokenizer gives back unchanged, the share of written words that occur in the training
texts, and the dev accuracy of a probe trained on texts selected from its pool. Everything is measured on dev, nothing
on test.

    python benchmarks/offline_generators.py TASK --steps 300 --output benchmarks/results/offline_generators.json
"""

import argparse
import re
import time
from collections.abc import Iterator

import numpy as np
import torch
from common import write_result
from transformers import GPT2Config, GPT2LMHeadModel

from dilm.config import EvaluationConfig, LanguageModelingConfig
from dilm.evaluation.fine_tuning import train_on_full_data
from dilm.evaluation.probing import logistic_regression
from dilm.models.compute import default_device, native_bf16
from dilm.models.generator import Generator
from dilm.models.learner import Learner
from dilm.models.offline import train_tokenizer
from dilm.overlap import training_blocks
from dilm.selection import METHODS
from dilm.task import Task, TextInput, load_task
from dilm.training.language_modeling import bits_per_character, learn_language

WORD = re.compile(r"[^\W\d_]+")


def small_gpt2(task: Task, bf16: bool) -> Generator:
    """6 layers, 384 wide (as MiniLM is), fresh weights, 8,192 tokens."""
    tokenizer = train_tokenizer(training_texts(task), vocab_size=8192)
    end = int(tokenizer.eos_token_id)
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=64,
        n_embd=384,
        n_layer=6,
        n_head=6,
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
    )
    torch.manual_seed(0)
    return Generator(GPT2LMHeadModel(config), tokenizer, task.num_classes, bf16=bf16)


def training_texts(task: Task) -> Iterator[str]:
    """Both texts of a pair, without holding them all."""
    return (part for block in training_blocks(task) for text in block for part in sides(text))


def sides(text: TextInput) -> tuple[str, ...]:
    """A text alone, or both of a pair."""
    return (text,) if isinstance(text, str) else text


def train(generator: Generator, task, steps: int, learning_rate: float) -> float:
    """Language modelling for a number of steps; returns seconds per step (median)."""
    config = LanguageModelingConfig(learning_rate=learning_rate, max_steps=steps, num_train_epochs=1000, batch_size=32)
    ticks = [time.monotonic()]
    for number, record in enumerate(learn_language(generator, task, config, seed=0)):
        ticks.append(time.monotonic())
        if number % 100 == 0:
            print(f"  step {number}/{steps} loss {record['loss']:.2f}", flush=True)
    return float(np.median(np.diff(ticks)))


def round_trip(generator: Generator, task) -> float:
    """Share of dev texts that come back unchanged from the tokenizer."""
    texts = task.texts("dev")[:500]
    encoded = generator.encode(texts, [0] * len(texts))
    back = [generator._decode(tokens[1:-1], task.has_pairs) for tokens in encoded]
    return float(np.mean([a == b for a, b in zip(texts, back, strict=True)]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--texts", type=int, default=1000, help="texts per class")
    parser.add_argument("--output", required=True)
    args = parser.parse_args()
    task, bf16 = load_task(args.task), native_bf16(default_device())
    learner = Learner.from_pretrained("offline", task.num_classes, bf16=bf16)
    dev_features, dev_labels = learner.features(task.texts("dev")), task.labels("dev")
    for _ in train_on_full_data(learner, task, EvaluationConfig(full_data_steps=300), seed=0):
        pass
    dev_agreement = float((learner.predict(task.texts("dev")).argmax(1) == dev_labels).mean())
    print(f"full-data classifier: {dev_agreement:.3f} on dev", flush=True)

    kinds = {
        "small GPT-2 from scratch": (lambda: small_gpt2(task, bf16), 1e-3),
        "MiniLM as a decoder": (lambda: Generator.from_texts(training_texts(task), task.num_classes, bf16=bf16), 5e-4),
    }
    known = {word for text in training_texts(task) for word in WORD.findall(text)}
    rows = []
    judge_state = {k: v.clone() for k, v in learner.model.state_dict().items()}
    for name, (make, learning_rate) in kinds.items():
        print(name, flush=True)
        generator = make()
        seconds = train(generator, task, args.steps, learning_rate)
        labels = np.array(list(range(task.num_classes)) * args.texts)
        start = time.monotonic()
        texts = generator.write(labels.tolist(), pairs=task.has_pairs, seed=0)
        rate = len(texts) / (time.monotonic() - start)
        written = np.array([t is not None for t in texts])
        texts, labels = [t for t in texts if t is not None], labels[written]
        learner.model.load_state_dict(judge_state)
        words = [word for text in texts for part in sides(text) for word in WORD.findall(part)]
        on_label = learner.predict(texts).argmax(1) == labels
        learner.reinitialize(0)
        features = learner.features(texts)
        row = {
            "generator": name,
            "steps": args.steps,
            "seconds_per_step": seconds,
            "bits_per_character": bits_per_character(generator, task, "dev"),
            "texts_per_second": rate,
            "written": float(written.mean()),
            "agreement": float(on_label.mean()),
            "known_words": float(np.mean([word in known for word in words])),
            "round_trip": round_trip(generator, task),
            "samples": [str(t) for t in texts[:8]],
        }
        for keep, mask in (("all", np.ones(len(texts), bool)), ("on-label", on_label)):
            for method in ("random", "k-centers"):
                for dpc in (5, 10, 20):
                    scores = []
                    for seed in range(10):
                        chosen = METHODS[method](features[mask], labels[mask], dpc, seed)
                        predicted = logistic_regression(features[mask][chosen], labels[mask][chosen], dev_features)
                        scores.append(float((predicted == dev_labels).mean()))
                    row[f"{keep}/{method}/{dpc}"] = [float(np.mean(scores)), float(np.std(scores, ddof=1))]
        rows.append(row)
        for key, value in row.items():
            print(f"  {key}: {value}", flush=True)
    write_result(args.output, {"dev_agreement": dev_agreement, "rows": rows})


if __name__ == "__main__":
    main()

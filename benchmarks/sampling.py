"""Texts per second: dilm's sampling against one plain float32 `generate` call per batch of 256.

    python benchmarks/sampling.py --task path/to/sst2 --output benchmarks/results/sampling.json

Both write with the same generator after --train-steps steps of language modelling, so that texts end as real ones do.
`generate` gets the same prompts, top-p and length. Rates are texts per second, the best of --rounds.
"""

import argparse
import time

import numpy as np
import torch
from common import write_result

import dilm
from dilm.config import LanguageModelingConfig
from dilm.models.compute import default_device, native_bf16
from dilm.models.generator import Generator
from dilm.training.language_modeling import learn_language

BATCH = 256


def plain(generator: Generator, labels: list[int], seed: int) -> list[str]:
    """What one writes first."""
    torch.manual_seed(seed)
    texts = []
    for start in range(0, len(labels), BATCH):
        prompts = torch.tensor([[generator.class_ids[y]] for y in labels[start : start + BATCH]])
        with torch.no_grad():
            written = generator.model.generate(
                prompts.to(generator.device),
                do_sample=True,
                top_p=0.95,
                top_k=0,
                max_length=generator.max_length,
                attention_mask=torch.ones_like(prompts).to(generator.device),
            )
        texts += generator.tokenizer.batch_decode(written, skip_special_tokens=True)
    return texts


def ours(generator: Generator, labels: list[int], seed: int) -> list[str]:
    return [text for _, text in generator.sample(labels, seed=seed, batch_size=BATCH)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="reviews")
    parser.add_argument("--generator", default="offline")
    parser.add_argument("--train-steps", type=int, default=400)
    parser.add_argument("--batches", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--output")
    args = parser.parse_args()
    task, device = dilm.load_task(args.task), default_device()
    bf16 = native_bf16(device)
    generator = (
        Generator.from_texts(task.texts("train", range(min(20_000, len(task.train)))), task.num_classes, device=device)
        if args.generator == "offline"
        else Generator.from_pretrained(args.generator, task.num_classes, device=device)
    )
    generator.bf16 = bf16
    config = LanguageModelingConfig(
        learning_rate=5e-4, max_steps=args.train_steps, batch_size=32, num_train_epochs=10**6
    )
    for _ in learn_language(generator, task, config, seed=0):
        pass
    labels = list(range(task.num_classes)) * (BATCH * args.batches // task.num_classes)
    rows = []
    for name, write, low in (
        ("plain generate, float32", plain, False),
        ("ours, float32", ours, False),
        *((("ours, bfloat16", ours, True),) if bf16 else ()),
    ):
        generator.bf16, rates, texts = low, [], []
        for seed in range(args.rounds):
            start = time.perf_counter()
            texts = write(generator, labels, seed)
            rates.append(len(texts) / (time.perf_counter() - start))
        words = float(np.mean([len(text.split()) for text in texts]))
        rows.append({"way": name, "texts_per_second": max(rates), "words": words})
    print(f"{'way':<26} {'texts/s':>9} {'ratio':>7} {'words/text':>11}")
    for row in rows:
        row["ratio"] = row["texts_per_second"] / rows[0]["texts_per_second"]
        print(f"{row['way']:<26} {row['texts_per_second']:>9.1f} {row['ratio']:>7.1f} {row['words']:>11.1f}")
    if args.output:
        write_result(args.output, {"task": task.name, "generator": args.generator, "batch": BATCH, "rows": rows})


if __name__ == "__main__":
    main()

"""Estimates, not measurements: minutes and memory of the preset `fast` for other sizes of dataset and generator.

    python benchmarks/estimate_costs.py

Counts operations (6 per weight and token for training, 4 with LoRA, whose frozen weights need no gradient, 2 for
writing) at a rate that a GPU reaches in practice, the bytes of the weights that every token of a written batch reads,
and the time in which kernels are launched, which is what small models wait for. The defaults are 40% of an H100's
bfloat16 rate, 60% of its bandwidth, and 1 ms for a layer's forward pass. Loading is 5 s per million rows, as measured
(benchmarks/large.py). Evaluation and the full-data classifier are the learner's and left out, and so are the searches
for words, which a CPU does.
"""

import argparse

from dilm.config import load_config

GENERATORS = {
    "GPT-2 small": (124e6, 12, False),
    "GPT-2 medium": (355e6, 24, False),
    "GPT-2 XL + LoRA": (1.56e9, 48, True),
}
TOKENS, CLASSES, DPC = 40, 2, 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teraflops", type=float, default=400.0)
    parser.add_argument("--bandwidth", type=float, default=2000.0, help="GB per second")
    parser.add_argument("--launch", type=float, default=1e-3, help="seconds for a layer, forward")
    args = parser.parse_args()
    config, _ = load_config("fast")
    lm, gm, rate = config.language_modeling, config.gradient_matching, args.teraflops * 1e12
    size = config.sampling_batch_size
    print("| generator | texts | load | stage 1 | stage 2 | pool | all, minutes | weights and optimiser, GB |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for name, (weights, layers, lora) in GENERATORS.items():
        launch = layers * args.launch
        token = max(2 * weights * size / rate, 2 * weights / (args.bandwidth * 1e9), launch)

        def step(texts: int, weights: float = weights, lora: bool = lora, launch: float = launch) -> float:
            return max((4 if lora else 6) * weights * TOKENS * texts / rate, 3 * launch)

        writing = -(-gm.generated_texts * CLASSES // size) * TOKENS * token * gm.max_steps / gm.refresh_steps
        pool = config.sets * CLASSES * config.pool.texts_per_dpc * DPC / size * TOKENS * token
        for rows in (10_000, 100_000, 1_000_000, 10_000_000):
            steps = min(lm.max_steps, lm.num_train_epochs * rows / lm.batch_size)
            stage_2 = gm.max_steps * CLASSES * step(gm.batch_size) + writing
            minutes = [seconds / 60 for seconds in (rows * 5e-6, steps * step(lm.batch_size), stage_2, pool)]
            shown = " | ".join(f"{value:.1f}" for value in (*minutes, sum(minutes)))
            print(f"| {name} | {rows:,} | {shown} | {weights * (4.2 if lora else 16) / 1e9:.1f} |")


if __name__ == "__main__":
    main()

"""Time and peak memory of every stage against the number of training texts and their length.

    python benchmarks/large.py --rows 10000 100000 5000000 --output benchmarks/results/large_rows.json
    python benchmarks/large.py --rows 1000 --tokens 20 100 500 --output benchmarks/results/large_lengths.json

Makes a csv by repetition of embedded reviews with noise (new words), and sends it through the stages of `dilm distill`,
each size in a process of its own, with few steps: memory does not depend on their number, so long as they are enough
for a generator whose texts are whole characters. Seconds are wall time; memory is the peak of what is resident, in MB,
memory-mapped files included. Stage 1 contains the training of the tokenizer.
"""

import argparse
import contextlib
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from common import write_result

from dilm.reviews import generate

STAGES = ("load", "full data", "stage 1", "stage 2", "pool", "selection", "overlap", "coresets", "evaluation", "map")
SETTINGS = {
    "dpc": 2,
    "sets": 1,
    "language_modeling": {"max_steps": 40, "batch_size": 8},
    "gradient_matching": {
        "max_steps": 4,
        "refresh_steps": 4,
        "generated_texts": 64,
        "inner_steps": 2,
        "learner_steps": 2,
        "teacher_size": 50,
        "teacher_candidates": 500,
    },
    "pool": {"texts_per_dpc": 16, "keep": "all"},
    "evaluation": {"learners": ["probe"], "full_data_steps": 4, "max_texts": 1000},
}


def make_file(path: Path, rows: int, tokens: int) -> None:
    """Reviews joined to some `tokens` tokens, each with a few words that no other has."""
    random, base = np.random.default_rng(0), generate(20_000, seed=0)
    by_label = {label: [row["text"] for row in base if row["label"] == label] for label in (0, 1)}
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for number in range(rows):
            label, text = number % 2, ""
            while True:
                text += " " + by_label[label][int(random.integers(len(by_label[label])))]
                if len(text.split()) >= 0.75 * tokens:
                    break
            words = text.split()
            words[int(random.integers(len(words)))] = f"{number:x}"
            writer.writerow([" ".join(words), label])


def measure(path: Path, tokens: int) -> dict:
    """The stages in this process: {"stage": {"seconds", "megabytes"}}."""
    import dilm
    from dilm import pipeline, workspace
    from dilm.models.compute import release_memory

    figures: dict[str, dict[str, float]] = {}

    @contextlib.contextmanager
    def timed(_, stage: str) -> Iterator[None]:
        forget_peak()
        start = time.monotonic()
        yield
        figures[stage] = {"seconds": time.monotonic() - start, "megabytes": peak()}
        release_memory()

    workspace.Workspace.timed = timed  # type: ignore[method-assign]
    with timed(None, "load"):
        task = dilm.load_task(path)
    length = {"generator_max_length": max(64, tokens + 28), "learner_max_length": max(64, tokens + 28)}
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        pipeline.distill(task, output_dir=f"{folder}/run", quiet=True, **SETTINGS, **length)
    return figures


def forget_peak() -> None:
    """Let the peak of resident memory start anew (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")


def peak() -> float:
    """Peak of resident memory in MB since then."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--tokens", type=int, nargs="+", default=[20])
    parser.add_argument("--output")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(Path(args.one), args.tokens[0])))
        return
    print(f"{'rows':>10} {'tokens':>6} " + " ".join(f"{stage:>16}" for stage in STAGES) + "   (seconds, MB)")
    cells = []
    for rows in args.rows:
        for tokens in args.tokens:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "texts.csv"
                make_file(path, rows, tokens)
                size = path.stat().st_size
                command = [sys.executable, __file__, "--one", str(path), "--tokens", str(tokens)]
                environment = os.environ | {"HF_DATASETS_CACHE": f"{folder}/cache", "DILM_CACHE": f"{folder}/features"}
                done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
            figures = json.loads(done.stdout.splitlines()[-1])
            cells.append({"rows": rows, "tokens": tokens, "file_megabytes": size / 2**20, "stages": figures})
            shown = [f"{figures[s]['seconds']:>8.1f} {figures[s]['megabytes']:>7,.0f}" for s in STAGES]
            print(f"{rows:>10,} {tokens:>6} " + " ".join(shown), flush=True)
            if args.output:
                write_result(args.output, {"settings": SETTINGS, "cells": cells})


if __name__ == "__main__":
    main()

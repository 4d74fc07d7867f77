"""Fine-tuning runs per minute: a plain loop that loads the model for every run, against dilm's.

    python benchmarks/evaluation_throughput.py --task path/to/sst2 --dpc 5 20 --processes 2

Same model, sets, recipe and test texts. One process with all cores, and dilm's also spread over --processes that share
them, as `dilm evaluate --num-processes` does it. Prints one table; --output writes it as JSON with machine and
versions.
"""

import argparse
import contextlib
import multiprocessing
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing.synchronize import Barrier

import numpy as np
import torch
from common import write_result
from transformers import AutoModelForSequenceClassification, AutoTokenizer, get_cosine_schedule_with_warmup

import dilm
from dilm.config import RecipeConfig
from dilm.evaluation.coresets import real_sample
from dilm.evaluation.fine_tuning import FineTuning
from dilm.evaluation.protocol import HeldOut, held_out
from dilm.evaluation.training_sets import TrainingSet
from dilm.models.compute import default_device, native_bf16
from dilm.models.learner import Learner
from dilm.models.loading import quiet_transformers
from dilm.models.offline import resolve
from dilm.selection import METHODS


def plain_run(source: str, chosen: TrainingSet, test: HeldOut, config: RecipeConfig, classes: int, seed: int) -> float:
    """What one writes first: load, tokenise every batch, AdamW, float32."""
    torch.manual_seed(seed)
    with quiet_transformers():
        tokenizer = AutoTokenizer.from_pretrained(source)
        model = AutoModelForSequenceClassification.from_pretrained(source, num_labels=classes, dtype="float32")
    model.to(default_device()).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    warmup = int(config.warmup_steps * config.max_steps)
    scheduler = get_cosine_schedule_with_warmup(optimizer, warmup, config.max_steps)
    order: list[int] = []
    for _ in range(config.max_steps):
        if not order:
            order = torch.randperm(len(chosen.texts)).tolist()
        rows, order = order[: config.batch_size], order[config.batch_size :]
        batch = encode(tokenizer, [chosen.texts[i] for i in rows], model.device)
        model(**batch, labels=torch.tensor([chosen.labels[i] for i in rows], device=model.device)).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.max_grad_norm)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
    model.eval()
    correct = 0
    with torch.no_grad():
        for start in range(0, len(test.texts), 64):
            logits = model(**encode(tokenizer, test.texts[start : start + 64], model.device)).logits
            correct += int((logits.argmax(1).cpu().numpy() == test.labels[start : start + 64]).sum())
    return correct / len(test.texts)


def our_run(ours: FineTuning, chosen: TrainingSet, test: HeldOut) -> float:
    return float((ours.predict(chosen, test, chosen.number) == test.labels).mean())


_run: Callable[[TrainingSet], float]
"""In a process of its own, from `prepare` on: one run."""


def prepare(learner: str, task_place: str, bf16: bool, config: RecipeConfig, threads: int, ready: Barrier) -> None:
    """What a process does once, before the clock starts."""
    global _run
    try:
        torch.set_num_threads(threads)
        task, device = dilm.load_task(task_place), default_device()
        test = held_out(task, "dev", 1000)
        ours = FineTuning("ours", Learner.from_pretrained(learner, task.num_classes, bf16=bf16, device=device), config)
        _run = partial(our_run, ours, test=test)
    except BaseException:
        ready.abort()  # nobody is to wait for this process
        raise
    ready.wait()


def run_in_process(chosen: TrainingSet) -> float:
    return _run(chosen)


def measured_at_once(name: str, dpc: int, processes: int, sets: list[TrainingSet], prepared: tuple) -> dict:
    """As `measured`, of processes side by side: seconds are those of all runs over their number."""
    context = multiprocessing.get_context("spawn")
    ready = context.Barrier(processes + 1)
    threads = max(1, (os.cpu_count() or 1) // processes)
    with ProcessPoolExecutor(processes, context, prepare, (*prepared, threads, ready)) as pool:
        runs = [pool.submit(run_in_process, chosen) for chosen in sets]  # each process begins when all are ready
        ready.wait()
        start = time.perf_counter()
        scores = [run.result() for run in runs]
        seconds = (time.perf_counter() - start) / len(sets)
    return figures(name, dpc, seconds, scores)


def encode(tokenizer, texts, device):
    pairs = None if isinstance(texts[0], str) else [second for _, second in texts]
    firsts = [text if isinstance(text, str) else text[0] for text in texts]
    return tokenizer(firsts, pairs, truncation=True, max_length=128, padding=True, return_tensors="pt").to(device)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="reviews")
    parser.add_argument("--learner", default="offline")
    parser.add_argument("--dpc", type=int, nargs="+", default=[5, 20])
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--max-steps", type=int, default=200)
    parser.add_argument("--processes", type=int, default=0, help="also dilm's in so many processes, --runs runs each")
    parser.add_argument("--plain", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--output")
    args = parser.parse_args()
    task, config, device = dilm.load_task(args.task), RecipeConfig(max_steps=args.max_steps), default_device()
    test = held_out(task, "dev", 1000)
    texts, labels = real_sample(task, max(args.dpc), 0)
    learners = {
        name: Learner.from_pretrained(args.learner, task.num_classes, bf16=bf16, device=device)
        for name, bf16 in (("float32", False), ("bfloat16", True))
        if not bf16 or native_bf16(device)
    }
    rows = []
    for dpc in args.dpc:
        sets = []
        for number in range(args.runs * max(1, args.processes)):
            chosen = METHODS["random"](np.zeros((len(texts), 1)), labels, dpc, number)
            sets.append(TrainingSet("random", dpc, number, [texts[i] for i in chosen], labels[chosen].tolist()))
        alone = sets[: args.runs]
        if args.plain:
            runs = [
                lambda s=s: plain_run(resolve(args.learner), s, test, config, task.num_classes, s.number) for s in alone
            ]
            rows.append(measured("plain", dpc, runs))
        for name, learner in learners.items():
            ours = FineTuning("ours", learner, config)
            runs = [partial(our_run, ours, s, test) for s in alone]
            rows.append(measured(f"ours, {name}", dpc, runs))
            if args.processes:
                prepared = (args.learner, args.task, name == "bfloat16", config)
                title = f"ours, {name}, {args.processes} processes"
                rows.append(measured_at_once(title, dpc, args.processes, sets, prepared))
    base = {row["dpc"]: row["runs_per_minute"] for row in rows if row["name"] == "plain"}
    print(f"{'loop':<28} {'dpc':>4} {'s/run':>8} {'runs/min':>9} {'ratio':>6} {'dev accuracy':>13}")
    for row in rows:
        with contextlib.suppress(KeyError):
            row["ratio"] = row["runs_per_minute"] / base[row["dpc"]]
        print(
            f"{row['name']:<28} {row['dpc']:>4} {row['seconds']:>8.1f} {row['runs_per_minute']:>9.2f} "
            f"{row.get('ratio', float('nan')):>6.2f} {row['accuracy']:>13.3f}"
        )
    if args.output:
        write_result(args.output, {"rows": rows, "task": task.name, "max_steps": args.max_steps})


def measured(name, dpc, runs):
    times, scores = [], []
    for run in runs:
        start = time.perf_counter()
        scores.append(run())
        times.append(time.perf_counter() - start)
    return figures(name, dpc, float(np.mean(times)), scores)


def figures(name, dpc, seconds, scores):
    return {
        "name": name,
        "dpc": dpc,
        "seconds": seconds,
        "runs_per_minute": 60 / seconds,
        "accuracy": float(np.mean(scores)),
    }


if __name__ == "__main__":
    main()

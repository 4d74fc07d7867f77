"""What is timed elsewhere, at the paper's size: GPT-2 and BERT-base with random weights, which take the same time.

    python benchmarks/gpu.py --task path/to/sst2 --output benchmarks/results/gpu.json

Makes both models in a folder, runs benchmarks/generator_step.py and benchmarks/sampling.py with them, times a step of
language modelling and one fine-tuning run, and extrapolates the presets `fast` and `paper`. Meant for a GPU; --layers 2
--steps 1 shows on a CPU that it runs. Hours are estimates from the times above them.
"""

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from common import write_result
from transformers import BertConfig, BertModel, GPT2Config, GPT2LMHeadModel

import dilm
from dilm.config import LanguageModelingConfig, OptimizationConfig, load_config
from dilm.models import offline
from dilm.models.compute import default_device, native_bf16
from dilm.models.generator import Generator
from dilm.models.learner import Learner
from dilm.training.language_modeling import learn_language

HERE = Path(__file__).parent


def make_models(folder: Path, task: dilm.Task, layers: int) -> tuple[str, str]:
    """GPT-2 and BERT-base as folders in hub format, with a tokenizer of the task's own texts."""
    torch.manual_seed(0)
    tokenizer = offline.train_tokenizer(task.texts("train", range(min(20_000, len(task.train)))))
    gpt2 = GPT2LMHeadModel(GPT2Config(n_layer=layers, eos_token_id=0, bos_token_id=0, pad_token_id=0))
    bert = BertModel(BertConfig(num_hidden_layers=layers))
    for model, name in ((gpt2, "gpt2"), (bert, "bert")):
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    return str(folder / "gpt2"), str(folder / "bert")


def seconds_per_step(steps, warm_up: int, count: int) -> float:
    """Of an iterator that does one step at a time."""
    for _ in range(warm_up):
        next(steps)
    start = time.perf_counter()
    for _ in range(count):
        next(steps)
    return (time.perf_counter() - start) / count


def hours(preset: str, times: dict[str, float], task: dilm.Task) -> dict[str, float]:
    """What a preset's schedule takes, by stage, evaluation with 5 seeds on 20 sets of DPC 20 included."""
    config, _ = load_config(preset)
    lm, gm, classes = config.language_modeling, config.gradient_matching, task.num_classes
    steps = min(lm.max_steps, lm.num_train_epochs * len(task.train) / lm.batch_size)
    refreshes = gm.max_steps / gm.refresh_steps
    pool = config.sets * classes * config.pool.texts_per_dpc * 20
    seconds = {
        "stage 1": steps * times["language modelling step"],
        "stage 2, steps": gm.max_steps * times[f"generator step, {gm.learners}"],
        "stage 2, writing": refreshes * classes * gm.generated_texts / times["texts per second"],
        "pool": pool / times["texts per second"],
        "evaluation": config.sets * config.evaluation.seeds * times["fine-tuning run"],
    }
    return {stage: value / 3600 for stage, value in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="reviews")
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--output")
    args = parser.parse_args()
    task, device, parts = dilm.load_task(args.task), default_device(), {}
    bf16 = native_bf16(device)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        gpt2, bert = make_models(folder, task, args.layers)
        scripts = {
            "generator_step": ["--learner", bert, "--steps", str(args.steps), "--our-steps", str(min(8, args.steps))],
            "sampling": ["--train-steps", str(30 * args.steps), "--batches", "4" if args.steps > 1 else "1"],
        }
        for script, options in scripts.items():
            output = folder / f"{script}.json"
            command = [sys.executable, str(HERE / f"{script}.py"), "--task", args.task, "--generator", gpt2]
            subprocess.run([*command, *options, "--output", str(output)], check=True)
            parts[script] = json.loads(output.read_text())
        generator = Generator.from_pretrained(gpt2, task.num_classes, max_length=128, bf16=bf16, device=device)
        config = LanguageModelingConfig(max_steps=10**6, num_train_epochs=10**6)
        lm_step = seconds_per_step(learn_language(generator, task, config, 0), 2, args.steps)
        del generator
        learner = Learner.from_pretrained(bert, task.num_classes, bf16=bf16, device=device)
        texts = task.texts("train", range(40))
        whole = learner.batch(learner.encode(texts), [i % task.num_classes for i in range(40)])
        batches = itertools.repeat(whole)
        tuning = seconds_per_step(learner.train(batches, OptimizationConfig(max_steps=10**6), seed=0), 2, args.steps)
        held_out = task.texts("dev", range(min(500, len(task.dev))))
        start = time.perf_counter()
        learner.predict(held_out)
        reading = (time.perf_counter() - start) / len(held_out)
    times = {
        "language modelling step": lm_step,
        **{f"generator step, {row['way']}": row["seconds"] for row in parts["generator_step"]["rows"]},
        "texts per second": max(row["texts_per_second"] for row in parts["sampling"]["rows"][1:]),
        "fine-tuning run": 200 * tuning + reading * len(task.test),
    }
    for name, value in times.items():
        print(f"{name:<40} {value:>10.3f}")
    schedules = {preset: hours(preset, times, task) for preset in ("fast", "paper")}
    for preset, stages in schedules.items():
        print(f"{preset}: {sum(stages.values()):.2f} h: " + ", ".join(f"{k} {v:.2f}" for k, v in stages.items()))
    if args.output:
        name = torch.cuda.get_device_name() if device.type == "cuda" else device.type
        write_result(args.output, {"device": name, "layers": args.layers, "times": times, "hours": schedules} | parts)


if __name__ == "__main__":
    main()

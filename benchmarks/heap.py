"""How memory and time of language modelling grow over its steps, by how many primitives oneDNN keeps (CPU, glibc).

    python benchmarks/heap.py path/to/mnli --primitives 128 1024

Each number in a process of its own: an offline generator learns the task's texts as in stage 1, and tells every 25
steps: its loss, which must not depend on the number, seconds a step, resident memory, what of malloc's is in use and
free. Writes benchmarks/results/heap.json.
"""

import argparse
import ctypes
import json
import os
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

import psutil
from common import write_result

import dilm
from dilm.config import LanguageModelingConfig
from dilm.models.compute import default_device, native_bf16
from dilm.models.generator import Generator
from dilm.training.language_modeling import learn_language

EVERY = 25
"""Steps between two lines."""


class Told(ctypes.Structure):
    """What `mallinfo2` tells, in bytes (`ordblks`: free chunks)."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "keep",
        )
    )


def steps(task: dilm.Task, count: int) -> None:
    """Prints a line of JSON every EVERY steps."""
    malloc, process, device = ctypes.CDLL(None), psutil.Process(), default_device()
    malloc.mallinfo2.restype = Told
    texts = [part for text in task.texts("train", range(5000)) for part in ([text] if isinstance(text, str) else text)]
    generator = Generator.from_texts(texts, task.num_classes, bf16=native_bf16(device), device=device)
    config = LanguageModelingConfig(5e-4, 100_000, batch_size=32, num_train_epochs=10_000)
    start = time.monotonic()
    for step, record in enumerate(islice(learn_language(generator, task, config, 0), count), 1):
        if step % EVERY == 0:
            told, seconds = malloc.mallinfo2(), (time.monotonic() - start) / EVERY
            line = {"step": step, **record, "seconds": round(seconds, 3), "resident": process.memory_info().rss}
            print(json.dumps(line | {"used": told.uordblks, "free": told.fordblks, "chunks": told.ordblks}), flush=True)
            start = time.monotonic()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--primitives", type=int, nargs="+", default=(128, 1024))
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        steps(dilm.load_task(args.task), args.steps)
        return
    found: dict[int, list] = {}
    for capacity in args.primitives:
        command = [sys.executable, __file__, args.task, "--steps", str(args.steps), "--one"]
        env = os.environ | {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": str(capacity)}
        with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as process:
            for line in process.stdout or ():
                if line.startswith("{"):
                    found.setdefault(capacity, []).append(json.loads(line))
                    print(capacity, line.strip(), flush=True)
    write_result(Path(__file__).parent / "results" / "heap.json", {"primitives": found})


if __name__ == "__main__":
    main()

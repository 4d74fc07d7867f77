"""Starts, kills and resumes small runs at random moments, and looks whether anything is lost.

    python benchmarks/soak.py --kills 100 --output benchmarks/results/soak.json

Every start is a process of its own that runs `dilm distill --resume`; it is forked from one that has the libraries
loaded, so that the time goes into runs, not into imports. SIGKILL, SIGTERM or SIGINT comes at a random moment of the
first sixth of what an uninterrupted run takes. After each kill: what has its final name is whole (manifests, JSON,
Parquet, safetensors), no finished evaluation run has gone, and no stage is further back than its last checkpoint was.
In the end texts, weights and results are those of the uninterrupted run. The first thing that is not so ends it all.
"""

import argparse
import itertools
import json
import os
import random
import shutil
import signal
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import torch
import yaml
from common import write_result
from safetensors import safe_open
from transformers import BertConfig, BertModel, GPT2Config, GPT2LMHeadModel

from dilm import pipeline, pool  # noqa: F401  (loaded before the processes are forked)
from dilm.cli import main
from dilm.evaluation.statistics import row_key
from dilm.evaluation.store import RowStore
from dilm.models import offline
from dilm.reviews import generate
from dilm.training.checkpoints import what_is_broken

SETTINGS = {
    "dpc": [2],
    "sets": 2,
    "bf16": False,
    "save_steps": 5,
    "generator_max_length": 40,
    "learner_max_length": 48,
    "language_modeling": {"max_steps": 60, "batch_size": 16, "learning_rate": 0.01, "num_train_epochs": 100},
    "gradient_matching": {
        "max_steps": 25,
        "batch_size": 6,
        "teacher_size": 8,
        "teacher_sets": 2,
        "teacher_candidates": 40,
        "generated_texts": 12,
        "refresh_steps": 7,
        "inner_steps": 4,
        "trajectories": 3,
        "learner_steps": 1,
        "learner_batch_size": 8,
    },
    "pool": {"texts_per_dpc": 30},
    "evaluation": {"max_steps": 5, "seeds": 2, "fine_tuned_sets": 2, "full_data_steps": 10, "max_texts": 100},
}
BLOCK_TEXTS = 32
"""So that a pool of this size has several blocks."""
SHARE = 6
"""A process is killed within this part of the time that a run takes."""
EXIT_CODES = {signal.SIGKILL: {-9}, signal.SIGTERM: {-15, 143}, signal.SIGINT: {-2, 130}}
"""A run that ends in time has 0; one that had not yet begun to heed signals dies of them."""
WEIGHTS = ("checkpoints/full_data.safetensors", "checkpoints/stage_1/model.safetensors", "generator/model.safetensors")


def make_settings(folder: Path) -> dict[str, Path]:
    """A small task, tiny models, and a settings file for each way of having learners."""
    rows = generate(400, seed=1)
    texts = [row["text"] for row in rows]
    (folder / "task.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    tokenizer = offline.train_tokenizer(texts, vocab_size=600)
    tokenizer.add_special_tokens({"cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"})
    common = {"vocab_size": len(tokenizer), "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    GPT2LMHeadModel(GPT2Config(**common, n_positions=64, n_embd=32, n_layer=2, n_head=2)).save_pretrained(
        folder / "generator"
    )
    small = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    BertModel(BertConfig(**common, **small, max_position_embeddings=80)).save_pretrained(folder / "learner")
    for name in ("generator", "learner"):
        tokenizer.save_pretrained(folder / name)
    files = {}
    for learners in ("pool", "fresh"):
        values = SETTINGS | {name: str(folder / name) for name in ("generator", "learner")}
        values |= {"task": str(folder / "task.jsonl"), "text": "text", "label": "label"}
        values["gradient_matching"] = SETTINGS["gradient_matching"] | {"learners": learners}
        files[learners] = folder / f"{learners}.yaml"
        files[learners].write_text(yaml.safe_dump(values), encoding="utf-8")
    return files


def start(settings: Path, folder: Path) -> int:
    """Start or resume the run in a process of its own; returns the process's number."""
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        log = os.open(folder.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        resume = ["--resume"] if (folder / "config.yaml").exists() else []
        code = main(["distill", "--config", str(settings), "--output-dir", str(folder), *resume])
    except KeyboardInterrupt:  # before the command heeds signals
        code = 130
    finally:
        os._exit(code)


def ended(process: int) -> tuple[int, float]:
    """The exit code of the process, once it has ended (-9 for SIGKILL), and the processor's seconds that it took."""
    _, status, usage = os.wait4(process, 0)
    return os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime


def kill_at_random(process: int, number: signal.Signals, seconds: float) -> int:
    """Send the signal after that time of the processor's, unless the process ends before; returns the exit code."""
    while sum(psutil.Process(process).cpu_times()[:2]) < seconds:
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.001)
    os.kill(process, number)
    return ended(process)[0]


class Lost(Exception):
    """What a run had kept is gone or damaged, or a resumed run is not what it would have been."""


def expect(holds: object, otherwise: str) -> None:
    """`Lost` if it does not hold; unlike an assert, also under `python -O`."""
    if not holds:
        raise Lost(otherwise)


def check_whole(folder: Path) -> None:
    """Whatever has its final name can be read to its end."""
    for path in folder.rglob("[!.]*"):
        if any(part.startswith(".") for part in path.relative_to(folder).parts):
            continue  # what was being written
        if path.name.startswith("step_"):
            expect(what_is_broken(path) is None, f"{path}: {what_is_broken(path)}")
        elif path.suffix == ".json":
            json.loads(path.read_text(encoding="utf-8"))
        elif path.suffix == ".jsonl" and not path.name.startswith("rows-"):
            lines = path.read_text(encoding="utf-8").splitlines()
            expect(all(json.loads(line) for line in lines), f"{path} has an empty row")
        elif path.suffix == ".parquet":
            pq.read_table(path)
        elif path.suffix == ".safetensors":
            with safe_open(path, "pt") as file:
                expect(file.keys(), f"{path} holds no tensors")


def progress(folder: Path) -> tuple[str, int, set]:
    """The stage that the run is in, its last checkpoint or number of results, and the evaluation runs that are done."""
    checkpoints = folder / "checkpoints"
    rows = {row_key(row) for row in RowStore(checkpoints / "evaluation").rows()} if checkpoints.exists() else set()

    def newest(stage: str) -> int:
        return max((int(path.name[5:]) for path in (checkpoints / f"{stage}_steps").glob("step_*")), default=0)

    if rows:
        return "evaluation", len(rows), rows
    if (folder / "pool.parquet").exists():
        return "selection", len(list(folder.glob("dpc_*/*.jsonl"))), rows
    if (folder / "generator").exists():
        return "pool", len(list((checkpoints / "pool").glob("*.parquet"))), rows
    if (checkpoints / "stage_1").exists():
        return "stage 2", newest("stage_2") + len(list((checkpoints / "snapshots").glob("[!.]*"))), rows
    return ("stage 1", newest("stage_1"), rows) if (checkpoints / "full_data.json").exists() else ("start", 0, rows)


STAGES = ("start", "stage 1", "stage 2", "pool", "selection", "evaluation")


def contents(folder: Path) -> dict[str, object]:
    """All of a finished run that is to be the same."""
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    found: dict[str, object] = {key: results[key] for key in ("rows", "summary", "samples", "diagnostics")}
    files = [*WEIGHTS, "overlap.json", *(str(p.relative_to(folder)) for p in sorted(folder.glob("dpc_*/*.jsonl")))]
    found |= {name: (folder / name).read_bytes() for name in files}
    return found | {"pool": pq.read_table(folder / "pool.parquet").to_pylist()}


def uninterrupted(files: dict[str, Path], place: Path) -> tuple[dict[str, dict], dict[str, float]]:
    """What runs that are left alone end with, and the processor's seconds that they take."""
    alone, seconds = {}, {}
    for name, file in files.items():
        code, seconds[name] = ended(start(file, place / f"alone-{name}"))
        expect(code == 0, f"left alone it ended in {code}: {(place / f'alone-{name}.log').read_text(encoding='utf-8')}")
        alone[name] = contents(place / f"alone-{name}")
    return alone, seconds


def kill_and_resume(settings: Path, folder: Path, kills: int, seconds: float, chance: random.Random) -> Counter:
    """One run from its start to its end, killed at most so often; `Lost` if anything is lost on the way."""
    counts, before, code = Counter(starts=0), ("start", 0, set()), 1
    while code != 0:
        number = chance.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
        wait = chance.uniform(0, seconds / SHARE) if counts["kills"] < kills else float("inf")
        code = kill_at_random(start(settings, folder), number, wait)
        counts["starts"] += 1
        log = folder.with_suffix(".log").read_text(encoding="utf-8")
        expect(code in {0, *EXIT_CODES[number]}, f"{number.name} ended in exit code {code}: {log[-4000:]}")
        expect("Traceback" not in log, log[-4000:])
        check_whole(folder)
        if code != 0:
            now = progress(folder)
            expect(before[2] <= now[2], f"{folder}: evaluation runs are lost")
            further = (STAGES.index(now[0]), now[1]) >= (STAGES.index(before[0]), before[1])
            expect(further, f"{folder} was at {before}, is at {now}")
            counts.update(["kills", f"by {number.name}", f"in {now[0]}"])
            before = now
    return counts


def soak(files: dict[str, Path], place: Path, kills: int, seed: int, alone: dict, seconds: dict) -> Counter:
    """Runs that are killed, one after the other, until there were so many kills."""
    chance, counts, runs = random.Random(seed), Counter(), itertools.cycle(files)
    while counts["kills"] < kills:
        name, folder = next(runs), place / f"run-{seed}-{counts['runs']}"
        counts += kill_and_resume(files[name], folder, kills - counts["kills"], seconds[name], chance)
        for key, value in contents(folder).items():
            expect(alone[name][key] == value, f"{folder}: {key} is not what the uninterrupted run has")
        expect(not list(folder.rglob(".*.partial")), f"{folder}: leftovers")
        counts["runs"] += 1
        print(f"{folder.name} ({name}) ended as the uninterrupted one; {counts['kills']} kills so far", flush=True)
        shutil.rmtree(folder)
    return counts


def side_by_side(at_once: int, one: Callable[[int], Counter], place: Path) -> Counter:
    """The sum of what `one` counts in so many processes; an error in one of them ends in an error here."""
    workers = {}
    for number in range(at_once):
        workers[number] = os.fork()
        if not workers[number]:
            code = 1
            try:
                (place / f"counts-{number}.json").write_text(json.dumps(one(number)), encoding="utf-8")
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
    codes = [ended(process)[0] for process in workers.values()]
    expect(not any(codes), f"the processes ended in {codes}; what was lost stands above")
    found = [json.loads((place / f"counts-{number}.json").read_text(encoding="utf-8")) for number in workers]
    return sum(map(Counter, found), Counter())


def measure(kills: int, at_once: int, seed: int, place: Path) -> dict:
    """The figures of the result."""
    files, begun = make_settings(place), time.monotonic()
    alone, seconds = uninterrupted(files, place)
    each = [kills // at_once + (number < kills % at_once) for number in range(at_once)]

    def one(number: int) -> Counter:
        return soak(files, place, each[number], seed + number, alone, seconds)

    counts = side_by_side(at_once, one, place)
    figures = {key: counts[key] for key in ("kills", "starts", "runs")}
    for word in ("by", "in"):
        figures[f"kills_{word}"] = {k[3:]: v for k, v in sorted(counts.items()) if k.startswith(f"{word} ")}
    figures["runs_equal_to_uninterrupted"] = counts["runs"]
    return figures | {"at_once": at_once, "seed": seed, "seconds": round(time.monotonic() - begun)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--at-once", type=int, default=1, help="runs side by side")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", required=True)
    arguments = parser.parse_args()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    pool.BLOCK_TEXTS = BLOCK_TEXTS
    torch.set_num_threads(1)  # threads do not survive a fork
    with tempfile.TemporaryDirectory() as folder:
        found = measure(arguments.kills, arguments.at_once, arguments.seed, Path(folder))
    write_result(arguments.output, found)

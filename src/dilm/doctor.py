"""The verb `doctor`: what is installed, what will be used, what can be reached, and whether all stages run here.

Nothing heavy is imported at the top: a part that cannot even be imported is a finding, not the end of the report.
"""

from __future__ import annotations

import os
import platform
import queue
import shutil
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from .progress import Reporter

HUB_SECONDS = 5.0
"""The Hub answers in this time, or counts as out of reach."""
LITTLE_DISK = 5 * 2**30
SELF_TEST: dict[str, Any] = {
    "dpc": 2,
    "sets": 1,
    "generator_max_length": 48,
    "learner_max_length": 48,
    "language_modeling": {"max_steps": 150, "batch_size": 16, "learning_rate": 1e-2},
    "gradient_matching": {
        **{"max_steps": 4, "batch_size": 8, "teacher_size": 16, "teacher_sets": 1, "teacher_candidates": 100},
        **{"generated_texts": 16, "refresh_steps": 2, "inner_steps": 2, "trajectories": 1, "learner_steps": 1},
        "learner_batch_size": 8,
    },
    "pool": {"texts_per_dpc": 6, "keep": "all"},
    "evaluation": {"max_steps": 3, "seeds": 1, "fine_tuned_sets": 1, "full_data_steps": 3, "max_texts": 50},
}


def doctor(quick: bool = False) -> bool:
    """Print a table of what is found; unless `quick`, run the self-test. Returns whether all is well."""
    console = Reporter().console
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    problems = []
    for name, find in FINDINGS.items():
        try:
            found = find()
        except Exception as error:  # whatever it is, the other findings are wanted too
            found = f"PROBLEM: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
            problems.append(name)
        table.add_row(Text(name), Text(found))
    console.print(table)
    if not quick:
        console.print("\nself-test: every stage on the embedded task, tiny, some 20 seconds ...")
        try:
            console.print(f"self-test: {self_test()}", markup=False)
        except Exception:
            console.print(traceback.format_exc(), markup=False)
            problems.append("self-test")
    console.print(f"problems: {', '.join(problems)}" if problems else "all is well", markup=False)
    return not problems


def find_packages() -> str:
    """Versions that figures depend on."""
    from .run_folder import versions

    return ", ".join(f"{name} {version}" for name, version in versions().items())


def find_extras() -> str:
    """Each extra of the package, and what it lacks here."""
    from packaging.requirements import Requirement

    told = []
    for extra in metadata.metadata("dilm").get_all("Provides-Extra") or ():
        wanted = map(Requirement, metadata.requires("dilm") or ())
        names = [one.name for one in wanted if one.marker and one.marker.evaluate({"extra": extra})]
        missing = [name for name in names if not _is_installed(name)]
        told.append(f"{extra} no (without {', '.join(missing)})" if missing else f"{extra} yes")
    return ", ".join(told)


def _is_installed(name: str) -> bool:
    try:
        return bool(metadata.version(name))
    except metadata.PackageNotFoundError:
        return False


def find_device() -> str:
    """Where models will run, and how precisely they will compute."""
    import torch

    from .models.compute import default_device, native_bf16

    device = default_device()
    if device.type == "cuda":
        memory = torch.cuda.get_device_properties(device).total_memory / 2**30
        kind = f"{torch.cuda.device_count()} x {torch.cuda.get_device_name(device)}, {memory:.0f} GB each"
    else:
        kind = f"{os.cpu_count()} cores, {torch.get_num_threads()} threads"
    precision = "bfloat16, which it does natively" if native_bf16(device) else "float32"
    return f"{device.type} ({kind}), {precision}"


def find_hub() -> str:
    """Whether the Hub answers within HUB_SECONDS; that it does not is no problem."""
    from huggingface_hub import constants, get_session

    if constants.HF_HUB_OFFLINE:
        return "switched off (HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set); what is in the cache works"
    answers: queue.Queue[Exception | None] = queue.Queue()

    def ask() -> None:
        try:
            get_session().head(constants.ENDPOINT, timeout=HUB_SECONDS)
            answers.put(None)
        except Exception as error:  # the client's errors are of many families
            answers.put(error)

    start = time.monotonic()
    threading.Thread(target=ask, daemon=True).start()  # looking up a name heeds no timeout of the client
    try:
        error = answers.get(timeout=HUB_SECONDS)
    except queue.Empty:
        error = TimeoutError(f"no answer in {HUB_SECONDS:.0f} s")
    if error is None:
        return f"{constants.ENDPOINT} answers in {time.monotonic() - start:.1f} s"
    said = " ".join(str(error).split())[:100] or type(error).__name__
    return f"{constants.ENDPOINT} out of reach ({said}); offline models, local folders and what is in the cache work"


def find_offline_models() -> str:
    """MiniLM, from the extra `offline`; that it is missing is no problem where models are named."""
    from .errors import InputError
    from .models.offline import minilm_folder

    try:
        return f"all-MiniLM-L6-v2 in {minilm_folder()}, weights as expected"
    except InputError as error:
        return str(error)


def find_folders() -> str:
    """Caches and the working folder, with the free disk under each."""
    from datasets.config import HF_DATASETS_CACHE
    from huggingface_hub import constants

    from .models.feature_cache import cache_folder

    folders = {
        "models": Path(constants.HF_HUB_CACHE),
        "datasets": Path(HF_DATASETS_CACHE),
        "features": cache_folder(),
        "runs": Path("runs").absolute(),
    }
    return "\n".join(f"{name:<9} {_disk(folder)}" for name, folder in folders.items())


def _disk(folder: Path) -> str:
    there = next(place for place in (folder, *folder.parents) if place.exists())
    free = shutil.disk_usage(there).free
    notes = [" (little)"] if free < LITTLE_DISK else []
    notes += [] if os.access(there, os.W_OK) else [" (cannot be written to)"]
    return f"{folder}, {free / 2**30:.1f} GB free{''.join(notes)}"


FINDINGS: dict[str, Callable[[], str]] = {
    "system": platform.platform,
    "packages": find_packages,
    "extras": find_extras,
    "device": find_device,
    "hub": find_hub,
    "offline models": find_offline_models,
    "folders": find_folders,
}


def self_test() -> str:
    """All stages on the embedded task, with tiny models of random weights, in a temporary folder."""
    from .pipeline import distill

    start, cache = time.monotonic(), os.environ.get("DILM_CACHE")
    with tempfile.TemporaryDirectory(prefix="dilm-doctor-") as folder:
        os.environ["DILM_CACHE"] = folder  # features of a random encoder are of no use to anyone
        try:
            generator, learner = _tiny_models(Path(folder))
            models = {"generator": generator, "learner": learner}
            run = distill("reviews", **models, output_dir=f"{folder}/run", quiet=True, **SELF_TEST)
            texts, rows = len(run.datasets[2][0]), len(run.results["rows"])
        finally:
            del os.environ["DILM_CACHE"]
            if cache is not None:
                os.environ["DILM_CACHE"] = cache
    return f"passed in {time.monotonic() - start:.0f} s: {texts} texts distilled, {rows} learners trained and tested"


def _tiny_models(folder: Path) -> tuple[str, str]:
    """A causal LM and an encoder in folders, as from the Hub."""
    from transformers import BertConfig, BertModel, GPT2Config, GPT2LMHeadModel

    from .models.compute import derived_seed, seeded
    from .models.loading import quiet_transformers
    from .models.offline import train_tokenizer
    from .reviews import generate

    tokenizer = train_tokenizer((row["text"] for row in generate(300, seed=0)), vocab_size=600)
    tokenizer.add_special_tokens({"cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"})
    end = int(tokenizer.eos_token_id)  # type: ignore[arg-type]
    tokens = {"bos_token_id": end, "eos_token_id": end, "pad_token_id": end, "vocab_size": len(tokenizer)}
    with seeded(derived_seed("doctor")):
        models = {
            "gpt2": GPT2LMHeadModel(GPT2Config(n_positions=64, n_embd=64, n_layer=2, n_head=2, **tokens)),  # type: ignore[arg-type]
            "bert": BertModel(
                BertConfig(
                    vocab_size=len(tokenizer),
                    hidden_size=32,
                    num_hidden_layers=2,
                    num_attention_heads=2,
                    intermediate_size=64,
                    max_position_embeddings=64,
                )
            ),
        }
    with quiet_transformers():
        for name, model in models.items():
            model.save_pretrained(folder / name)
            tokenizer.save_pretrained(folder / name)
    return str(folder / "gpt2"), str(folder / "bert")

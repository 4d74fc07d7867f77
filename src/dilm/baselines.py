"""select(): coresets of real texts, or of a pool of written ones, by any selection method; and TDD, learned inputs."""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from . import pool as pools
from .config import GradientMatchingConfig, check_numbers
from .durable import write_text
from .errors import InputError
from .evaluation.coresets import real_sample, write_coresets
from .evaluation.training_sets import SETTINGS, TDD, check_row, embeddings_path
from .locks import locked
from .models.compute import default_device, derived_seed, native_bf16
from .models.feature_cache import fingerprint, pretrained_features
from .models.learner import Learner
from .models.loading import check_model
from .models.offline import resolve
from .progress import Reporter
from .run_folder import as_yaml, check_links, read_pool, read_record, row_text, set_path, versions, write_set
from .selection import Reference, check_method, standardised
from .task import Task, TextInput, check_dpc, load_task
from .training.embedding_distillation import EmbeddedSet, distill_embeddings, nearest_texts, starting_texts
from .training.learners import PooledLearners
from .training.teachers import Teachers


def select(
    task: Any,
    *,
    method: str,
    dpc: int | Sequence[int] = (10,),
    sets: int = 20,
    output_dir: str | Path,
    text: str | None = None,
    text_pair: str | None = None,
    label: str | None = None,
    learner: str = "offline",
    pool: str | Path | None = None,
    keep: str = "on-label",
    depth: float = 1.0,
    max_length: int = 128,
    bf16: bool | None = None,
    tdd_steps: int = 300,
    seed: int = 0,
    quiet: bool = False,
) -> list[Path]:
    """Select `sets` sets of every size and write them as OUTPUT_DIR/dpc_K/dataset_N.jsonl; returns the paths.

    method: a name in `dilm.selection.METHODS`; it sees the pretrained learner's mean-pooled features after `depth` of
    its layers. Or `tdd`, which learns word embeddings for this learner by gradient matching (`tdd_steps` steps a set):
    its jsonl holds the nearest words (`dilm evaluate` calls that tdd-text), the safetensors file beside it the
    embeddings (tdd).
    pool: a run's pool.parquet; the texts are chosen from it instead of from the training split, which they are to
    stand for. keep: of a pool, `all` texts or those `on-label` for the full-data classifier.

    Sets that are there already are kept. Raises InputError for bad input and for a folder that holds anything else,
    before any long work and before the folder is made.
    """
    if method != TDD:
        check_method(method)
    check_numbers({"depth": depth})
    check_model(resolve(learner), "learner", lambda _: True)
    sizes = (dpc,) if isinstance(dpc, int) else tuple(dpc)
    loaded = load_task(task, text=text, text_pair=text_pair, label=label)
    for size in sizes:
        check_dpc(loaded, size)
    if method == TDD and pool is not None:
        raise InputError("tdd starts at real texts; leave --pool out")
    if method == TDD and depth != 1:
        raise InputError("tdd compares no features; leave --depth out")
    reporter, folder = Reporter(quiet), Path(output_dir)
    for note in loaded.notes:
        reporter.say(f"  {note}")
    real_texts, real_labels = texts, labels = real_sample(loaded, max(sizes), seed)
    if pool is not None:
        texts, labels = _read_candidates(Path(pool), loaded, keep)
    counts = np.bincount(labels, minlength=loaded.num_classes)
    if counts.min() < max(sizes):
        name = loaded.label_names[int(counts.argmin())]
        raise InputError(f"class '{name}' has {counts.min()} texts to choose from, {max(sizes)} are asked for")
    settings = {"method": method, "task": loaded.source, "learner": learner, "max_length": max_length, "seed": seed}
    settings |= {"task_fingerprint": loaded.fingerprint, "depth": depth}
    if method == TDD:
        settings["tdd_steps"] = tdd_steps
    if pool is not None:
        settings |= {"pool": str(pool), "keep": keep, "pool_fingerprint": fingerprint(texts)}
    begun = _holds(folder, settings)
    wanted = [(size, number) for size in sizes for number in range(sets)]
    paths = [set_path(folder, size, number) for size, number in wanted]
    missing = [one for one, path in zip(wanted, paths, strict=True) if not path.exists()]
    if begun and not missing:
        return paths
    device = default_device()
    model = Learner.from_pretrained(
        learner,
        loaded.num_classes,
        max_length=max_length,
        bf16=native_bf16(device) if bf16 is None else bf16,
        device=device,
    )
    if method == TDD:  # what the model cannot do is told here, before the folder is taken and the work begins
        model.segments(texts[:1])
    else:
        model.features(texts[:1], depth=depth)
    _open_folder(folder, settings)
    if method == TDD:
        _learn_embeddings(folder, missing, loaded, model, tdd_steps, seed, reporter)
        return paths
    features, reference = pretrained_features(model, texts, depth), None
    if pool is not None:
        reference = Reference(pretrained_features(model, real_texts, depth), real_labels)
    if depth < 1:
        features, reference = standardised(features, reference or Reference(features, labels))
    names = loaded.label_names
    writing = write_coresets(folder, method, missing, texts, labels, features, names, seed, reference)
    for _ in reporter.track(writing, f"selection, {method}", len(missing)):
        pass
    return paths


def _learn_embeddings(
    folder: Path,
    missing: Sequence[tuple[int, int]],
    task: Task,
    learner: Learner,
    steps: int,
    seed: int,
    reporter: Reporter,
) -> None:
    """Learn the sets (dpc, number) that are missing, on one pool of learner snapshots."""
    config = GradientMatchingConfig(max_steps=steps, teacher_size=100, teacher_sets=3, teacher_candidates=2000)
    with tempfile.TemporaryDirectory() as snapshots:
        teachers = Teachers(task, learner, config, seed)
        learners = PooledLearners(task, learner, teachers, config, seed, Path(snapshots))
        for _ in reporter.track(learners.build(), "learner snapshots", learners.size):
            pass

        def learn() -> Iterator[None]:
            for dpc, number in missing:
                path, states = set_path(folder, dpc, number), deque[EmbeddedSet](maxlen=1)
                own_seed = derived_seed(seed, TDD, number)
                texts, labels = starting_texts(task, dpc, own_seed)
                for state in distill_embeddings(learners, texts, labels, config, own_seed):
                    states.append(state)
                    yield None
                learned = states.pop()
                path.parent.mkdir(parents=True, exist_ok=True)
                learned.save(embeddings_path(path))
                write_set(path, nearest_texts(learner, learned, texts), labels, task.label_names)

        for _ in reporter.track(learn(), "embedding-level distillation", steps * len(missing)):
            pass


def _open_folder(folder: Path, settings: dict[str, Any]) -> None:
    """Make the folder with its settings, or check that it holds sets of the same ones."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder, wait=True):  # of two processes the first decides what the folder is for
            if not _holds(folder, settings):
                write_text(folder / SETTINGS, as_yaml(settings | {"versions": versions()}))
    except OSError as error:
        raise InputError(f"{folder} cannot be written: {error.strerror}; pass another --output-dir") from None


def _holds(folder: Path, settings: dict[str, Any]) -> bool:
    """Whether sets of these settings have been begun there; InputError if the folder holds anything else."""
    check_links(folder)
    there = _settings(folder / SETTINGS)
    if there is None:
        if folder.exists() and (not folder.is_dir() or any(folder.glob("[!.]*"))):
            raise InputError(f"{folder} is not empty and holds no selection; pass another --output-dir")
        return False
    there = {"depth": 1.0} | there  # what there was before it could be set
    differing = [key for key in settings if there.get(key) != settings[key]]
    if differing:
        shown = "; ".join(f"{key}: {there.get(key)} there, {settings[key]} now" for key in differing)
        raise InputError(f"{folder} holds other sets ({shown}); pass another --output-dir")
    return True


def _settings(path: Path) -> dict[str, Any] | None:
    """What the file holds, if a selection wrote it: many a project has a config.yaml."""
    there = read_record(path) if path.is_file() else None
    return there if isinstance(there, dict) and "method" in there else None


def _read_candidates(path: Path, task: Task, keep: str) -> tuple[list[TextInput], np.ndarray]:
    """Usable texts of a pool and their labels."""
    try:
        rows = read_pool(path)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path} cannot be read as a pool: {' '.join(str(error).split())}") from None
    for place, row in enumerate(rows):
        row["label"] = check_row(row, f"{path}, row {place}", task)[1]
    rows = pools.usable(rows)
    if keep == "on-label":
        rows = [row for row in rows if row.get("predicted_label", row["label"]) == row["label"]]
    return [row_text(row) for row in rows], np.array([row["label"] for row in rows], np.int64)

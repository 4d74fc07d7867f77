"""The stages up to the selected sets, one function each, in their order; what each made before is found again."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from . import pool as pools
from .diagnostics import MANY_CUT
from .durable import whole_file, whole_folder, write_json
from .errors import GenerationError, InputError
from .evaluation.coresets import real_sample, stored_set
from .evaluation.fine_tuning import FineTuning, full_data_steps, train_on_full_data
from .evaluation.protocol import Evaluator, in_words
from .evaluation.statistics import best_sets
from .evaluation.store import RowStore
from .interruption import waiting_interruptions
from .models.compute import make_optimizer
from .models.feature_cache import pretrained_features
from .models.generator import Generator
from .models.learner import Learner
from .models.offline import OFFLINE
from .models.processes import own_share
from .models.vllm_sampling import VLLMSampler, vllm_is_there
from .run_folder import PROBS, add_label_probs, read_pool, read_rows, read_set, set_path, write_pool
from .samples import with_samples
from .selection import LOOK_AT_CANDIDATES_ALONE, Reference
from .task import TextInput
from .tracking import with_trackers
from .training.gradient_matching import NOTHING_WRITTEN, match_gradients
from .training.language_modeling import bits_per_character, learn_language, num_steps
from .training.learners import FreshLearners, PooledLearners
from .training.teachers import Teachers
from .workspace import Workspace

Record = dict[str, float]
DEV_TEXTS = 2000
"""Dev texts, at most, on which the full-data classifier is checked, and tries for a set are judged."""


def rehearse(work: Workspace, learner: Learner) -> None:
    """Let both models do once what they are needed for; InputError if one cannot, before any training."""
    config = work.config
    learner.check_features(work.task.texts("train", range(2)), config.pool.depth)
    learner.head_view(work.task.texts("train", range(2)))
    for group in (config.language_modeling, config.gradient_matching, config.evaluation):
        _, scheduler = make_optimizer([torch.nn.Parameter(torch.zeros(1))], group, max_steps=2)
        scheduler.optimizer.step()
        scheduler.step()
    if config.generator != OFFLINE and not (work.checkpoints / "stage_1").exists():
        generator = work.generator(config.generator)
        try:
            generator.check_cache()
            generator.write([0], pairs=work.task.has_pairs, max_tries=1)
        except torch.OutOfMemoryError:  # a RuntimeError too, but no matter of the cache
            raise
        except (AttributeError, TypeError, RuntimeError) as error:
            raise InputError(f"generator '{config.generator}' cannot sample with a key-value cache: {error}") from error


def full_data_classifier(work: Workspace, learner: Learner) -> None:
    """The learner trained on the full data: the ceiling in the table, and the judge of labels."""
    config = work.config.evaluation
    if work.read("full_data") is not None:
        return
    losses = ({"loss": loss} for loss in train_on_full_data(learner, work.task, config, work.seed("full data")))
    with work.timed("full data"):
        for _ in work.reporter.track(
            losses, "classifier on the full data", full_data_steps(work.task, config), lambda r: f"loss {r['loss']:.3f}"
        ):
            pass
        work.keep_judge(learner)
        labels = work.task.labels("dev")[:DEV_TEXTS]
        predictions = learner.predict(work.task.texts("dev", range(len(labels)))).argmax(1)
    work.write("full_data", {"dev_accuracy": float((predictions == labels).mean())})


def language_modeling(work: Workspace) -> Generator:
    """Stage 1 (section 3.1)."""
    config, path = work.config.language_modeling, work.checkpoints / "stage_1"
    if not work.has(path):
        with work.timed("stage 1"):
            generator = _adapted(work, _untrained(work))
            cut = generator.cut_share(pools.length_sample(work.task))
            if cut > MANY_CUT:
                limit = generator.max_length
                work.reporter.say(
                    f"  {cut:.0%} of the training texts are longer than {limit} tokens and are cut there, as what the "
                    "generator writes will be; raise --generator-max-length"
                )
            steps = learn_language(
                generator, work.task, config, work.seed("stage 1"), work.stage_checkpoints("stage_1")
            )
            history = _watched(work, generator, steps, "stage 1", "language modelling", num_steps(work.task, config))
            bits = bits_per_character(generator, work.task, "dev")
        work.reporter.say(f"  {bits:.2f} bits per character on dev")
        work.write("stage_1_history", {"history": history, "bits_per_character": bits, "cut": cut})
        work.first(lambda: _save(generator, path))
    work.first(work.stage_checkpoints("stage_1").clear)  # also what a run left that was killed before this line
    return work.generator(path)


def _untrained(work: Workspace) -> Generator:
    """The generator to begin with; processes that share a run read the one that the first has made."""
    if work.processes.num_processes == 1 or work.config.generator != OFFLINE:
        return work.generator(work.config.generator)
    path = work.checkpoints / "untrained"
    work.first(lambda: _save(work.generator(OFFLINE), path))
    generator = work.generator(path)
    work.processes.wait_for_everyone()  # all have read it
    work.first(lambda: shutil.rmtree(path))
    return generator


def _adapted(work: Workspace, generator: Generator) -> Generator:
    """With fresh adapters, if the run trains those; saved, they are part of the weights."""
    if work.config.lora_r:
        generator.add_lora(work.config.lora_r, work.seed("adapters"))
    return generator


def _save(generator: Generator, path: Path) -> None:
    with whole_folder(path) as folder:
        generator.save_pretrained(folder)


def gradient_matching(work: Workspace, generator: Generator, learner: Learner) -> Generator:
    """Stage 2 (section 3.2)."""
    path, snapshots, history = work.folder / "generator", work.checkpoints / "snapshots", []
    if not work.has(path):
        with work.timed("stage 2"):
            if work.config.gradient_matching.max_steps:
                generator = _adapted(work, generator)
                history = _match(work, generator, learner, snapshots)
        work.write("stage_2_history", {"history": history})
        work.first(lambda: _save(generator, path))
    work.first(lambda: shutil.rmtree(snapshots, ignore_errors=True))
    work.first(work.stage_checkpoints("stage_2").clear)
    return work.generator(path)


def _match(work: Workspace, generator: Generator, learner: Learner, snapshots: Any) -> list[Record]:
    config, seed, track = work.config.gradient_matching, work.seed("stage 2"), work.reporter.track
    if work.task.num_classes > config.max_classes * config.max_steps:
        work.reporter.say(
            f"  {config.max_steps} steps of {config.max_classes} classes leave some of the {work.task.num_classes} out "
            "of stage 2; raise --gradient-matching.max-steps or --gradient-matching.max-classes"
        )
    teachers = Teachers(work.task, learner, config, seed)
    if config.learners == "pool":
        learners = PooledLearners(work.task, learner, teachers, config, seed, snapshots)
        for _ in track(learners.build(), "stage 2, learner snapshots", learners.size):
            pass
    else:
        learners = FreshLearners(work.task, learner, teachers, config, seed)
    labels = work.task.labels("dev")
    held_out = [np.flatnonzero(labels == c)[:256] for c in range(work.task.num_classes)]
    steps = match_gradients(
        generator,
        learners,
        work.task,
        config,
        top_p=work.config.top_p,
        seed=seed,
        real_texts=[work.task.texts("dev", rows) if len(rows) else [] for rows in held_out],
        checkpoints=work.stage_checkpoints("stage_2"),
    )
    before = num_steps(work.task, work.config.language_modeling)
    return _watched(work, generator, steps, "stage 2", "gradient matching", config.max_steps, before)


def _watched(
    work: Workspace, generator: Generator, steps: Iterable[Record], stage: str, name: str, total: int, before: int = 0
) -> list[Record]:
    """The records of a training stage, after `before` steps of others, while people and trackers look on."""
    seen = with_trackers(work, with_samples(work, generator, steps, stage), stage, before)

    def figures(record: Record) -> str:
        return " ".join(f"{key} {record[key]:.3f}" for key in ("loss", "cosine") if key in record)

    with waiting_interruptions():
        return list(work.reporter.track(seen, f"{stage}, {name}", total, figures))


def write_texts(work: Workspace, generator: Generator, learner: Learner) -> pools.Rows:
    """Over-generate (section 3.3): in blocks, each kept as soon as it is whole, then one pool.parquet."""
    path, parts = work.folder / "pool.parquet", work.checkpoints / "pool"
    if work.has(path):
        work.first(lambda: shutil.rmtree(parts, ignore_errors=True))
        return read_pool(path)
    parts.mkdir(exist_ok=True)
    work.become_judge(learner)
    blocks = {parts / f"set_{b.number}_{b.start}.parquet": b for b in pools.pool_blocks(work.task, work.config)}
    missing = own_share([part for part in blocks if not part.exists()])
    work.processes.wait_for_everyone()  # each has seen what is missing before any writes more
    engine = None
    if missing and vllm_is_there(generator.model) and work.processes.num_processes == 1:
        engine = VLLMSampler(work.folder / "generator", generator.max_length)

    def write_parts() -> Iterator[int]:
        for part in missing:
            texts: dict[int, TextInput] = {}
            generator.tries.clear()
            for place, text in pools.write_block(generator, work.task, work.config, blocks[part], engine):
                texts[place] = text
                yield place
            rows = pools.block_rows(texts, blocks[part], generator, learner)
            if not rows:
                raise GenerationError(NOTHING_WRITTEN)
            write_json(part.with_suffix(".json"), generator.tries)
            write_pool(part, rows)

    with work.timed("pool"):
        total = sum(len(blocks[part].labels) for part in missing)
        for _ in work.reporter.track(write_parts(), "pool, writing texts", total):
            pass
        work.processes.wait_for_everyone()
        rows, tries = [], Counter[str]()
        for part in blocks:
            rows += read_pool(part)
            tries.update(json.loads(part.with_suffix(".json").read_text(encoding="utf-8")))
        work.write("pool_tries", tries)
        work.first(lambda: write_pool(path, rows))
    work.first(lambda: shutil.rmtree(parts, ignore_errors=True))
    return rows


def select_sets(work: Workspace, rows: pools.Rows, learner: Learner) -> None:
    """For every set and size, from its own pool or all of them (section 3.3); features are the pretrained learner's."""
    config, folder = work.config, _selected_folder(work)
    count = config.sets * config.pool.tries
    todo = [(s, d) for s in range(count) for d in config.dpc if not set_path(folder, d, s).exists()]
    if not todo or not _missing_sets(work):
        return
    if config.pool.max_overlap is not None:
        rows = pools.with_shared_words(rows, work.task, config.pool.max_overlap)
        refused = sum(row["shared_words"] > config.pool.max_overlap for row in rows)
        work.reporter.say(
            f"max overlap {config.pool.max_overlap}: {refused:,} of {len(rows):,} texts share a longer run of words "
            "with a training text and cannot be selected"
        )
    if config.pool.known_words:
        rows = pools.with_new_words(rows, work.task)
        work.write("pool_words", {"invented": float(np.mean([row["new_words"] > 0 for row in rows]))})
    reference = None
    if config.pool.selection not in LOOK_AT_CANDIDATES_ALONE:
        texts, labels = real_sample(work.task, max(config.dpc), work.seed("coresets"))
        reference = Reference(pretrained_features(learner, texts, config.pool.depth), labels)
    learner.reinitialize(config.seed)
    writing = pools.write_selected(folder, rows, todo, config, work.task, learner, reference)
    with work.timed("selection"):
        for _ in work.reporter.track(writing, f"selection, {config.pool.selection}", len(todo)):
            pass


def keep_best_sets(work: Workspace, learner: Learner) -> None:
    """Of several tries for every set, those on which a fine-tuned learner does best on dev (accuracy; of pairs in two
    classes the mean of accuracy and F1, as in the paper); test is not looked at."""
    config, folder, missing = work.config, _selected_folder(work), _missing_sets(work)
    work.processes.wait_for_everyone()  # all have looked before any copies
    if folder == work.folder or not missing:
        return
    judge = FineTuning(f"finetune:{config.learner}", learner, config.evaluation)
    evaluator = Evaluator(work.task, [judge], dataclasses.replace(config.evaluation, max_texts=DEV_TEXTS), "dev")
    tries = range(config.sets * config.pool.tries)
    planned = evaluator.plan([stored_set(folder, work.method, dpc, n) for dpc in config.dpc for n in tries])
    store = RowStore(work.checkpoints / "tries_on_dev")
    own = own_share(store.missing(planned))
    work.processes.wait_for_everyone()
    with work.timed("tries"):
        for _ in work.reporter.track(store.keep(evaluator.run(own)), "tries on dev", len(own), in_words):
            pass
    work.processes.wait_for_everyone()
    best = best_sets(store.finished(planned), "mean", config.sets)

    def copy() -> None:
        for dpc in config.dpc:
            for place, number in enumerate(best[work.method, dpc]):  # the first is not the best
                path = set_path(work.folder, dpc, place)
                path.parent.mkdir(parents=True, exist_ok=True)
                with whole_file(path) as partial:
                    shutil.copy(set_path(folder, dpc, number), partial)

    work.first(copy)


def add_soft_labels(work: Workspace, learner: Learner) -> None:
    """What the full-data classifier makes of every selected text, beside its label ("label_probs" in the jsonl)."""
    missing = [path for path in _set_paths(work) if PROBS not in read_rows(path)[0]]
    if missing:
        work.become_judge(learner)
    for path in missing:
        add_label_probs(path, learner.probabilities(read_set(path)[0]))


def _selected_folder(work: Workspace) -> Path:
    """Where selected sets go: several tries for each wait beside the run's notes to be judged."""
    return work.folder if work.config.pool.tries == 1 else work.checkpoints / "tries"


def _missing_sets(work: Workspace) -> list[Path]:
    """Files of the run's sets that are not there yet."""
    return [path for path in _set_paths(work) if not path.exists()]


def _set_paths(work: Workspace) -> list[Path]:
    """Files of the run's sets."""
    return [set_path(work.folder, dpc, number) for dpc in work.config.dpc for number in range(work.config.sets)]

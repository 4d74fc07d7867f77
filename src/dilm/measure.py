"""evaluate(): measure anyone's sets by the protocol."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from accelerate import PartialState

from .config import RecipeConfig
from .durable import write_json
from .errors import InputError
from .evaluation.fine_tuning import FineTuning
from .evaluation.learners import check_learner, make_learners, parse_learner
from .evaluation.learning_rate import choose_learning_rate
from .evaluation.protocol import Evaluator, in_words, short_hash
from .evaluation.statistics import summarize
from .evaluation.store import RowStore
from .evaluation.training_sets import TrainingSet, read_sets
from .locks import locked
from .models.compute import default_device, native_bf16
from .models.processes import of_the_first, own_share, process_state
from .places import check_free
from .progress import LogFormat, Reporter
from .run_folder import plain, versions
from .task import Task, load_task

RESULTS = {"test": "results.json", "dev": "results_dev.json"}
"""Where results go by default: what is chosen on dev does not replace what was found on test."""


def evaluate(
    sets: Sequence[str | Path] | str | Path,
    *,
    task: Any,
    learners: Sequence[str] = ("probe:offline",),
    output: str | Path | None = None,
    text: str | None = None,
    text_pair: str | None = None,
    label: str | None = None,
    recipe: RecipeConfig | None = None,
    learning_rates: Sequence[float] = (),
    split: Literal["test", "dev"] = "test",
    full: bool = False,
    soft_labels: bool = False,
    max_length: int = 128,
    bf16: bool | None = None,
    quiet: bool = False,
    log_format: LogFormat = "text",
) -> dict[str, Any]:
    """Train fresh learners on each set and test them; returns what is written to `output` (results.json, of dev
    results_dev.json, if left out).

    sets: jsonl files or folders of them, ours or anyone's, as in `read_sets`.
    task, text, text_pair, label: as in `load_task`. learners: finetune:ID, probe:ID, tfidf, scratch:ID, icl:ID.
    recipe: the paper's by default (section 4.1). learning_rates: choose among them on dev, once per fine-tuned learner.
    split: test is for final figures; what is yet to be chosen (settings, sets) is compared on dev, by learners of
    other seeds than those that test sees (what was itself chosen on dev comes out too well there).
    full: also train each learner on all training texts. soft_labels: measure sets that have them ("label_probs")
    also with learners trained on these, as method NAME-soft (in-context learning takes none).
    max_length: tokens that an encoder reads.
    quiet, log_format: print nothing; or, as `json`, one object per line in place of bars and text.

    Finished runs are kept in OUTPUT.runs as they come: the same call goes on after an interruption, and only makes
    what is missing when sets, learners or seeds are added. Under `accelerate launch` the runs are spread over the
    processes. Raises InputError, before any training, for sets, learners or models that cannot be had.
    """
    state, recipe = process_state(), recipe or RecipeConfig()
    reporter = Reporter(quiet or not state.is_main_process, log_format)
    if soft_labels and all(parse_learner(name)[0] == "icl" for name in learners):
        raise InputError("in-context learning takes no soft labels; leave --soft-labels out, or add another --learner")
    if split not in RESULTS:
        raise InputError(f"no sets are measured on split '{split}'; pass split='test', or 'dev' for choosing")
    output = Path(RESULTS[split] if output is None else output)
    output = output.resolve() if output.is_symlink() else output  # what it leads to is written, the link stays
    for name in learners:
        check_learner(name)
    _check_output(output)
    loaded = load_task(task, text=text, text_pair=text_pair, label=label)
    chosen = read_sets([sets] if isinstance(sets, (str, Path)) else sets, loaded, soft_labels)
    if (learning_rates or split == "dev") and not len(loaded.dev):
        what = "choose a learning rate on; leave --learning-rates" if learning_rates else "test on; leave --split"
        raise InputError(f"task {loaded.name} has no dev texts to {what} out")
    device = state.device or default_device()
    made = make_learners(
        learners,
        loaded,
        recipe,
        max_length=max_length,
        bf16=native_bf16(device) if bf16 is None else bf16,
        device=device,
    )
    for learner in made:
        for one in chosen:
            learner.check(one)
    folder = output.with_name(output.name + ".runs")
    try:
        store = RowStore(folder)
    except OSError as error:
        raise InputError(f"{folder} cannot be written: {error.strerror}; pass another --output") from None
    for note in loaded.notes:
        reporter.say(f"  {note}")
    reporter.say(f"task {loaded.name}: {len(chosen)} sets ({', '.join(dict.fromkeys(s.method for s in chosen))})")
    rates = _choose_rates(made, loaded, learning_rates, chosen, folder, state, reporter)
    evaluator = Evaluator(loaded, made, recipe, split)
    planned = [*evaluator.plan(chosen), *(evaluator.plan_full_data() if full else [])]
    # Another evaluation may add rows meanwhile: one process looks, so that all share the same list.
    keys = set(of_the_first([run.key for run in store.missing(planned)]))
    missing = own_share([run for run in planned if run.key in keys])
    state.wait_for_everyone()
    runs = store.keep(evaluator.run(missing))
    for _ in reporter.track(runs, "evaluation, runs", len(missing), in_words):
        pass
    state.wait_for_everyone()
    rows = store.finished(planned)
    if len(rows) < len(planned):
        lost = f"{len(planned) - len(rows)} of {len(planned)} runs are not in {folder}, though they were made"
        raise InputError(f"{lost}: was it changed meanwhile? The same command makes them again")
    results = {
        "task": loaded.name,
        "source": loaded.source,
        "label_names": list(loaded.label_names),
        "test_split": loaded.test_split if split == "test" else split,
        "test_texts": len(evaluator.held_out.texts),
        "recipe": plain(dataclasses.asdict(recipe)) | {"max_length": max_length},
        "learning_rates": rates,
        "recipes": evaluator.recipes,
        "versions": versions(),
        "rows": rows,
        "summary": summarize(rows),
    }
    if state.is_main_process:
        write_json(output, results)
        reporter.event("results", output=str(output), summary=results["summary"])
    state.wait_for_everyone()
    return results


def _check_output(output: Path) -> None:
    """InputError for a place that no results can be written to, or that holds those of a run."""
    if output.is_dir() or not output.name:
        raise InputError(f"--output '{output}' is a folder; name a file, as in {output / 'results.json'}")
    if output.exists() and not output.is_file():
        raise InputError(f"--output '{output}' is neither a file nor free: it would be replaced; name a file")
    check_free(output)


def _choose_rates(
    made: Sequence[Any],
    task: Task,
    rates: Sequence[float],
    sets: Sequence[TrainingSet],
    folder: Path,
    state: PartialState,
    reporter: Reporter,
) -> dict[str, dict[str, float]]:
    """Dev accuracy of every rate by learner; made once, by the first process, then read back."""
    if not rates:
        return {}
    sizes = sorted({one.dpc for one in sets})
    found: dict[str, dict[str, float]] = {}
    for learner in made:
        if not isinstance(learner, FineTuning):
            continue
        key: dict[str, Any] = {"rates": list(rates), "dpc": sizes[len(sizes) // 2], "task": task.fingerprint}
        key |= {"recipe": learner.recipe | {"learning_rate": None}}
        path = folder / f"learning_rates-{short_hash(key)}.json"
        if state.is_main_process:
            with locked(folder, wait=True):  # another evaluation may be choosing the same one
                if not path.exists():
                    scores = choose_learning_rate(learner, task, rates, key["dpc"], reporter.say)
                    write_json(path, {"key": key, "scores": scores})
        state.wait_for_everyone()
        scores = found[learner.name] = json.loads(path.read_text(encoding="utf-8"))["scores"]
        best = max(rates, key=lambda rate, scores=scores: scores[f"{rate:g}"])
        learner.config = dataclasses.replace(learner.config, learning_rate=best)
    return found

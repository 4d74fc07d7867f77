"""The dials: one frozen dataclass per stage, YAML presets, and where each value came from.

A value is taken from the command line (or a keyword), else from the user's YAML file, else from the preset,
else from the defaults below. Names are those of `transformers.TrainingArguments` wherever the concept is the same.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import reprlib
import types
import typing
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import yaml
from tyro.conf import Positional, arg

from .errors import InputError, suggest

# What the help shows for a value: a word for what goes there, and no "(default: None)".
Column: TypeAlias = Annotated[str | None, arg(metavar="COLUMN", help_behavior_hint="")]
File: TypeAlias = Annotated[str | None, arg(metavar="FILE", help_behavior_hint="")]
Folder: TypeAlias = Annotated[str | None, arg(metavar="DIR", help_behavior_hint="")]
YesNo: TypeAlias = Annotated[bool | None, arg(metavar="True|False", help_behavior_hint="")]
Sizes: TypeAlias = Annotated[tuple[int, ...], arg(metavar="N ...")]
Names: TypeAlias = Annotated[tuple[str, ...], arg(metavar="NAME ...")]
Model: TypeAlias = Annotated[str, arg(metavar="ID")]


@dataclass(frozen=True)
class OptimizationConfig:
    """AdamW with a schedule and gradient clipping, as every training loop here uses it."""

    learning_rate: float = 1e-4
    """Peak learning rate of AdamW."""
    max_steps: int = 200
    """Optimizer steps."""
    batch_size: int = 64
    """Texts per step."""
    lr_scheduler_type: str = "cosine"
    """A schedule of `transformers.get_scheduler`: cosine, linear, constant, ..."""
    warmup_steps: float = 0.1
    """Steps of linear warm-up; below 1 it is a share of all steps."""
    weight_decay: float = 0.01
    """Decoupled weight decay."""
    max_grad_norm: float = 1.0
    """The gradient is clipped to this norm."""


@dataclass(frozen=True)
class LanguageModelingConfig(OptimizationConfig):
    """Stage 1: the generator learns the task's language, each text after its class token (section 3.1)."""

    num_train_epochs: float = 10.0
    """Passes over the training texts; ends at this or at max_steps, whichever comes first (300 steps at least)."""


@dataclass(frozen=True)
class GradientMatchingConfig(OptimizationConfig):
    """Stage 2: the generator learns to write texts whose gradients match those of real texts (section 3.2)."""

    batch_size: int = 64
    """Synthetic texts per class and step."""
    teacher_size: int = 200
    """Real texts per class behind one teacher gradient."""
    teacher_sets: int = 10
    """Teacher sets per class; each step draws one."""
    teacher: Literal["representative", "random"] = "representative"
    """How teacher texts are picked: nearest to k-means centres, or at random."""
    teacher_candidates: int = 20_000
    """At most this many real texts per class are looked at when teachers are picked."""
    minibatches: Literal["diverse", "random"] = "diverse"
    """Synthetic mini-batches: one text from each k-means cluster, or at random."""
    generated_texts: int = 1280
    """Texts per class that are written anew at every refresh."""
    refresh_steps: int = 200
    """Steps between two refreshes of the synthetic texts; fewer where many classes have to take turns."""
    learners: Literal["fresh", "pool"] = "pool"
    """Learner trajectory: trained anew along the way (the paper), or drawn from snapshots made once."""
    inner_steps: int = 10
    """Matching steps, or snapshots, along one learner trajectory."""
    trajectories: int = 2
    """Trajectories in the pool of snapshots (learners: pool)."""
    learner_steps: int = 20
    """Training steps of the learner on real texts between two matching steps."""
    learner_batch_size: int = 64
    """Real texts per training step of the learner."""
    learner_learning_rate: float = 1e-4
    """Constant learning rate of the learner on its trajectory."""
    objective: Literal["gradient", "distribution", "gumbel"] = "gradient"
    """gradient matching; or, for ablations, class means of features, or gradients through sampled tokens."""
    scope: Literal["head", "all"] = "head"
    """Parameters of the learner whose gradients are matched."""
    temperature: float = 1.0
    """Temperature tau of the softmax that turns losses into weights of the texts."""
    max_classes: int = 8
    """Classes that one step works on at most; with more, each refresh takes the next ones in a random order."""
    micro_batch_size: int = 64
    """Texts per forward and backward pass of the generator: changes memory, not the result."""


@dataclass(frozen=True)
class PoolConfig:
    """Over-generation, from which the distilled texts are selected (section 3.3)."""

    texts_per_dpc: int = 100
    """Texts written per class and set, for each unit of DPC."""
    selection: str = "k-centers"
    """Method by which texts are selected; see dilm select."""
    depth: float = 1.0
    """Share of the learner's layers after which texts are compared in selection; 1: what the last one makes of them."""
    shared: bool = False
    """Whether the pools of all sets are one, from which each set is selected (by most methods from a random half)."""
    tries: int = 1
    """Sets selected for every set that is kept: with several, those stay on which a fine-tuned learner does best on
    dev, by the recipe of the evaluation: one more fine-tuning a seed for every try."""
    keep: Literal["all", "on-label"] = "on-label"
    """Which texts may be selected: all, or those that the full-data classifier gives the asked class."""
    sure_share: float = 1.0
    """Of these, the share of each class that may be selected: those to which the full-data classifier gives the asked
    class with the highest probability."""
    fluent_share: float = 1.0
    """Of these, the share of each class that may be selected: the likeliest per token under the generator; pairs among
    those that share about as many words."""
    known_words: bool = False
    """Whether texts with a word that no training text has come last in that order, and are not selected from where
    there are ten others for each text that is wanted."""
    parts: int = 1
    """Up to so many written texts of a class are joined to one, as long as the result is no longer than texts of the
    task (`longest`) and fits both models; pairs stay single."""
    longest: float = 0.95
    """Share of the training texts that are no longer than a joined text may be; 1: as long as the longest."""
    max_overlap: Annotated[int | None, arg(aliases=["--max-overlap"])] = None
    """Longest run of words that a selected text may share with any training text; longer ones are refused."""


@dataclass(frozen=True)
class RecipeConfig(OptimizationConfig):
    """How fresh learners are trained on a set and tested (section 4.1)."""

    warmup_steps: float = 0.5
    """Steps of linear warm-up; below 1 it is a share of all steps."""
    seeds: int = 5
    """Runs per set, for learners that chance has a part in."""
    max_texts: int = 10_000
    """Test texts at most, a fixed random sample of the test split where it has more."""
    full_data_epochs: float = 3.0
    """Passes of a learner over the full training data, at most (50 steps at least); see also full_data_steps."""
    full_data_steps: int = 2000
    """Steps of a learner trained on the full data: the ceiling in the table, and the judge of labels."""
    full_data_learning_rate: float = 5e-5
    """Its learning rate."""
    icl_calibrated: bool = False
    """In-context learning: divide by the probabilities after texts without content (contextual calibration)."""


@dataclass(frozen=True)
class EvaluationConfig(RecipeConfig):
    """The evaluation at the end of a run: distilled sets beside coresets of real texts."""

    learners: Names = ("probe", "finetune")
    """Learners: probe, finetune, scratch or icl, alone (the run's learner) or with :ID; tfidf."""
    baselines: Names = ("random", "k-centers")
    """Coresets of real texts of the same size that are measured beside the distilled sets; see dilm select."""
    fine_tuned_sets: int = 20
    """At most this many sets per method and size are fine-tuned on (other learners take all)."""


@dataclass(frozen=True)
class DistillConfig:
    """Everything `dilm distill` can be told; a preset and a YAML file change the defaults below."""

    task: Positional[str] = "reviews"
    """Embedded name, Hub id (nyu-mll/glue:sst2), csv/tsv/jsonl/parquet file, or folder of such files."""
    text: Column = None
    """Column of the text."""
    text_pair: Column = None
    """Column of the second text, for pairs."""
    label: Column = None
    """Column of the label."""
    dpc: Sizes = (10,)
    """Distilled texts per class; several sizes share one run."""
    sets: int = 20
    """Distilled sets per size, by seed."""
    generator: Model = "offline"
    """Causal LM: Hub id, path, or offline (MiniLM, taught to write from the task's own texts)."""
    lora_r: int = 0
    """Rank of LoRA adapters, trained in place of all weights; 0: none (extra `peft`)."""
    learner: Model = "offline"
    """Encoder: Hub id, path, or offline (MiniLM from the package extra `offline`)."""
    generator_max_length: int = 64
    """Longest text the generator learns or writes, in its tokens."""
    learner_max_length: int = 128
    """Tokens of a text, or pair, that the learner reads."""
    top_p: float = 0.95
    """Nucleus of the sampling."""
    sampling_batch_size: int = 256
    """Texts written side by side."""
    bf16: YesNo = None
    """Compute in bfloat16; by default where the processor does it natively."""
    seed: int = 0
    """Seed of everything."""
    output_dir: Folder = None
    """Run folder; by default runs/TASK."""
    save_steps: int = 500
    """Steps of a training stage between two checkpoints, from which --resume goes on."""
    save_total_limit: int = 2
    """Checkpoints of a stage that are kept; older ones go."""
    report_to: Annotated[tuple[str, ...], arg(metavar="NAME ...", help_behavior_hint="")] = ("none",)
    """Trackers: tensorboard, trackio, wandb, mlflow, ..."""
    logging_steps: int = 10
    """Steps of a training stage between two records that go to the trackers."""
    language_modeling: LanguageModelingConfig = field(default_factory=LanguageModelingConfig)
    gradient_matching: GradientMatchingConfig = field(default_factory=GradientMatchingConfig)
    pool: PoolConfig = field(default_factory=PoolConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)


NOT_SETTINGS = ("preset", "versions", "task_fingerprint")
"""Keys of a run's config.yaml that describe the run and cannot be set; it can be given back all the same."""
DEFAULT_PRESET = "embedded"
RECORD = {"preset", "task_fingerprint"}
"""Keys by which a run's config.yaml is known."""


def preset_names() -> tuple[str, ...]:
    """Names of the presets that ship with the package."""
    folder = resources.files("dilm") / "presets"
    return tuple(sorted(p.name.removesuffix(".yaml") for p in folder.iterdir() if p.name.endswith(".yaml")))


def base_preset(preset: str | None = None, file: str | Path | None = None) -> str:
    """The preset that is given, else the one that the file names (a run's config.yaml does), else `embedded`."""
    if preset is not None or file is None:
        return DEFAULT_PRESET if preset is None else preset
    values = _read_yaml(Path(file))
    named = str(values.get("preset") or DEFAULT_PRESET)
    return DEFAULT_PRESET if values.keys() >= RECORD and named not in preset_names() else named


def load_config(
    preset: str | None = None, file: str | Path | None = None, overrides: dict[str, Any] | None = None
) -> tuple[DistillConfig, dict[str, str]]:
    """Resolve a configuration; returns it with the origin of each dotted key ("default", "preset embedded", ...).

    The preset is `base_preset`, the file is laid over it, the overrides over both. Raises InputError for an unknown
    preset, a key that does not exist (the nearest name is offered), or a value of the wrong type or out of range.
    """
    preset = base_preset(preset, file)
    if preset not in preset_names():
        raise InputError(f"no preset '{preset}'{suggest(preset, preset_names())}; presets: {', '.join(preset_names())}")
    layers = _preset_layers(preset)
    if file is not None:
        values = _read_yaml(Path(file))
        if values.keys() >= RECORD:  # all settings of a run: what it has not did not exist, and had its default
            layers.clear()
        layers.append((str(file), {key: value for key, value in values.items() if key not in NOT_SETTINGS}))
    layers.append(("given", overrides or {}))
    config = DistillConfig()
    origins = {key: "default" for key in flatten(config)}
    for origin, values in layers:
        config = _updated(config, values, where=origin)
        origins |= {key: origin for key in flatten(values)}
    check_ranges(config)
    return config, origins


def _preset_layers(preset: str) -> list[tuple[str, dict[str, Any]]]:
    """The values of a preset by their origin, after those of the preset that it stands on."""
    values = yaml.safe_load((resources.files("dilm") / "presets" / f"{preset}.yaml").read_text(encoding="utf-8"))
    below = _preset_layers(values.pop("preset")) if "preset" in values else []
    return [*below, (f"preset {preset}", values)]


def flatten(values: Any, prefix: str = "") -> dict[str, Any]:
    """Nested dataclasses or dicts as one dict with dotted keys."""
    if not isinstance(values, dict):
        values = {field.name: getattr(values, field.name) for field in dataclasses.fields(values)}
    flat: dict[str, Any] = {}
    for key, value in values.items():
        nested = isinstance(value, dict) or dataclasses.is_dataclass(value)
        flat |= flatten(value, f"{prefix}{key}.") if nested else {f"{prefix}{key}": value}
    return flat


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"no configuration file {path}") from None
    except (yaml.YAMLError, ValueError, OSError, RecursionError) as error:
        raise InputError(f"{path} cannot be read as YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values or {}, dict):
        raise InputError(f"{path} must hold keys and values, found a {type(values).__name__}")
    return values or {}


def _updated(config: Any, values: dict[str, Any], where: str, prefix: str = "") -> Any:
    """`config` with `values` laid over it; every key must be a field, every value of the field's type."""
    hints = typing.get_type_hints(type(config))
    changes = {}
    for key, value in values.items():
        if key not in hints:
            hint = suggest(str(key), hints)
            name = " ".join(f"{prefix}{key}".split())[:80]
            raise InputError(f"{where}: no setting '{name}'{hint} (settings: {', '.join(hints)})")
        if dataclasses.is_dataclass(hints[key]):
            if not isinstance(value, dict):
                raise InputError(f"{where}: '{prefix}{key}' is a group of settings, found {reprlib.repr(value)}")
            changes[key] = _updated(getattr(config, key), value, where, f"{prefix}{key}.")
        else:
            changes[key] = _checked(value, hints[key], f"{where}: '{prefix}{key}'")
    return dataclasses.replace(config, **changes)


def _checked(value: Any, kind: Any, where: str) -> Any:
    """The value as `kind`, where that loses nothing; YAML's `1e-4` (a string by its rules) becomes a float."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        return _checked(value, next(a for a in args if a is not type(None)), where)
    if origin is Literal:
        if isinstance(value, str) and value in args:
            return value
        raise InputError(f"{where} must be one of {', '.join(map(str, args))}; found {reprlib.repr(value)}")
    if origin is tuple:
        items = value if isinstance(value, (list, tuple)) else [value]
        return tuple(_checked(item, args[0], where) for item in items)
    if kind is float and not isinstance(value, bool):
        with contextlib.suppress(
            TypeError, ValueError, OverflowError
        ):  # told below, as any other value of the wrong type
            return float(value)
    if kind is str and isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
        return value
    raise InputError(f"{where} must be of type {kind.__name__}; found {reprlib.repr(value)}")


LARGEST = 2**63
_NON_NEGATIVE = {
    "seed",
    "lora_r",
    "warmup_steps",
    "weight_decay",
    "language_modeling.max_steps",
    "gradient_matching.max_steps",
}


def check_ranges(config: DistillConfig) -> None:
    """InputError for the first value that no run could work with."""
    check_numbers(flatten(config))


def check_numbers(values: dict[str, Any]) -> None:
    """InputError for the first setting that is out of range, or names something twice."""
    for key, value in values.items():
        name = key.rpartition(".")[2]
        numbers = value if isinstance(value, tuple) else (value,)
        if name == "dpc" and not numbers:
            raise InputError("dpc needs at least one size, for example --dpc 5 10 20")
        if len(set(numbers)) < len(numbers):
            raise InputError(f"'{key}' names something twice: {' '.join(map(str, numbers))}")
        for number in numbers:
            if isinstance(number, bool) or not isinstance(number, (int, float)):
                continue
            zero_allowed = name in _NON_NEGATIVE or key in _NON_NEGATIVE
            if not (number >= 0 if zero_allowed else number > 0) or number == float("inf"):
                bound = "0 or more" if zero_allowed else "above 0"
                raise InputError(f"'{key}' must be {bound} and finite; found {number}")
            if isinstance(number, int) and number >= LARGEST:
                raise InputError(f"'{key}' must be below 2^63; found a number of {len(str(number))} digits")
            if name.endswith("max_length") and number < 8:
                raise InputError(f"'{key}' must be at least 8 tokens; found {number}")
            if name in {"top_p", "sure_share", "fluent_share", "longest", "depth"} and number > 1:
                raise InputError(f"'{key}' must be at most 1; found {number}")

"""The options of each verb, as dataclasses: tyro makes the command line and its help from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

from tyro.conf import FlagCreatePairsOff, Positional, Suppress, arg

from .config import Column, DistillConfig, File, Model, Names, RecipeConfig, Sizes, YesNo
from .progress import LogFormat

Flag: TypeAlias = Annotated[FlagCreatePairsOff[bool], arg(help_behavior_hint="")]

_STAGES = (
    *("language_modeling", "gradient_matching", "pool", "evaluation"),
    *("generator_max_length", "learner_max_length", "top_p", "sampling_batch_size", "save_steps", "save_total_limit"),
    "logging_steps",
)
DETAILS = {
    "DistillArguments": _STAGES,
    "AblateArguments": _STAGES,
    "EvaluateArguments": (
        *("max_steps", "batch_size", "lr_scheduler_type", "warmup_steps", "weight_decay", "max_grad_norm"),
        *("full_data_epochs", "full_data_steps", "full_data_learning_rate", "icl_calibrated", "bf16"),
    ),
}
"""Options of a form that only --help-all shows."""


@dataclass(frozen=True)
class DistillArguments(DistillConfig):
    """Distil a labelled text dataset into a few texts per class, and measure them.

    Example: dilm distill mine.csv --text review --label stars --dpc 5 10 20

    The settings of the stages are options too, as in --gradient-matching.max-steps 100: see --help-all.
    """

    preset: str = "embedded"
    """Values that fit together: embedded, fine-tuning, fast or paper."""
    config: File = None
    """YAML file with settings, laid over the preset."""
    resume: Flag = False
    """Go on with the run in the output folder (by default the last one of the task)."""
    num_processes: int = 1
    """Processes on this machine that share the run: as many as GPUs, or as CPU cores."""
    quiet: Flag = False
    """Print nothing."""
    log_format: LogFormat = "text"
    """Text for people, or JSON lines."""


@dataclass(frozen=True)
class AblateArguments(DistillArguments):
    """Measure the parts of the method, each on and off, from one stage 1, in one table.

    Example: dilm ablate mine.csv --text review --label stars --dpc 10

    The same command goes on after an interruption. The settings of the stages are options too: see --help-all.
    """

    resume: Suppress[bool] = False
    num_processes: Suppress[int] = 1


@dataclass(frozen=True)
class EvaluateArguments(RecipeConfig):
    """Train fresh learners on small sets, ours or anyone's, and test them (the paper's recipe by default).

    Example: dilm evaluate runs/mine random=other/folder --task mine.csv --learner probe:offline tfidf --seeds 5

    The same command goes on after an interruption and makes only what is missing. Every value of the recipe is an
    option too, as in --max-steps 100: see --help-all.
    """

    sets: Positional[Annotated[tuple[str, ...], arg(metavar="[SETS ...]", help_behavior_hint="")]] = ()
    """Jsonl files or folders of them; NAME=PATH names the method."""
    task: str = "reviews"
    """What the sets stand for: embedded name, Hub id, file or folder."""
    text: Column = None
    """Column of the text."""
    text_pair: Column = None
    """Column of the second text, for pairs."""
    label: Column = None
    """Column of the label."""
    learner: Names = ("probe:offline",)
    """finetune:ID, probe:ID, tfidf, scratch:ID, icl:ID; ID is a Hub id, a path or offline."""
    output: Annotated[str | None, arg(metavar="FILE", help_behavior_hint="")] = None
    """File for the results (results.json, results_dev.json); finished runs: OUTPUT.runs."""
    split: Literal["test", "dev"] = "test"
    """Test is for final figures; compare on dev what is yet to be chosen."""
    full: Flag = False
    """Also train each learner on all training texts: the ceiling."""
    soft_labels: Flag = False
    """Also train on label_probs, as method NAME-soft."""
    learning_rates: Annotated[tuple[float, ...], arg(metavar="F ...", help_behavior_hint="")] = ()
    """Choose the learning rate of fine-tuning among these on dev, once per learner, for all methods alike."""
    max_length: int = 128
    """Tokens of a text, or pair, that an encoder reads."""
    num_processes: int = 1
    """Processes on this machine that share the runs: as many as GPUs, or as CPU cores."""
    bf16: YesNo = None
    """Compute in bfloat16; by default where the processor does it natively."""
    quiet: Flag = False
    """Print nothing."""
    log_format: LogFormat = "text"
    """Text for people, or JSON lines."""


@dataclass(frozen=True)
class SelectArguments:
    """Select coresets of real texts, or of a pool, of DPC texts per class.

    Example: dilm select mine.csv --method k-centers --dpc 5 10 20 --sets 20 --output-dir coresets/k-centers
    """

    task: Positional[str] = "reviews"
    """Embedded name, Hub id, file or folder."""
    method: str = "k-centers"
    """random, k-centers, greedy-k-center, herding, loss-rank, gradient-match, kernel; or tdd: learned embeddings."""
    dpc: Sizes = (10,)
    """Texts per class; several sizes at once."""
    sets: int = 20
    """Sets per size, by seed."""
    output_dir: Annotated[str, arg(metavar="DIR")] = "coresets"
    """Folder for the sets; sets of the same settings that are there already are kept."""
    text: Column = None
    """Column of the text."""
    text_pair: Column = None
    """Column of the second text, for pairs."""
    label: Column = None
    """Column of the label."""
    learner: Model = "offline"
    """Encoder whose features the method sees: Hub id, path or offline."""
    pool: File = None
    """A run's pool.parquet: select from it instead of from the training texts."""
    keep: Literal["all", "on-label"] = "on-label"
    """Of a pool: all texts, or those to which the full-data classifier gives the asked class."""
    depth: float = 1.0
    """Share of the encoder's layers after which its features are read; 1: after the last."""
    tdd_steps: int = 300
    """Steps of embedding-level distillation per set (method tdd)."""
    max_length: int = 128
    """Tokens of a text, or pair, that the encoder reads."""
    bf16: YesNo = None
    """Compute in bfloat16; by default where the processor does it natively."""
    seed: int = 0
    """Seed of everything."""
    quiet: Flag = False
    """Print nothing."""


@dataclass(frozen=True)
class CompareArguments:
    """Put results side by side: gains, share of the gap closed, which differences are real.

    Example: dilm compare results.json other.json --output comparison
    """

    results: Positional[Annotated[tuple[str, ...], arg(metavar="[RESULTS ...]", help_behavior_hint="")]] = ()
    """Files of dilm evaluate, or run folders."""
    metric: Literal["accuracy", "f1", "mean"] = "accuracy"
    """What is compared; mean is that of accuracy and F1, as the paper has it for QQP."""
    against: str = "random"
    """Method that gains are measured against."""
    output: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="")] = None
    """Write NAME.md, NAME.csv and NAME.json."""


@dataclass(frozen=True)
class AuditArguments:
    """Does a learner trained on a run's distilled texts tell training texts from held-out ones?

    Example: dilm audit runs/mine --task mine.csv --text review --label stars
    """

    run: Positional[Annotated[str, arg(metavar="RUN")]]
    """A finished run's folder."""
    task: Annotated[str | None, arg(metavar="TASK", help_behavior_hint="")] = None
    """What was distilled; by default what the run's config.yaml names."""
    text: Column = None
    """Column of the text; by default that of the run, as all columns."""
    text_pair: Column = None
    """Column of the second text, for pairs."""
    label: Column = None
    """Column of the label."""
    quiet: Flag = False
    """Print nothing."""


@dataclass(frozen=True)
class PromptArguments:
    """Print a few-shot prompt made of distilled texts.

    Example: dilm prompt runs/mine --dpc 5 --query "the battery died in a week"
    """

    folder: Positional[Annotated[str, arg(metavar="RUN")]]
    """Run folder, or a folder of dilm select."""
    dpc: Annotated[int | None, arg(metavar="N", help_behavior_hint="")] = None
    """Texts per class; by default the smallest size there is."""
    set: int = 0
    """Number of the set."""
    format: Literal["plain", "chat"] = "plain"
    """plain: as learners icl:ID read it; chat: messages as JSON."""
    template: Annotated[str | None, arg(metavar="TEXT|FILE", help_behavior_hint="")] = None
    """Jinja, given examples, query and label_names, in place of a format."""
    query: Annotated[tuple[str, ...], arg(metavar="TEXT ...", help_behavior_hint="")] = ()
    """Text in question, two of a pair; by default {text} and {text_pair} stand there."""
    seed: int = 0
    """Draws the order of the examples."""


@dataclass(frozen=True)
class PushArguments:
    """Upload a run's sets, settings, results and card to the Hugging Face Hub, as a dataset repository.

    Example: dilm push runs/mine --repo-id me/mine-distilled --private

    Pool, checkpoints, overlap.json and the report stay here: they hold training texts, or can. config.yaml and
    results.json name files and models as they were given. Log in with hf auth login first.
    """

    run: Positional[Annotated[str, arg(metavar="RUN")]]
    """A finished run's folder."""
    repo_id: Annotated[str, arg(metavar="USER/NAME")]
    """Dataset repository; made if it is not there."""
    private: Flag = False
    """Make new repositories private."""
    generator_repo_id: Annotated[str | None, arg(metavar="USER/NAME", help_behavior_hint="")] = None
    """Model repository for the generator, which otherwise stays here."""


@dataclass(frozen=True)
class DoctorArguments:
    """Tell what is installed, what will be used, what can be reached, and whether all stages run here.

    Example: dilm doctor --quick
    """

    quick: Flag = False
    """Leave out the self-test, which takes some 20 seconds."""


@dataclass(frozen=True)
class ReportArguments:
    """Make a run's report and dataset card again, from what lies in its folder: report.html, .md, .json, README.md.

    Example: dilm report runs/mine

    The page needs no network and no scripts; its plots need the extra `report` (matplotlib).
    """

    run: Positional[Annotated[str, arg(metavar="RUN")]]
    """A finished run's folder; its checkpoints may be gone."""
    quiet: Flag = False
    """Print nothing."""

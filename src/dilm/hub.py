"""push(): a run as a dataset repository on the Hugging Face Hub, and its generator as a model repository."""

from __future__ import annotations

import contextlib
import fnmatch
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, DatasetCard, ModelCard
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
)
from huggingface_hub.utils import validate_repo_id

from .errors import InputError
from .report.card import FOLDER, generator_card
from .report.facts import run_facts
from .run_folder import Run

SETS = "dpc_*/dataset_*.jsonl"
PUSHED = (SETS, "results.json", "config.yaml")
"""What goes up, before the card. overlap.json, reports and checkpoints hold training texts; pool and generator stay."""
WEIGHTS = "*.safetensors*"
LOG_IN = "run hf auth login, or set HF_TOKEN to a token that may write"


def push(
    run: str | Path | Run, repo_id: str, *, private: bool = False, generator_repo_id: str | None = None
) -> list[str]:
    """Upload a finished run's sets, settings and results, then its card; and the generator, if it gets a repository.

    repo_id: `user/name` of the dataset repository, made if it is not there; sets of an earlier push that this run has
    not go, and the card takes the place of the one there. private: of new repositories. generator_repo_id: `user/name`
    of a model repository for the generator.

    Returns the addresses. Raises InputError for a malformed id, without login, where the Hub refuses or cannot be
    reached; and, with private, for a repository that is public already.
    """
    opened = run if isinstance(run, Run) else Run(Path(run))
    for one in (repo_id, generator_repo_id):
        _check_id(one)
    folder, card = opened.output_dir, opened.output_dir / "README.md"
    if not card.exists():
        raise InputError(f"{folder} has no README.md, which is the dataset card; write it with dilm report {folder}")
    with _readable_errors(folder):
        api = huggingface_hub.HfApi(library_name="dilm")
        api.whoami()
        dataset = str(api.create_repo(repo_id, repo_type="dataset", private=private or None, exist_ok=True).repo_id)
        text = card.read_text(encoding="utf-8").replace(FOLDER, dataset)
        DatasetCard(text).validate()
        files = {str(path.relative_to(folder)): path for pattern in PUSHED for path in sorted(folder.glob(pattern))}
        places = [_put(api, dataset, "dataset", files, SETS, text, private)]
        if generator_repo_id is not None:
            model = str(api.create_repo(generator_repo_id, private=private or None, exist_ok=True).repo_id)
            text = generator_card(run_facts(opened), dataset).replace(FOLDER, model)
            ModelCard(text).validate()
            files = {path.name: path for path in sorted((folder / "generator").iterdir()) if path.is_file()}
            places.append(_put(api, model, "model", files, WEIGHTS, text, private))
    return places


def _put(api: Any, repo_id: str, repo_type: str, files: dict[str, Path], owned: str, card: str, private: bool) -> str:
    """The files, without what an earlier push left of the pattern `owned`; then the card. Returns the address."""
    info = api.repo_info(repo_id, repo_type=repo_type)
    if private and not info.private:
        raise InputError(f"{repo_type} {repo_id} is there and is public; make it private on the Hub, or name another")
    there = api.list_repo_files(repo_id, repo_type=repo_type)
    gone = [name for name in there if fnmatch.fnmatch(name, owned) and name not in files]
    operations = [
        *(CommitOperationDelete(name) for name in gone),
        *(CommitOperationAdd(name, str(path)) for name, path in files.items()),
    ]
    api.create_commit(repo_id, operations, commit_message="Files of a dilm run", repo_type=repo_type)
    readme = CommitOperationAdd("README.md", card.encode())
    api.create_commit(repo_id, [readme], commit_message="Card of a dilm run", repo_type=repo_type)
    return f"{api.endpoint}/{'datasets/' if repo_type == 'dataset' else ''}{repo_id}"


def _check_id(repo_id: str | None) -> None:
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        said = " ".join(str(error).split()).rstrip(".")
        raise InputError(f"'{repo_id}' cannot name a repository ({said}); expected user/name") from None


def unreachable(error: BaseException) -> bool:
    """Whether it is what a missing network leads to, whichever HTTP library the Hub's client uses."""
    return isinstance(error, OSError) or any(kind.__name__ == "TransportError" for kind in type(error).__mro__)


@contextlib.contextmanager
def _readable_errors(folder: Path) -> Iterator[None]:
    again = f"nothing in {folder} was changed, the same command can be given again"
    try:
        yield
    except InputError:
        raise
    except LocalTokenNotFoundError:
        raise InputError(
            "not logged in to the Hub; run hf auth login, or set HF_TOKEN to a token that may write"
        ) from None
    except OfflineModeIsEnabled:
        raise InputError(
            "the Hub is switched off by HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE; unset it to push"
        ) from None
    except HfHubHTTPError as error:
        said = " ".join((error.server_message or str(error)).split())[:300]
        hint = f"; {LOG_IN}" if error.response.status_code in (401, 403) else ""
        raise InputError(f"the Hub refused ({said}){hint}; {again}") from error
    except HFValidationError as error:
        raise InputError(" ".join(str(error).split())) from error
    except ValueError as error:  # of the Hub's check of the card
        raise InputError(f"the Hub does not accept the card: {' '.join(str(error).split())[:300]}") from error
    except Exception as error:
        if not unreachable(error):
            raise
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"the Hub cannot be reached ({said}); {again}") from error

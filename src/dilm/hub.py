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
from .run_folder import Run, check_links

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

    Returns the addresses. Raises InputError, before anything is uploaded, for a malformed id, a link in the folder, a
    card or weights that are missing, without login, and, with private, for a repository that is public already; and
    where the Hub refuses or cannot be reached.
    """
    opened = run if isinstance(run, Run) else Run(Path(run))
    for one in (repo_id, generator_repo_id):
        _check_id(one)
    # What lies here is read before anything is asked of the Hub: what is wrong with it stops nothing half way.
    folder = opened.output_dir
    check_links(folder)
    card = _own_card(folder)
    files = _additions({str(path.relative_to(folder)): path for one in PUSHED for path in sorted(folder.glob(one))})
    if generator_repo_id is not None:
        facts, weights = run_facts(opened), _generator_files(folder)
    with _readable_errors(folder):
        api = huggingface_hub.HfApi(library_name="dilm")
        api.whoami()
        dataset = _repository(api, repo_id, "dataset", private)
        text = card.replace(FOLDER, dataset)
        DatasetCard(text).validate()
        uploads = [(dataset, "dataset", files, SETS, text)]
        if generator_repo_id is not None:
            model = _repository(api, generator_repo_id, "model", private)
            text = generator_card(facts, dataset).replace(FOLDER, model)
            ModelCard(text).validate()
            uploads.append((model, "model", weights, WEIGHTS, text))
        return [_put(api, *upload) for upload in uploads]


def _own_card(folder: Path) -> str:
    path = folder / "README.md"
    again = f"write it with dilm report {folder}"
    if not path.exists():
        raise InputError(f"{folder} has no README.md, which is the dataset card; {again}")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no text in UTF-8 ({error}); {again}") from None


def _generator_files(folder: Path) -> list[CommitOperationAdd]:
    files = {path.name: path for path in sorted(folder.glob("generator/*")) if path.is_file()}
    if not any(name.endswith(".safetensors") for name in files):
        raise InputError(f"{folder} has no weights in generator/; put it back, or push without --generator-repo-id")
    return _additions(files)


def _additions(files: dict[str, Path]) -> list[CommitOperationAdd]:
    return [CommitOperationAdd(name, str(path)) for name, path in files.items()]


def _repository(api: Any, repo_id: str, repo_type: str, private: bool) -> str:
    """Makes the repository where it is not there; its full id."""
    made = str(api.create_repo(repo_id, repo_type=repo_type, private=private or None, exist_ok=True).repo_id)
    if private and not api.repo_info(made, repo_type=repo_type).private:
        raise InputError(f"{repo_type} {made} is there and is public; make it private on the Hub, or name another")
    return made


def _put(api: Any, repo_id: str, repo_type: str, files: list[CommitOperationAdd], owned: str, card: str) -> str:
    """The files, without what an earlier push left of the pattern `owned`; then the card. Returns the address."""
    there, ours = api.list_repo_files(repo_id, repo_type=repo_type), {file.path_in_repo for file in files}
    gone = [CommitOperationDelete(name) for name in there if fnmatch.fnmatch(name, owned) and name not in ours]
    api.create_commit(repo_id, [*gone, *files], commit_message="Files of a dilm run", repo_type=repo_type)
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

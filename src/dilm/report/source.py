"""What the dataset that was distilled says of itself: licence and languages, from cards that lie on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from huggingface_hub import metadata_load, try_to_load_from_cache
from huggingface_hub.errors import HFValidationError

from ..places import EMBEDDED, format_of

KEYS = ("license", "license_name", "license_link", "language")
UNTOLD = (None, "", "unknown", [], ["unknown"])
OWN = {"license": "apache-2.0", "language": ["en"]}
"""Of the embedded task, whose grammar is part of this package."""


def source_card(source: str, folder: Path) -> dict[str, Any]:
    """The source's `license`, `license_name`, `license_link` and `language`, those that are told; reads no network.

    They come from README.md in the run folder, where a person may have put them; else from the source itself: the
    README.md of a folder, or of a Hub dataset as it lies in the cache.
    """
    there, own = _head(folder / "README.md"), OWN if source in EMBEDDED else _head(_card_of(source))
    first = there if there.get("license") not in UNTOLD else own
    licence = {key: first[key] for key in KEYS[:3] if first.get(key) not in UNTOLD}
    language = next((card["language"] for card in (there, own) if card.get("language") not in UNTOLD), None)
    return licence | ({"language": language} if language else {})


def shown_place(source: str) -> str:
    """A source, or a model, for others to read: of a file or folder only its name, as the path is nobody's business."""
    path = _place(source)
    no_id = path.is_absolute() or source.startswith((".", "~")) or source.count("/") > 1 or format_of(path) is not None
    return Path(source).name if no_id or path.exists() else source


def _place(source: str) -> Path:
    """The path of a source; of a folder with a configuration after a colon that of the folder."""
    path, folder = Path(source), Path(source.rpartition(":")[0])
    return folder if folder.name and folder.is_dir() and not path.exists() else path


def _card_of(source: str) -> Path | None:
    if _place(source).exists():
        return _place(source) / "README.md"
    try:
        cached = try_to_load_from_cache(source.partition(":")[0], "README.md", repo_type="dataset")
    except HFValidationError:  # no Hub id: a file that is gone, a dataset in memory
        return None
    return Path(cached) if isinstance(cached, str) else None


def _head(path: Path | None) -> dict[str, Any]:
    """The YAML block of a card; nothing where there is none that can be read."""
    if path is None or not path.is_file():
        return {}
    try:
        return metadata_load(path) or {}
    except Exception:  # of YAML, of encodings, of the library's own: a README of anyone's is read here
        return {}

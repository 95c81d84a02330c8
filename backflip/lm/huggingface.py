"""The Hugging Face hub, asked with a patience of seconds: what is in its cache is taken without asking."""

from __future__ import annotations

import errno
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from backflip.errors import BackflipError, ModelError

__all__ = ["THE_HUB", "Hub", "located", "reported", "snapshot", "within"]

_FILES = ["*.json", "*.safetensors", "*.jinja", "*.txt", "*.model"]
_ID = re.compile(r"(\w[\w.-]*/)?\w[\w.-]*")  # OWNER/NAME, or NAME alone as the oldest have it
_WANTED = (
    "wanted a Transformers folder (config.json, model.safetensors, tokenizer files), or the id of a model on the hub. "
    "Check the path, or fetch the model first"
)
T = TypeVar("T")


@dataclass(frozen=True)
class Hub:
    """How the hub is asked: its address and its own cache (None: as its library is set up), and the time to answer."""

    endpoint: str | None = None
    cache: Path | None = None
    seconds: float = 5.0


THE_HUB = Hub()


def located(name: str | Path, hub: Hub = THE_HUB) -> str | Path:
    """What a model is to be loaded from: its folder, the hub's cached folder of it, or its name on a hub that answers.

    Raises ModelError within `hub.seconds` where there is no such folder and the hub is silent or does not have it.
    """
    if Path(name).is_dir():
        return name
    missing = f"there is no folder {str(name)!r}"
    if not _ID.fullmatch(str(name)):
        raise ModelError(f"{missing}; {_WANTED}")
    try:
        return _cached(str(name), hub) or _on_hub(str(name), hub)
    except ModelError as error:
        raise ModelError(f"{missing}, and the hub was asked in vain ({error}); {_WANTED}") from error


def snapshot(name: str, hub: Hub) -> Path:
    """The hub's own cached folder of the model, which is downloaded if the hub answers in time."""
    return _cached(name, hub) or Path(
        reported(lambda: _download(_on_hub(name, hub), hub, endpoint=hub.endpoint, etag_timeout=hub.seconds))
    )


def _cached(name: str, hub: Hub) -> Path | None:
    """The cached folder, if it is whole."""
    try:
        folder = Path(reported(lambda: _download(name, hub, local_files_only=True)))
    except ModelError:
        return None
    return folder if (folder / "config.json").exists() and any(folder.glob("*.safetensors")) else None


def _on_hub(name: str, hub: Hub) -> str:
    """The name, if the hub knows it and says so in time."""
    import huggingface_hub

    api = huggingface_hub.HfApi(endpoint=hub.endpoint)
    within(hub.seconds, lambda: api.model_info(name, timeout=hub.seconds))
    return name


def _download(name: str, hub: Hub, **options: Any) -> str:
    import huggingface_hub

    options |= {"cache_dir": hub.cache, "allow_patterns": _FILES, "ignore_patterns": ["*/*"]}
    return str(huggingface_hub.snapshot_download(name, **options))


def reported(call: Callable[[], T]) -> T:
    """Turns whatever goes wrong in the hub's libraries into a ModelError; their errors have no common root."""
    try:
        return call()
    except BackflipError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise
        first = (str(error).strip().splitlines() or [""])[0]
        raise ModelError(f"{type(error).__name__}: {first}") from error


def within(seconds: float, call: Callable[[], T]) -> T:
    """The call's result, or ModelError after `seconds` in all: a name server that hangs ignores a client's timeout."""
    results: list[T] = []
    failures: list[ModelError] = []

    def work() -> None:
        try:
            results.append(reported(call))
        except ModelError as error:
            failures.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    if failures:
        raise failures[0]
    if not results:
        raise ModelError(f"no answer within {seconds:g} s")
    return results[0]

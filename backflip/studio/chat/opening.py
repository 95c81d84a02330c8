"""A chat service from what the operator gave: models and filters by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fastapi import FastAPI

from backflip.chat.model import ChatModels
from backflip.lm.engine import EngineConfig
from backflip.safety.loading import load_filters
from backflip.studio.chat.blocked import Blocked
from backflip.studio.chat.limits import Limits
from backflip.studio.chat.room import attach
from backflip.studio.chat.service import Service

__all__ = ["open_chat", "open_service"]


def open_service(
    models: Sequence[str],
    filters: Sequence[str],
    *,
    limits: Limits,
    blocked: Path | None,
    engine: EngineConfig,
    device: str = "cpu",
) -> Service:
    """Loads filters, then models. Raises ConfigError, ModelError or DependencyError at what cannot be loaded."""
    checked = load_filters(filters) if filters else None
    return Service(
        ChatModels.load(models, engine, device=device), filters=checked, limits=limits, blocked=Blocked(blocked)
    )


def open_chat(app: FastAPI, models: Sequence[str], filters: Sequence[str], project: str, runs: Path) -> Service:
    """The studio's chat, attached to its application; blocked turns are kept beside the runs."""
    service = open_service(
        models, filters, limits=Limits(), blocked=runs / "chat" / "blocked.jsonl", engine=EngineConfig()
    )
    try:
        attach(app, service, project=project)
    except BaseException:
        service.close()
        raise
    return service

"""The application: `create_app(store, settings)`. Nothing happens at import, and nothing is kept in a module."""

from __future__ import annotations

import importlib
import pkgutil
import time
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any, Final

from fastapi import APIRouter, Depends, FastAPI
from starlette.staticfiles import StaticFiles

from backflip import __version__
from backflip.feedback.projects import Projects
from backflip.feedback.store import Store
from backflip.feedback.writings import Writings
from backflip.studio import api, failures, pages
from backflip.studio.accounts.credentials import secret_of
from backflip.studio.accounts.entry import Accounts
from backflip.studio.api.models import ErrorOut
from backflip.studio.security import Gate, SecurityHeaders
from backflip.studio.sessions import require_own_form
from backflip.studio.settings import Settings
from backflip.studio.signing import Signer
from backflip.studio.state import HERE, Studio
from backflip.studio.tally import Tally

__all__ = ["create_app"]

_REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    status: {"model": ErrorOut} for status in (400, 401, 403, 404, 409, 413, 422, 429, 503)
}


def create_app(store: Store, settings: Settings, *, clock: Callable[[], float] = time.time) -> FastAPI:
    """The studio over an open store. Who opened the store closes it."""
    app = FastAPI(
        title="Backflip studio",
        version=__version__,
        openapi_url="/api/openapi.json",
        docs_url=None,  # they come from a CDN
        redoc_url=None,
        dependencies=[Depends(require_own_form)],
    )
    app.state.studio = _studio(store, settings, clock)
    failures.install(app)
    for package in (api, pages):
        for router in _routers(package):
            app.include_router(router, responses=_REFUSALS)
    app.mount("/static", StaticFiles(directory=HERE / "static"), name="static")
    app.add_middleware(Gate, settings=settings)
    app.add_middleware(SecurityHeaders, https=settings.https)
    return app


def _studio(store: Store, settings: Settings, clock: Callable[[], float]) -> Studio:
    accounts = Accounts(store, clock, session_seconds=settings.session_hours * 3600)
    if settings.accounts:
        accounts.forget_local()
    signer = Signer(settings.secret or secret_of(store.database, "cookies"))
    return Studio(store, settings, signer, accounts, Projects(store), Writings(store, clock), Tally(store))


def _routers(package: ModuleType) -> Iterator[APIRouter]:
    """The `router` of every module of a package, in the order of their names."""
    for found in sorted(pkgutil.iter_modules(package.__path__), key=lambda module: module.name):
        module = importlib.import_module(f"{package.__name__}.{found.name}")
        if isinstance(router := getattr(module, "router", None), APIRouter):
            yield router

"""The application: `create_app(store, settings)`. Nothing happens at import, and nothing is kept in a module."""

from __future__ import annotations

import importlib
import pkgutil
import secrets
from collections.abc import Iterator
from types import ModuleType

from fastapi import APIRouter, Depends, FastAPI
from starlette.requests import Request
from starlette.staticfiles import StaticFiles

from backflip import __version__
from backflip.feedback.store import Store
from backflip.studio import api, failures, pages
from backflip.studio.security import SecurityHeaders
from backflip.studio.sessions import identify, require_csrf
from backflip.studio.settings import Settings
from backflip.studio.signing import Signer
from backflip.studio.state import HERE, Studio

__all__ = ["create_app"]


def create_app(store: Store, settings: Settings) -> FastAPI:
    """The studio over an open store. Who made the store closes it."""
    app = FastAPI(
        title="Backflip studio",
        version=__version__,
        openapi_url="/api/openapi.json",
        docs_url=None,  # they come from a CDN
        redoc_url=None,
        dependencies=[Depends(_who), Depends(require_csrf)],
    )
    app.state.studio = Studio(store, settings, Signer(settings.secret or secrets.token_urlsafe(32)))
    failures.install(app)
    for package in (api, pages):
        for router in _routers(package):
            app.include_router(router)
    app.mount("/static", StaticFiles(directory=HERE / "static"), name="static")
    app.add_middleware(SecurityHeaders, https=settings.https)
    return app


def _who(request: Request) -> None:
    request.state.user = identify(request)


def _routers(package: ModuleType) -> Iterator[APIRouter]:
    """The `router` of every module of a package, in the order of their names."""
    for found in sorted(pkgutil.iter_modules(package.__path__), key=lambda module: module.name):
        module = importlib.import_module(f"{package.__name__}.{found.name}")
        if isinstance(router := getattr(module, "router", None), APIRouter):
            yield router

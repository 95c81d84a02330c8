"""Runs: all of them, and one with its live curves, texts, configuration and ancestry. What changes comes by events."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from backflip.runs.lineage import Ancestor, RunRecord, ancestry, list_runs
from backflip.studio import showing
from backflip.studio.api.shapes import media_url
from backflip.studio.backlog import newest_clips
from backflip.studio.events import Event, stream
from backflip.studio.refusals import NotFound
from backflip.studio.watching import REPORTS, changes, curves, facts, find, glance, glance_all, name_of
from backflip.studio.web import SignedIn, Studio, User, render, studio_of

__all__ = ["router"]

router = APIRouter()
_CONTROL = ("control", "control_processes")
_REPORT_POLICY = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data: blob:; media-src data: blob:; font-src data:; frame-ancestors 'none'; base-uri 'none'"
)


@router.get("/runs", include_in_schema=False)
def all_runs(request: Request, user: SignedIn) -> Response:  # noqa: ARG001 - only to those who are signed in
    """The list, newest first."""
    root = studio_of(request).settings.runs
    return render(request, "runs.html", runs=_listed(root), root=root)


@router.get("/api/runs/{name:path}/look", tags=["runs"])
def look_as_json(request: Request, user: SignedIn, name: str) -> dict[str, Any]:
    """How the agent of a control run does now (docs/clips.md), and `url`, where its clip is."""
    studio = studio_of(request)
    record = find(studio.settings.runs, name)
    found = showing.look(record) if _may_look(studio, user, record) else None
    if found is None:
        raise NotFound(f"run {name[:200]!r} has no look, or it is not for those who still answer for it")
    clip = found.get("clip")
    return found | {"url": media_url(studio, user, str(clip)) if clip else None}


@router.get("/runs/{name:path}/report", include_in_schema=False)
def report(request: Request, user: SignedIn, name: str) -> Response:  # noqa: ARG001
    """The run's report. It is a page with scripts of its own, so it is shut in: no cookies, no requests."""
    record = find(studio_of(request).settings.runs, name)
    path = next((p for r in REPORTS if (p := record.folder / r).is_file()), None)
    if path is None:
        raise NotFound(f"run {name!r} has no report: make one with `backflip report`")
    return FileResponse(path, media_type="text/html", headers={"Content-Security-Policy": _REPORT_POLICY})


@router.get("/runs/{name:path}", include_in_schema=False)
def one_run(request: Request, user: SignedIn, name: str) -> Response:
    """One run."""
    studio = studio_of(request)
    record = find(studio.settings.runs, name)
    page = {"name": name_of(studio.settings.runs, record.folder), "status": record.status, "recipe": record.recipe}
    return render(
        request,
        "run.html",
        run=record,
        about=facts(studio.settings.runs, record),
        config=_flat(record.config),
        result=_flat(record.result),
        tree=_tree(studio, record),
        clips=_clips(studio, user, record),
        look=_may_look(studio, user, record) and (showing.look(record) is not None or _will_look(record)),
        page=page,
    )


@router.get("/api/runs", tags=["runs"])
def runs_as_json(request: Request, user: SignedIn) -> list[dict[str, Any]]:  # noqa: ARG001
    """All runs, newest first."""
    return _listed(studio_of(request).settings.runs)


@router.get("/api/run/{name:path}", tags=["runs"])
def run_as_json(request: Request, user: SignedIn, name: str) -> dict[str, Any]:  # noqa: ARG001
    """A run's curves (thinned) and texts, and `after`: from where its events go on."""
    root = studio_of(request).settings.runs
    record = find(root, name)
    found, (texts, mark) = curves(record.folder), showing.texts(record)
    return {**facts(root, record), **found, "texts": texts, "after": f"{found['mark']}_{mark}_"}


@router.get("/api/events", tags=["runs"])
async def events(request: Request, user: SignedIn, run: str = "", after: str = "") -> Response:
    """Server-sent events: of one run (metrics, texts, state), or of all (runs) and the queues (counts)."""
    studio = studio_of(request)
    root = studio.settings.runs
    if run:
        folder = (await run_in_threadpool(find, root, run)).folder
        return stream(request, ("run", run), lambda: glance(folder), lambda last: changes(root, run, last), after=after)
    projects = [project.name for project in await run_in_threadpool(studio.projects.all)]
    mine = projects if user.may("admin") else await run_in_threadpool(_joined, studio, user, projects)

    def overview(_: str) -> list[Event]:
        counts = {name: vars(studio.tally.of(name)) for name in mine}
        return [Event.of("runs", _listed(root)), Event.of("counts", counts)]

    def look() -> Any:
        return glance_all(root, list_runs(root)), studio.store.last_sequence()

    return stream(request, ("all", tuple(mine)), look, overview, seconds=2.0)


def _joined(studio: Studio, user: User, projects: Sequence[str]) -> list[str]:
    joined = studio.accounts.people.projects(user.id)
    return [name for name in projects if name in joined]


def _listed(root: Path) -> list[dict[str, Any]]:
    return [facts(root, record) for record in reversed(list_runs(root))]


def _flat(fields: Any, path: str = "") -> list[tuple[str, Any]]:
    """Nested fields as dotted names and plain values, for a table."""
    if isinstance(fields, dict) and fields:
        return [row for name, value in fields.items() for row in _flat(value, f"{path}.{name}" if path else str(name))]
    return [(path, fields)] if path else []


def _clips(studio: Studio, user: User, record: RunRecord) -> list[dict[str, Any]]:
    """The clips that the run wrote down, else those that a control run asked about last in this studio's store."""
    found = showing.clips(record)
    if not found and record.recipe in _CONTROL and _uses(studio, record):
        found = [{"media": key} for key in newest_clips(studio.store, str(record.config.get("project", "")))]
    return [clip | {"url": media_url(studio, user, clip["media"])} for clip in found]


def _will_look(record: RunRecord) -> bool:
    return record.recipe == "control_processes" and record.status == "running"


def _may_look(studio: Studio, user: User, record: RunRecord) -> bool:
    """A look tells the true reward: it is not for those who answer for the run while it goes on, admins excepted."""
    answers = user.may("labeller") and record.config.get("project") in studio.accounts.people.projects(user.id)
    return user.may("admin") or record.status == "done" or not (answers and _uses(studio, record))


def _uses(studio: Studio, record: RunRecord) -> bool:
    """Whether a run asks in the store that is open here."""
    named = record.config.get("store") or str(record.folder / "feedback.db")
    place = studio.store.database.place.removeprefix("sqlite:///")
    return Path(named).resolve() == Path(place).resolve()


def _tree(studio: Studio, record: RunRecord) -> list[dict[str, Any]]:
    """The ancestors as the page lists them; a run that stands above already is named without its parents."""
    seen = {record.folder.resolve()}
    return [_node(studio, ancestor, seen) for ancestor in ancestry(record)]


def _node(studio: Studio, ancestor: Ancestor, seen: set[Path]) -> dict[str, Any]:
    run, parent = ancestor.run, ancestor.parent
    known: dict[str, Any] = {
        "kind": parent.kind,
        "ref": parent.ref,
        "detail": dict(parent.detail),
        "run": None,
        "parents": [],
    }
    if run is None:
        return known
    known |= {"run": run, "name": name_of(studio.settings.runs, run.folder), "again": run.folder.resolve() in seen}
    if not known["again"]:
        seen.add(run.folder.resolve())
        known["parents"] = [_node(studio, older, seen) for older in ancestor.parents]
    return known

"""Admin: a project's queue (what is asked next, overlap, priority, files in and out) and the questions that test."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Form, UploadFile
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response

from backflip.errors import BackflipError
from backflip.feedback.consensus import ranked_pairs
from backflip.feedback.formats import FORMATS
from backflip.feedback.projects import EVERYBODY, GOLD, TESTS, Project
from backflip.feedback.quality import references
from backflip.records import Answer, Labeller, Question
from backflip.studio.access import project_for
from backflip.studio.backlog import answers_to, lanes_of, look_up, open_ids, question_in, upcoming, withdrawn
from backflip.studio.filling import KINDS, Filling, export, fill
from backflip.studio.markdown import to_html
from backflip.studio.refusals import NotFound, Refusal
from backflip.studio.sessions import address_of
from backflip.studio.state import Studio, studio_of
from backflip.studio.web import Admin, User, render

__all__ = ["router"]

router = APIRouter(include_in_schema=False, prefix="/admin/projects/{project}")

Word = Annotated[str, Form(max_length=200)]


@router.get("/queue")
def queue(request: Request, user: Admin, project: str, said: str = "", count: int = 0, known: int = 0) -> Response:
    """The queue."""
    return _queue(request, project_for(studio_of(request), user, project), said=said, count=count, known=known)


@router.post("/import")
async def import_file(
    request: Request,
    user: Admin,
    project: str,
    file: UploadFile,
    kind: Word = "questions",
    form: Annotated[str, Form(alias="format", max_length=40)] = "jsonl",
    purpose: Word = "train",
    overlap: Annotated[int, Form(ge=1, lt=EVERYBODY)] = 1,
    priority: Annotated[float, Form(allow_inf_nan=False)] = 0.0,
) -> Response:
    """Puts a file into the project."""
    studio = studio_of(request)
    chosen = await run_in_threadpool(project_for, studio, user, project)
    name = Path(file.filename or "upload.jsonl").name[:100] or "upload.jsonl"
    folder = Path(tempfile.mkdtemp(prefix="backflip-import-"))
    try:
        path = folder / name
        with path.open("wb") as target:
            await run_in_threadpool(shutil.copyfileobj, file.file, target)
        filling = Filling(kind, form, purpose.strip() or "train", overlap, priority)  # type: ignore[arg-type]
        found = await run_in_threadpool(_fill, studio, user, chosen, path, filling, address_of(request))
    except BackflipError as error:
        return await run_in_threadpool(_queue, request, chosen, problem=str(error), status=400)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    query = f"said={kind}&count={found['new']}&known={found['known']}"
    return RedirectResponse(f"/admin/projects/{quote(project)}/queue?{query}", status_code=303)


def _fill(studio: Studio, user: User, project: Project, path: Path, filling: Filling, address: str) -> dict[str, int]:
    with studio.store.transaction() as store:
        found = fill(store, project, path, filling)
        studio.accounts.audit.record(user.id, f"imported {filling.kind}", project.name, address=address, **found)
    return found


@router.get("/export")
def export_file(request: Request, user: Admin, project: str, format: str = "jsonl") -> Response:  # noqa: A002
    """The answers that stand, as a file."""
    studio = studio_of(request)
    chosen = project_for(studio, user, project)
    if format not in FORMATS:
        raise Refusal(f"format is {format[:40]!r}; wanted one of {', '.join(FORMATS)}")
    try:
        path = export(studio.store, chosen.name, format)
    except BackflipError as error:
        return _queue(request, chosen, problem=str(error), status=400)
    studio.accounts.audit.record(user.id, "exported answers", chosen.name, address=address_of(request), format=format)
    done = BackgroundTask(shutil.rmtree, path.parent, ignore_errors=True)
    return FileResponse(path, filename=f"{chosen.name}-{format}{path.suffix}", background=done)


@router.post("/overlap")
def overlap(
    request: Request, user: Admin, project: str, purpose: Word, overlap: Annotated[int, Form(ge=1, lt=1000)]
) -> Response:
    """Every question of a purpose wants so many answers at least."""
    studio = studio_of(request)
    chosen = project_for(studio, user, project)
    with studio.store.transaction() as store:
        found = list(store.questions(project=chosen.name, purpose=purpose))
        store.add_questions(found, overlap=overlap, project=chosen.name)
        _note(request, user, "raised the overlap", chosen.name, purpose=purpose, overlap=overlap)
    return _back(project, "overlap", len(found))


@router.post("/priority")
def priority(
    request: Request, user: Admin, project: str, question: Word, priority: Annotated[float, Form(allow_inf_nan=False)]
) -> Response:
    """Sets one question's priority."""
    studio = studio_of(request)
    project_for(studio, user, project)
    with studio.store.transaction() as store:
        store.prioritise({question: priority})
        _note(request, user, "changed a priority", project, question=question, priority=priority)
    return _back(project, "priority", 1)


@router.post("/retire")
def retire(request: Request, user: Admin, project: str, purpose: Word = "", question: Word = "") -> Response:
    """No more answers are wanted: to one question, or to all of a purpose."""
    studio = studio_of(request)
    project_for(studio, user, project)
    with studio.store.transaction() as store:
        ids = [question] if question else list(open_ids(store, project, purpose))
        store.retire(ids)
        _note(request, user, "retired questions", project, purpose=purpose, count=len(ids))
    return _back(project, "retired", len(ids))


@router.post("/withdraw")
def withdraw(request: Request, user: Admin, project: str, what: Word, reason: Word) -> Response:
    """Withdraws one answer by its number, or all of a labeller's, in every project."""
    studio = studio_of(request)
    chosen = project_for(studio, user, project)
    try:
        if not reason.strip():
            raise Refusal("a withdrawal wants a reason: it is kept with it")
        with studio.store.transaction() as store:
            count = store.withdraw(int(what) if what.strip().isdecimal() else what.strip(), reason.strip())
            _note(request, user, "withdrew answers", what, count=count, reason=reason)
    except BackflipError as error:
        return _queue(request, chosen, problem=str(error), status=400)
    return _back(project, "withdrawn", count)


# --- questions that test labellers


@router.get("/tests")
def known_tests(request: Request, user: Admin, project: str, text: str = "", said: str = "") -> Response:
    """Gold questions and the qualification set, and questions from which more can be made."""
    studio = studio_of(request)
    chosen = project_for(studio, user, project)
    found = look_up(studio.store, chosen.name, text=text.strip())
    return render(
        request,
        "admin_tests.html",
        project=chosen,
        tests=_tests(studio, chosen),
        candidates=[waiting for waiting in found if waiting.question.purpose not in TESTS],
        text=text,
        said=said,
    )


@router.get("/tests/new")
def new_test(request: Request, user: Admin, project: str, question: str) -> Response:
    """The form: the right order of a question's candidates, as the labellers hold it where they answered."""
    studio = studio_of(request)
    chosen = project_for(studio, user, project)
    return _new_test(request, chosen, _own(studio, chosen, question))


@router.post("/tests/new")
async def make_test(request: Request, user: Admin, project: str) -> Response:
    """Makes a test of a question: the same candidates under another purpose, with a maker's answer."""
    form = await request.form()
    return await run_in_threadpool(_make_test, request, user, project, {k: str(v) for k, v in form.items()})


def _make_test(request: Request, user: User, project: str, form: dict[str, str]) -> Response:
    studio = studio_of(request)
    chosen = project_for(studio, user, project)
    source = _own(studio, chosen, form.get("question", ""))
    purpose = form.get("purpose", GOLD)
    try:
        if purpose not in TESTS:
            raise Refusal(f"purpose is {purpose[:40]!r}; wanted one of {', '.join(TESTS)}")
        test = replace(source, purpose=purpose, priority=0.0)
        answer = Answer(test.id, Labeller(f"maker:{user.id}", "maker"), _tiers(source, form), source="studio")
        with studio.store.transaction() as store:
            store.add_questions([test], overlap=EVERYBODY, project=chosen.name)
            store.answer(answer, key=f"reference-{test.id}")
            _note(request, user, f"made a {purpose} question", chosen.name, question=test.id)
    except BackflipError as error:
        return _new_test(request, chosen, source, form=form, problem=str(error), status=400)
    return RedirectResponse(f"/admin/projects/{quote(project)}/tests?said=made", status_code=303)


def _new_test(
    request: Request,
    project: Project,
    question: Question,
    *,
    form: dict[str, str] | None = None,
    problem: str = "",
    status: int = 200,
) -> Response:
    given = answers_to(studio_of(request).store, question.id)
    told = [answer for answer in given if not answer.cannot_tell]
    tiers = ranked_pairs(told).tiers if told else ()
    ranks = {c: str(place) for place, tier in enumerate(tiers, 1) for c in tier}
    ranks |= {c.id: form[f"rank-{c.id}"] for c in question.candidates if form and f"rank-{c.id}" in form}
    shown = [
        {"id": c.id, "html": to_html(c.text or ""), "media": c.media, "rank": ranks.get(c.id, "")}
        for c in question.candidates
    ]
    return render(
        request,
        "admin_test.html",
        status=status,
        project=project,
        question=question,
        prompt=_prompt_html(question),
        shown=shown,
        answers=len(told),
        purpose=(form or {}).get("purpose", GOLD),
        problem=problem,
    )


def _tiers(question: Question, form: dict[str, str]) -> tuple[tuple[str, ...], ...]:
    """The places typed for the candidates as tiers; equal places are ties."""
    places: dict[int, list[str]] = {}
    for candidate in question.candidates:
        text = form.get(f"rank-{candidate.id}", "").strip()
        if not text.isdecimal():
            raise Refusal(f"a place is {text[:20]!r}; wanted a number from 1 (best) for every answer, ties alike")
        places.setdefault(int(text), []).append(candidate.id)
    return tuple(tuple(places[place]) for place in sorted(places))


def _tests(studio: Studio, project: Project) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for purpose in TESTS:
        answers = [n.answer for n in studio.store.answers(project=project.name, purpose=purpose)]
        known = references(answers)
        for question in studio.store.questions(project=project.name, purpose=purpose):
            given = sum(a.question == question.id and a.labeller.kind != "maker" for a in answers)
            found.append({"question": question, "purpose": purpose, "known": question.id in known, "given": given})
    return found


def _own(studio: Studio, project: Project, key: str) -> Question:
    question = question_in(studio.store, project.name, key)
    if question is None:
        raise NotFound(f"project {project.name!r} has no question {key[:12]!r}")
    return question


def _prompt_html(question: Question) -> str:
    if question.prompt is None:
        return ""
    last = question.prompt.messages[-1].content if question.prompt.messages else question.prompt.text or ""
    return to_html(last)


def _queue(request: Request, project: Project, *, status: int = 200, **more: Any) -> Response:
    studio = studio_of(request)
    known = {"problem": "", "said": "", "count": 0, "known": 0}
    return render(
        request,
        "admin_queue.html",
        status=status,
        project=project,
        lanes=lanes_of(studio.store, project.name),
        next=upcoming(studio.store, project.name),
        withdrawals=withdrawn(studio.store, project.name, limit=10),
        kinds=KINDS,
        formats=list(FORMATS),
        tests=TESTS,
        **known | more,
    )


def _note(request: Request, user: User, action: str, subject: str, **detail: Any) -> None:
    studio_of(request).accounts.audit.record(user.id, action, subject, address=address_of(request), **detail)


def _back(project: str, said: str, count: int) -> Response:
    return RedirectResponse(f"/admin/projects/{quote(project)}/queue?said={said}&count={count}", status_code=303)

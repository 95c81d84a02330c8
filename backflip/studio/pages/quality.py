"""Quality: how fast, how much alike and how sound the answers are. A labeller sees only the own figures."""

from __future__ import annotations

from collections.abc import Callable
from string import ascii_uppercase
from typing import Any, get_args

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from backflip.records import Question
from backflip.studio.access import project_for, projects_for
from backflip.studio.api.shapes import media_url, prompt_out
from backflip.studio.figures import MOST, Dispute, Kind, figures, newest_reward_model, own_figures
from backflip.studio.markdown import to_html
from backflip.studio.watching import name_of
from backflip.studio.web import SignedIn, Studio, User, render, studio_of

__all__ = ["router"]

router = APIRouter(include_in_schema=False)
_KEPT = 32  # pages of figures that are kept until an answer comes in


@router.get("/quality")
def first(request: Request, user: SignedIn) -> Response:
    """The first project's page, or a word that there is none."""
    projects = projects_for(studio_of(request), user)
    if not projects:
        return render(request, "quality.html", project=None, projects=[])
    busiest = max(projects, key=lambda project: studio_of(request).tally.of(project.name).answers)
    return RedirectResponse(f"/quality/{busiest.name}", status_code=303)


@router.get("/quality/{project}")
def quality(request: Request, user: SignedIn, project: str, kind: str = "") -> Response:
    """One project's figures: all of them for admins and viewers, the own ones for a labeller."""
    studio = studio_of(request)
    chosen = project_for(studio, user, project)
    shared: dict[str, Any] = {"project": chosen, "projects": projects_for(studio, user)}
    if user.role == "labeller":
        line = _kept(request, ("own", project, user.id), lambda: own_figures(studio.store, project, user.id))
        return render(request, "quality_own.html", line=line, **shared)
    wanted: Kind = kind if kind in get_args(Kind) else "all"  # type: ignore[assignment]
    found = _kept(request, ("all", project, wanted), lambda: figures(studio.store, project, kind=wanted))
    model = newest_reward_model(studio.store, studio.settings.runs, project)
    return render(
        request,
        "quality.html",
        figures=found,
        most=MOST,
        kind=wanted,
        model=model,
        model_name=name_of(studio.settings.runs, model.run.folder) if model else None,
        disputes=[_shown(studio, user, dispute) for dispute in found.disputes],
        **shared,
    )


def _kept(request: Request, key: tuple[str, ...], make: Callable[[], Any]) -> Any:
    """Figures take a second or so to make: they are kept until an answer comes in or is withdrawn."""
    studio, state = studio_of(request), request.app.state
    if not hasattr(state, "figures"):
        state.figures = {}
    kept: dict[Any, Any] = state.figures
    version = studio.store.version()
    known = kept.get(key)
    if known is None or known[0] != version:
        while len(kept) >= _KEPT:
            kept.pop(next(iter(kept)))
        known = kept[key] = (version, make())
    return known[1]


def _shown(studio: Studio, user: User, dispute: Dispute) -> dict[str, Any]:
    """A disputed question with its candidates lettered, and each answer in these letters."""
    question, letters = dispute.question, _letters(dispute.question)

    def tiers(ranked: tuple[tuple[str, ...], ...]) -> str:
        return " > ".join(" = ".join(letters[c] for c in tier) for tier in ranked)

    return {
        "id": question.id,
        "prompt": prompt_out(question.prompt) if question.prompt else None,
        "candidates": [
            {
                "letter": letters[c.id],
                "html": to_html(c.text) if c.text is not None else None,
                "url": media_url(studio, user, c.media) if c.media is not None else None,
                "origin": c.origin,
            }
            for c in question.candidates
        ],
        "disagreement": dispute.about.disagreement,
        "answers": [(a.labeller.id, tiers(a.tiers), a.note) for a in dispute.answers],
        "consensus": tiers(dispute.consensus.tiers) if dispute.consensus else "",
        "sure": min(dispute.consensus.sure, default=None) if dispute.consensus else None,
    }


def _letters(question: Question) -> dict[str, str]:
    return {c.id: letter for c, letter in zip(question.candidates, ascii_uppercase, strict=False)}

"""What every page uses: `render`, and who is behind the request.

router = APIRouter()

@router.get("/rank")
def rank(request: Request, user: LabellerUser) -> Response:
    return render(request, "rank.html", title=_("Rank"))
"""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, FileSystemLoader, select_autoescape
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from backflip.studio.i18n import LANGUAGES, language_of, script_catalogue, translations
from backflip.studio.sessions import csrf_token
from backflip.studio.state import HERE, Studio, studio_of
from backflip.studio.users import Admin, LabellerUser, SignedIn, User, admin, labeller, signed_in
from backflip.studio.wording import FILTERS

__all__ = [
    "Admin",
    "LabellerUser",
    "SignedIn",
    "Studio",
    "User",
    "admin",
    "labeller",
    "render",
    "signed_in",
    "studio_of",
]


def render(request: Request, template: str, *, status: int = 200, **context: Any) -> Response:
    """A page from templates/, in the user's language; all that it is given is escaped."""
    studio = studio_of(request)
    user: User | None = getattr(request.state, "user", None)
    language = language_of(request, user.language if user else "")
    page = _environment(studio, language).get_template(template)
    html = page.render(
        request=request,
        user=user,
        csrf=csrf_token(request),
        language=language,
        languages=LANGUAGES,
        catalogue=script_catalogue(language),
        settings=studio.settings,
        **context,
    )
    return HTMLResponse(html, status_code=status, headers={"Cache-Control": "no-store"})


def _environment(studio: Studio, language: str) -> Environment:
    if language not in studio.environments:
        made = Environment(
            loader=FileSystemLoader(HERE / "templates"),
            extensions=["jinja2.ext.i18n"],
            autoescape=select_autoescape(default=True),
            trim_blocks=True,
            lstrip_blocks=True,
        )
        made.install_gettext_translations(translations(language), newstyle=True)  # type: ignore[attr-defined]
        made.filters.update(FILTERS)
        studio.environments[language] = made
    return studio.environments[language]

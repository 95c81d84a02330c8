"""Clips: each under the hash of its content, so that a browser may keep it for ever."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Path, Query
from starlette.requests import Request
from starlette.responses import FileResponse

from backflip.studio.refusals import NotFound
from backflip.studio.state import studio_of
from backflip.studio.users import SignedIn

__all__ = ["router"]

router = APIRouter(tags=["media"])

_TYPES: Final = {"json": "application/json", "mp4": "video/mp4", "webm": "video/webm"}
Key = Annotated[str, Path(pattern=r"^[0-9a-f]{64}\.(json|mp4|webm)$")]


@router.get("/media/{key}", responses={200: {"content": {kind: {} for kind in _TYPES.values()}}})
def media(
    request: Request, user: SignedIn, key: Key, signature: Annotated[str, Query(alias="for", max_length=100)] = ""
) -> FileResponse:
    """A clip, for an admin or for who was given its address with a question."""
    studio = studio_of(request)
    file = studio.media / key
    if not (user.may("admin") or studio.signer.is_signed(signature, "media", user.id, key)) or not file.is_file():
        raise NotFound("there is no such clip, or it is not for you")
    headers = {"Cache-Control": "private, max-age=31536000, immutable"}
    return FileResponse(file, media_type=_TYPES[key.rpartition(".")[2]], headers=headers)

"""Every route for every role: who is let in, who is sent away, and that nobody sees another's project."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from fastapi.routing import APIRoute
from studio_kit import Site, Visitor

from backflip.studio import api, pages
from backflip.studio.app import _routers
from backflip.studio.users import ROLES, Role

# The least role that each route wants. A route that is not here fails the test: decide who may, and write it down.
ANYBODY = """
    GET /  GET /login  POST /login  POST /logout  GET /invitation/{word}  POST /invitation/{word}  POST /language
"""
VIEWER = """
    GET /api/me  PATCH /api/me  POST /api/me/password  GET /api/me/tokens  POST /api/me/tokens
    DELETE /api/me/tokens/{token}  GET /media/{key}  GET /api/projects  GET /api/projects/{project}
    GET /account  POST /account/groups  POST /account/password  POST /account/tokens
    POST /account/tokens/{token}/revoke  POST /api/markdown
    GET /quality  GET /quality/{project}  GET /runs  GET /runs/{name:path}  GET /runs/{name:path}/report
    GET /api/runs  GET /api/run/{name:path}  GET /api/runs/{name:path}/look  GET /api/events
"""
LABELLER = """
    POST /api/projects/{project}/lease  POST /api/projects/{project}/answers  POST /api/projects/{project}/pass
    POST /api/projects/{project}/undo  GET /api/me/answers  POST /api/me/withdrawals
    GET /api/projects/{project}/write/next  GET /api/projects/{project}/demonstrations
    POST /api/projects/{project}/demonstrations  PATCH /api/projects/{project}/demonstrations/{number}
    GET /rank  GET /rank/{project}  GET /compare  GET /compare/{project}  GET /write  GET /write/{project}
    POST /account/answers/{sequence}/withdraw
"""
ADMIN = """
    GET /api/people  PATCH /api/people/{name}  PUT /api/people/{name}/projects/{project}
    DELETE /api/people/{name}/projects/{project}  POST /api/people  GET /api/invitations  POST /api/invitations
    DELETE /api/invitations/{key}  GET /api/audit  POST /api/projects  PATCH /api/projects/{project}
    POST /api/projects/{project}/questions  GET /api/projects/{project}/answers
    POST /api/projects/{project}/demonstrations/{number}/review
    GET /admin  POST /admin/projects  GET /admin/projects/{project}  POST /admin/projects/{project}
    POST /admin/projects/{project}/state  GET /admin/people  POST /admin/people/{name}/role
    POST /admin/people/{name}/active  POST /admin/people/{name}/join  POST /admin/people/{name}/leave
    POST /admin/people/{name}/qualify  POST /admin/invitations  POST /admin/invitations/{key}/withdraw
    POST /admin/scripts  GET /admin/audit  GET /admin/projects/{project}/queue  POST /admin/projects/{project}/import
    GET /admin/projects/{project}/export  POST /admin/projects/{project}/overlap
    POST /admin/projects/{project}/priority  POST /admin/projects/{project}/retire
    POST /admin/projects/{project}/withdraw  GET /admin/projects/{project}/tests
    GET /admin/projects/{project}/tests/new  POST /admin/projects/{project}/tests/new
"""
VALUES = {"project": "default", "key": "0" * 16, "token": "0" * 16, "number": "1", "sequence": "1", "word": "x"}


@pytest.fixture(params=["sqlite"])  # who may what does not depend on the database
def store_url(request: pytest.FixtureRequest, tmp_path: object) -> str:
    return f"sqlite:///{tmp_path}/store.db"


def listed() -> dict[str, int]:
    """Route -> how high the least role is, 0 for anybody."""
    tables = (ANYBODY, VIEWER, LABELLER, ADMIN)
    return {route: level for level, table in enumerate(tables) for route in re.split(r"\s{2,}", table.strip())}


def routes() -> Iterator[str]:
    for package in (api, pages):
        for router in _routers(package):
            for route in router.routes:
                assert isinstance(route, APIRoute)
                yield from (f"{method} {route.path}" for method in sorted(route.methods or ()))


def visit(visitor: Visitor, route: str, **values: str) -> int:
    """The status; 401 too where a page sends one to sign in."""
    method, path = route.split(" ")
    filled = re.sub(r"\{(\w+)(:path)?\}", lambda found: (VALUES | values).get(found[1], "nothing"), path)
    reply = visitor.send(method, filled, None if method == "GET" else {})
    away = reply.status_code == 303 and reply.headers["location"].startswith("/login")
    return 401 if away else int(reply.status_code)


def test_every_route_is_listed() -> None:
    assert sorted(listed()) == sorted(routes())


@pytest.mark.parametrize("role", ["", *ROLES])
def test_only_the_right_roles_are_let_in(site: Site, role: Role) -> None:
    site.fill()
    site.studio.stopping.set()  # so that a stream of events ends at once
    visitor = site.person("somebody", role) if role else site.visitor()
    own = ROLES.index(role) + 1 if role else 0
    for route, least in listed().items():
        if route in ("GET /", "POST /logout"):
            continue
        status, away = visit(visitor, route), 401 if not own else 403
        assert (status == away) == (own < least), f"{route} as {role or 'nobody'}: {status}"
        assert status < 500, route
        assert status != 401 or not own, route


def test_a_project_that_one_is_not_in_is_not_there(site: Site) -> None:
    """For a labeller, a project of others and none at all give the very same answer."""
    site.fill()
    visitor = site.person("somebody", "labeller", projects=["another"])
    site.studio.stopping.set()
    for route, least in listed().items():
        if "{project}" in route and least < 3:
            body = {"count": 1} if route.endswith("/lease") else {"sequence": 1} if route.endswith("/undo") else {}
            method, path = route.split(" ")
            replies = [
                visitor.send(method, path.replace("{project}", name).replace("{number}", "1"), body or None)
                for name in ("default", "nowhere")
            ]
            texts = {reply.text.replace("default", "P").replace("nowhere", "P") for reply in replies}
            assert len(texts) == 1, route
            assert {reply.status_code for reply in replies} <= {404, 422}, route


def test_a_labeller_sees_and_changes_only_their_own(site: Site) -> None:
    site.fill()
    ann, bob = site.person("ann"), site.person("bob")
    (lease,) = ann.lease()["leases"]
    sequence = ann.answer(lease).json()["sequence"]
    assert [answer["sequence"] for answer in ann.get("/api/me/answers").json()] == [sequence]
    assert bob.get("/api/me/answers").json() == []
    assert bob.post("/api/me/withdrawals", {"sequences": [sequence]}).status_code == 404
    assert bob.post("/api/me/withdrawals", {"sequences": "all"}).json() == {"withdrawn": 0}
    assert ann.post("/api/me/withdrawals", {"sequences": [sequence], "reason": "a slip"}).json() == {"withdrawn": 1}
    assert ann.get("/api/me/answers").json()[0]["withdrawn"]
    assert not list(site.store.answers())
    text = {"prompt": {"messages": [{"role": "user", "content": "why?"}]}, "answer": "so", "key": "k"}
    path = "/api/projects/default/demonstrations"
    number = ann.post(path, text).json()["number"]
    assert bob.send("PATCH", f"{path}/{number}", {"answer": "mine"}).status_code == 404
    assert bob.get(f"{path}?everybody=true").json() == []
    assert ann.get("/api/projects/default").json()["settings"] is None

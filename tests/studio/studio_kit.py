"""A studio for tests, and people who visit it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI
from starlette.testclient import TestClient

from backflip.feedback.projects import Project
from backflip.feedback.store import Store
from backflip.records import Candidate, Prompt, Question
from backflip.studio.state import Studio
from backflip.studio.users import Role

PROJECT = "default"


def ask(number: int, *, purpose: str = "train", answers: int = 2, priority: float = 0.0) -> Question:
    """Question `number`, of so many candidates."""
    candidates = tuple(Candidate(text=f"answer {i} to {number}") for i in range(answers))
    return Question("text", candidates, Prompt.ask(f"question {number}"), purpose, priority)


class Visitor:
    """Somebody's browser: requests with their cookie and their forms' token."""

    def __init__(self, client: TestClient, session: str = "") -> None:
        self.client = client
        self.studio: Studio = client.app.state.studio  # type: ignore[attr-defined]
        if session:
            signature = self.studio.signer.signature("session", session)
            client.cookies.set(self.studio.settings.cookie, f"{session}.{signature}")
        self.csrf = self.studio.signer.signature("csrf", session)

    def get(self, path: str, **options: Any) -> Any:
        return self.client.get(path, follow_redirects=False, **options)

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        sent = {"X-CSRF-Token": self.csrf} | headers
        return self.client.request(method, path, json=body, headers=sent, follow_redirects=False)

    def post(self, path: str, body: Any = None) -> Any:
        return self.send("POST", path, {} if body is None else body)

    def form(self, path: str, **fields: str) -> Any:
        return self.client.post(path, data={"csrf_token": self.csrf} | fields, follow_redirects=False)

    # --- what a labeller does

    def lease(self, count: int = 1, *, project: str = PROJECT, **more: Any) -> Any:
        reply = self.post(f"/api/projects/{project}/lease", {"count": count, **more})
        assert reply.status_code == 200, reply.text
        return reply.json()

    def answer(self, lease: Any, *, key: str = "", project: str = PROJECT, **more: Any) -> Any:
        """An answer in the shown order, unless `tiers` say another."""
        question = lease["question"]
        said = {"token": lease["token"], "question": question["id"], "key": key or question["id"]}
        order = {"tiers": [[c] for c in question["shown"]], "shown": question["shown"]}
        return self.post(f"/api/projects/{project}/answers", said | order | more)

    def pass_on(self, lease: Any, *, project: str = PROJECT, reason: str = "skip") -> Any:
        said = {"token": lease["token"], "question": lease["question"]["id"], "key": "p", "reason": reason}
        return self.post(f"/api/projects/{project}/pass", said)


@dataclass
class Site:
    """A studio with accounts, and its clock."""

    app: FastAPI
    store: Store
    clock: Any
    clients: list[TestClient] = field(default_factory=list)

    @property
    def studio(self) -> Studio:
        studio: Studio = self.app.state.studio
        return studio

    def visitor(self, session: str = "") -> Visitor:
        client = TestClient(self.app, base_url="http://studio.test", client=("192.0.2.1", 5000))
        self.clients.append(client)
        return Visitor(client, session)

    def person(self, name: str, role: Role = "labeller", *, projects: Sequence[str] = (PROJECT,)) -> Visitor:
        """Somebody who is signed in; they have no password."""
        people = self.studio.accounts.people
        people.add(name, role=role, now=self.clock())
        for project in projects:
            people.join(name, project)
        return self.visitor(self.studio.accounts.credentials.open_session(name, 1e6))

    def fill(self, count: int = 5, **more: Any) -> list[Question]:
        questions = [ask(i, **more) for i in range(count)]
        self.store.add_questions(questions, project=PROJECT)
        return questions

    def project(self, **settings: Any) -> Project:
        """The project, with these settings."""
        project = Project(PROJECT, **({"gold": 0.0} | settings))
        self.studio.projects.save(project)
        return project

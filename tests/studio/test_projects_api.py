"""Projects, questions, export, demonstrations and the audit log over the API."""

from __future__ import annotations

import json
from typing import Any

import pytest
from studio_kit import Site, ask

from backflip.feedback.projects import FLAGS, GOLD
from backflip.feedback.quality.gold import references
from backflip.records import Prompt, Question

QUESTION = {"prompt": {"messages": [{"role": "user", "content": "why?"}]}, "candidates": [{"text": "a"}, {"text": "b"}]}


@pytest.fixture(params=["sqlite"])
def store_url(request: pytest.FixtureRequest, tmp_path: object) -> str:
    return f"sqlite:///{tmp_path}/store.db"


def made(site: Site, **settings: Any) -> Any:
    boss = site.person("boss", "admin", projects=[])
    reply = boss.post("/api/projects", {"name": "default", **settings})
    assert reply.status_code == 201, reply.text
    return boss


def test_a_project_is_made_changed_and_shown(site: Site) -> None:
    boss = made(site, title="Rain", instructions="**Rank** them.\n\n<script>x</script>", rating=True)
    ann = site.person("ann")
    shown = ann.get("/api/projects/default").json()
    assert (shown["title"], shown["rating"], shown["flags"], shown["state"]) == ("Rain", True, [], "open")
    assert shown["instructions"].startswith("<p><strong>Rank</strong> them.</p>")
    assert "<script>" not in shown["instructions"]
    assert boss.send("PATCH", "/api/projects/default", {"flagging": True, "state": "paused"}).status_code == 200
    shown = ann.get("/api/projects/default").json()
    assert shown["flags"] == [{"name": flag.name, "label": flag.label} for flag in FLAGS]
    assert (shown["state"], ann.lease()["state"]) == ("paused", "paused")
    own = [{"name": "rude", "label": "Rude"}]
    settings = boss.send("PATCH", "/api/projects/default", {"flags": own}).json()["settings"]
    assert (settings["flags"], settings["title"]) == (own, "Rain")
    assert [project["name"] for project in ann.get("/api/projects").json()] == ["default"]
    assert boss.post("/api/projects", {"name": "default"}).status_code == 409
    wrong = boss.send("PATCH", "/api/projects/default", {"gold": 2})
    assert (wrong.status_code, "gold is 2" in wrong.text) == (400, True)


def test_questions_come_in_with_the_projects_overlap_and_answers_go_out(site: Site) -> None:
    boss = made(site, overlap=2, gold=0)
    added = boss.post("/api/projects/default/questions", {"questions": [QUESTION, QUESTION]}).json()
    assert added["added"] == 1
    assert added["ids"][0] == added["ids"][1] == next(site.store.questions()).id
    ann, bob = site.person("ann"), site.person("bob")
    for visitor in (ann, bob):
        (lease,) = visitor.lease()["leases"]
        visitor.answer(lease)
    assert ann.lease()["state"] == "empty"
    lines = boss.get("/api/projects/default/answers").text.splitlines()
    rows = [json.loads(line) for line in lines]
    assert [(row["sequence"], row["answer"]["labeller"]["id"]) for row in rows] == [(1, "ann"), (2, "bob")]
    assert len(boss.get("/api/projects/default/answers?after=1").text.splitlines()) == 1


def test_questions_come_in_all_or_none(site: Site) -> None:
    boss = made(site)
    same = QUESTION | {"candidates": [{"text": "a"}, {"text": "a"}]}
    refused = boss.post("/api/projects/default/questions", {"questions": [QUESTION, same]})
    assert (refused.status_code, "same candidate twice" in refused.text) == (422, True)
    strange = QUESTION | {"purpose": GOLD, "reference": [[0], [2]]}
    refused = boss.post("/api/projects/default/questions", {"questions": [QUESTION, strange]})
    assert (refused.status_code, "wanted 0 to 1" in refused.text) == (400, True)
    assert not list(site.store.questions())


def test_a_gold_question_comes_with_its_reference(site: Site) -> None:
    boss = made(site, gold=1)
    golden = QUESTION | {"purpose": GOLD, "reference": [[1], [0]]}
    for _ in range(2):  # sent twice
        assert boss.post("/api/projects/default/questions", {"questions": [golden]}).status_code == 200
    (question,) = site.store.questions()
    (known,) = references(n.answer for n in site.store.answers(purpose=GOLD))[question.id]
    best = next(c.id for c in question.candidates if c.text == "b")
    assert known.tiers[0] == (best,)
    assert site.person("ann").lease()["leases"][0]["question"]["id"] == question.id
    assert site.studio.tally.of("default").questions == 0  # it is no work to be done


def test_a_demonstration_from_the_prompt_to_its_acceptance(site: Site) -> None:
    boss = made(site, review=True)
    prompt = Prompt.ask("why does it rain?", user="u1", source="set")
    site.store.add_prompts([prompt], name="default")
    ann = site.person("ann")
    path = "/api/projects/default"
    found = ann.get(f"{path}/write/next").json()
    assert (found["state"], found["prompt"]["messages"][0]["content"]) == ("open", "why does it rain?")
    assert ann.get(f"{path}/write/next?skip={prompt.id}").json() == {"prompt": None, "state": "empty"}
    said = {"prompt": {"messages": [{"role": "user", "content": "why does it rain?"}]}, "answer": "**So.**", "key": "k"}
    written = ann.post(f"{path}/demonstrations", said).json()
    assert (written["state"], written["html"]) == ("submitted", "<p><strong>So.</strong></p>\n")
    assert ann.post(f"{path}/demonstrations", said).json()["number"] == written["number"]
    one = f"{path}/demonstrations/{written['number']}"
    assert boss.post(f"{one}/review", {"verdict": "returned", "note": "more"}).json()["note"] == "more"
    assert ann.send("PATCH", one, {"answer": "So it is."}).json()["state"] == "submitted"
    assert boss.get(f"{path}/demonstrations?everybody=true&state=submitted").json()[0]["author"] == "ann"
    assert boss.post(f"{one}/review", {"verdict": "accepted"}).json()["state"] == "accepted"
    (kept,) = site.store.demonstrations()
    assert (kept.prompt, kept.answer, kept.author.id) == (prompt, "So it is.", "ann")
    assert (kept.prompt.user, kept.prompt.source) == ("u1", "set")
    assert ann.send("PATCH", one, {"withdrawn": True}).json()["state"] == "withdrawn"
    assert not list(site.store.demonstrations())


def test_who_did_what_stands_in_the_audit_log(site: Site) -> None:
    boss = made(site, title="Rain")
    site.person("ann", projects=[])
    boss.send("PUT", "/api/people/ann/projects/default", {})
    boss.post("/api/invitations", {"role": "labeller", "project": "default", "note": "for bob"})
    boss.post("/api/people", {"name": "judge", "projects": ["default"]})
    boss.post("/api/projects/default/questions", {"questions": [QUESTION]})
    boss.send("DELETE", "/api/people/ann/projects/default")
    entries = boss.get("/api/audit").json()
    assert [(entry["action"], entry["subject"]) for entry in reversed(entries)] == [
        ("changed a project", "default"),
        ("let into a project", "ann"),
        ("invited", "default"),
        ("added a script", "judge"),
        ("added questions", "default"),
        ("took out of a project", "ann"),
    ]
    assert {entry["person"] for entry in entries} == {"boss"}
    assert {entry["address"] for entry in entries} == {"192.0.2.1"}
    assert len(boss.get(f"/api/audit?limit=2&before={entries[0]['number']}").json()) == 2


def test_a_script_labels_as_a_simulated_judge(site: Site) -> None:
    boss = made(site, gold=0)
    site.store.add_questions([ask(1)])
    token = boss.post("/api/people", {"name": "judge", "projects": ["default"]}).json()["token"]
    script = site.visitor()
    script.client.headers["Authorization"] = f"Bearer {token}"
    script.csrf = ""  # which scripts do not need
    (lease,) = script.lease()["leases"]
    assert script.answer(lease).status_code == 200
    (numbered,) = site.store.answers()
    assert (numbered.answer.labeller.id, numbered.answer.labeller.kind) == ("judge", "simulated")


def test_the_description_lists_every_call_of_the_api(site: Site) -> None:
    paths = site.visitor().get("/api/openapi.json").json()["paths"]
    assert {"/api/projects/{project}/lease", "/api/projects/{project}/answers", "/media/{key}", "/api/me"} <= set(paths)
    assert all(call.get("summary") for path in paths.values() for call in path.values())
    assert not [path for path in paths if not path.startswith(("/api/", "/media/"))]


def test_a_question_record_goes_over_the_network_and_back() -> None:
    from backflip.studio.api.records_in import QuestionIn
    from backflip.studio.client import _question

    question = ask(1, purpose="evaluate", priority=2.5, answers=3)
    assert QuestionIn(**_question(question)).record() == question
    clips = Question("clip", tuple(ask(1).candidates), None)
    assert QuestionIn(**_question(clips)).record() == clips

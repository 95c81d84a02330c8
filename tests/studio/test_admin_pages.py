"""Administration by forms: files in and out, tests of labellers, the queue, people; and who may not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from studio_kit import PROJECT, Site, Visitor, ask

from backflip.feedback.projects import GOLD
from backflip.feedback.store import Store
from backflip.records import Answer, Labeller

HERE = f"/admin/projects/{PROJECT}"
QUESTION = {"prompt": "Why?", "answers": ["a", {"text": "b", "ended": False, "origin": "sft"}]}
RANKED = {"prompt": "<p>", "chosen": "good", "rejected": "bad"}


@pytest.fixture
def store(tmp_path: Path, store_clock: Any) -> Iterator[Store]:
    """SQLite alone: nothing here depends on the database."""
    with Store.open(tmp_path / "feedback.db", clock=store_clock) as opened:
        yield opened


@pytest.fixture
def ada(site: Site) -> Visitor:
    site.project()
    return site.person("ada", "admin")


def upload(admin: Visitor, *rows: object, **fields: str) -> Any:
    content = "".join(f"{json.dumps(row)}\n" for row in rows)
    files = {"file": ("rows.jsonl", content)}
    data = {"csrf_token": admin.csrf, "kind": "questions", "format": "jsonl"} | fields
    return admin.client.post(f"{HERE}/import", data=data, files=files, follow_redirects=False)


def test_questions_come_in_from_a_file(site: Site, ada: Visitor) -> None:
    reply = upload(ada, QUESTION, {"clips": ["0.mp4", "1.mp4"]}, overlap="3", priority="2.5")
    assert reply.headers["location"].endswith("said=questions&count=2&known=0")
    text, clips = site.store.questions(project=PROJECT)
    assert [(c.text, c.ended, c.origin) for c in text.candidates if c.text == "b"] == [("b", False, "sft")]
    assert (clips.medium, text.priority) == ("clip", 2.5)
    assert site.store.counts(PROJECT).wanted == 6
    assert upload(ada, QUESTION).headers["location"].endswith("count=0&known=1")
    assert "Imported" in ada.get(f"{HERE}/queue?said=questions&count=2").text


def test_all_of_a_file_or_nothing(site: Site, ada: Visitor) -> None:
    reply = upload(ada, QUESTION, {"prompt": "x", "answers": ["one"]})
    assert reply.status_code == 400
    assert "rows.jsonl line 2" in reply.text
    assert site.store.counts(PROJECT).questions == 0
    assert upload(ada, {"prompt": "x"}, format="pandalm", kind="rankings").status_code == 400
    assert upload(ada, QUESTION, kind="nonsense").status_code == 400


def test_rankings_come_with_their_answers_or_to_be_asked_again(site: Site, ada: Visitor) -> None:
    assert upload(ada, RANKED, kind="rankings", format="trl").status_code == 303
    counts = site.store.counts(PROJECT)
    assert (counts.questions, counts.answers, counts.wanted) == (1, 1, 0)
    assert upload(ada, RANKED, kind="rankings", format="trl").headers["location"].endswith("count=0&known=1")
    upload(ada, RANKED, kind="asked_again", format="trl", purpose="second")
    assert site.store.counts(PROJECT, purpose="second").wanted == 1
    exported = ada.get(f"{HERE}/export?format=trl")
    assert json.loads(exported.text)["chosen"] == "good"
    assert "attachment" in exported.headers["content-disposition"]
    assert ada.get(f"{HERE}/export?format=xml").status_code == 400


def test_prompts_and_demonstrations(site: Site, ada: Visitor) -> None:
    assert upload(ada, {"prompt": "What is tea?"}, kind="prompts").status_code == 303
    assert len(list(site.store.prompts(name=PROJECT))) == 1


def test_the_queue_is_changed(site: Site, ada: Visitor) -> None:
    first, second = site.fill(2)
    ada.form(f"{HERE}/priority", question=second.id, priority="9")
    page = ada.get(f"{HERE}/queue").text
    assert page.index("question 1") < page.index("question 0")
    ada.form(f"{HERE}/overlap", purpose="train", overlap="3")
    assert site.store.counts(PROJECT).wanted == 6
    ada.form(f"{HERE}/retire", question=first.id)
    assert site.store.counts(PROJECT).wanted == 3
    ada.form(f"{HERE}/retire", purpose="train")
    assert site.store.counts(PROJECT).wanted == 0


def test_a_gold_question_is_made_of_a_question(site: Site, ada: Visitor) -> None:
    (question,) = site.fill(1, answers=3)
    ids = [c.id for c in question.candidates]
    site.store.answer(Answer(question.id, Labeller("bo", "person"), ((ids[2],), (ids[0], ids[1]))))
    form = ada.get(f"{HERE}/tests/new?question={question.id}").text
    assert form.count('value="1"') == 1  # as bo has it
    assert form.count('value="2"') == 2
    places = {f"rank-{ids[0]}": "2", f"rank-{ids[1]}": "x", f"rank-{ids[2]}": "1"}
    reply = ada.form(f"{HERE}/tests/new", question=question.id, purpose=GOLD, **places)
    assert reply.status_code == 400
    assert "wanted a number from 1" in reply.text
    places[f"rank-{ids[1]}"] = "2"
    assert ada.form(f"{HERE}/tests/new", question=question.id, purpose=GOLD, **places).status_code == 303
    (gold,) = site.store.questions(project=PROJECT, purpose=GOLD)
    (reference,) = [n.answer for n in site.store.answers(purpose=GOLD)]
    assert reference.labeller.kind == "maker"
    assert reference.tiers == ((ids[2],), (ids[0], ids[1]))
    page = ada.get(f"{HERE}/tests").text
    assert "no answer of yours" not in page
    site.project(gold=1.0)
    assert site.person("cy").lease()["leases"][0]["question"]["id"] == gold.id


def test_answers_are_withdrawn_with_a_reason(site: Site, ada: Visitor) -> None:
    (question,) = site.fill(1)
    site.store.answer(Answer(question.id, Labeller("bo", "person"), ()))
    assert ada.form(f"{HERE}/withdraw", what="1", reason=" ").status_code == 400
    assert ada.form(f"{HERE}/withdraw", what="nobody", reason="spam").status_code == 400
    assert ada.form(f"{HERE}/withdraw", what="bo", reason="spam").status_code == 303
    assert list(site.store.answers()) == []
    assert "spam" in ada.get(f"{HERE}/queue").text


def test_settings_are_saved_or_kept_in_the_form(site: Site, ada: Visitor) -> None:
    fields = {"title": "Tea", "instructions": "*Well*.", "overlap": "2", "qualification": "80", "gold": "10"}
    more = {"groups": "language, region,", "flags": "rude: Is rude\nOff the topic", "rating": "on", "prompts": ""}
    assert ada.form(HERE, **fields, **more).status_code == 303
    saved = site.studio.projects.find(PROJECT)
    assert saved is not None
    assert (saved.title, saved.overlap, saved.rating, saved.flagging) == ("Tea", 2, True, False)
    assert (saved.qualification, saved.gold, saved.groups) == (0.8, 0.1, ("language", "region"))
    assert [(f.name, f.label) for f in saved.flags] == [("rude", "Is rude"), ("off_the_topic", "Off the topic")]
    reply = ada.form(HERE, **fields | {"overlap": "none", "title": "Kept"}, **more)
    assert reply.status_code == 400
    assert 'value="Kept"' in reply.text
    assert "overlap is &#39;none&#39;; wanted a whole number" in reply.text
    assert ada.form(HERE, **fields | {"gold": "300"}, **more).status_code == 400
    ada.form(f"{HERE}/state", state="paused")
    assert "paused" in ada.get("/admin").text


def test_people_are_let_in_and_out(site: Site, ada: Visitor) -> None:
    site.person("bo", projects=())
    assert ada.form("/admin/people/bo/join", project=PROJECT).status_code == 303
    ada.form("/admin/people/bo/role", role="viewer")
    (bo,) = [m for m in site.studio.accounts.people.all() if m.user.id == "bo"]
    assert (bo.user.role, list(bo.projects)) == ("viewer", [PROJECT])
    ada.form("/admin/people/bo/leave", project=PROJECT)
    ada.form("/admin/people/bo/active", active="false")
    assert "shut out" in ada.get("/admin/people").text
    assert ada.form("/admin/people/ada/role", role="viewer").status_code == 409
    assert ada.form("/admin/people/bo/role", role="king").status_code == 400
    made = ada.form("/admin/invitations", role="labeller", project=PROJECT, note="Cy", days="3").text
    assert "/invitation/" in made
    assert "Cy" in made
    assert "/invitation/" not in ada.get("/admin/people").text, "the link is shown once"
    assert "bf_" in ada.form("/admin/scripts", name="judge", kind="simulated", project=PROJECT).text
    log = ada.get("/admin/audit").text
    assert all(word in log for word in ("changed a person", "invited", "added a script"))
    assert "invited" not in ada.get("/admin/audit?person=bo").text


@pytest.mark.parametrize("role", ["viewer", "labeller"])
def test_others_may_not(site: Site, ada: Visitor, role: Any) -> None:
    (question,) = site.fill(1)
    bo = site.person("bo", role)
    pages = (
        "",
        "/people",
        "/audit",
        f"/projects/{PROJECT}",
        f"/projects/{PROJECT}/queue",
        f"/projects/{PROJECT}/tests",
    )
    assert {bo.get(f"/admin{page}").status_code for page in pages} == {403}
    acts = ("", "/state", "/overlap", "/priority", "/retire", "/withdraw", "/tests/new")
    forms = {"state": "paused", "purpose": "train", "question": question.id, "overlap": "2", "priority": "1"}
    more = {"what": "1", "reason": "x"}
    assert {bo.form(f"{HERE}{act}", **forms, **more).status_code for act in acts} == {403}
    assert upload(bo, QUESTION).status_code == 403
    assert bo.get(f"{HERE}/export").status_code == 403
    assert ask(0) == question


def test_a_name_that_cannot_be(ada: Visitor) -> None:
    reply = ada.form("/admin/projects", name="a/b", title="Slash")
    assert reply.status_code == 400
    assert 'value="Slash"' in reply.text
    assert ada.form("/admin/projects", name=PROJECT).status_code == 409
    assert ada.form("/admin/projects", name="tea").headers["location"] == "/admin/projects/tea"


def test_markdown_is_previewed_clean(ada: Visitor) -> None:
    reply = ada.post("/api/markdown", {"text": "*a* <script>b</script>"})
    assert "<em>a</em>" in reply.json()["html"]
    assert "<script>" not in reply.json()["html"]

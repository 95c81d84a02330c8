"""Lease, answer, pass, undo over the API, on every database."""

from __future__ import annotations

from typing import Any

from studio_kit import PROJECT, Site, ask

from backflip.feedback.projects import EVERYBODY, GOLD, QUALIFICATION
from backflip.feedback.store import Store
from backflip.records import Answer, Candidate, Labeller, Question

MAKER = Labeller("maker", "maker")


def ids(found: Any) -> list[str]:
    return [lease["question"]["id"] for lease in found["leases"]]


def test_an_answer_is_stored_whole_and_brings_the_next_question(site: Site) -> None:
    first, second, *_ = site.fill()
    ann = site.person("ann")
    (lease,) = ann.lease()["leases"]
    question = lease["question"]
    assert question["id"] == first.id
    assert {c["id"] for c in question["candidates"]} == {c.id for c in first.candidates}
    assert [c["id"] for c in question["candidates"]] == question["shown"]
    best, other = question["shown"]
    more = {"ratings": {best: 7}, "flags": {other: ["opinion"]}, "seconds": 4.5, "note": "clear"}
    reply = ann.answer(lease, tiers=[[best], [other]], next=1, **more).json()
    assert reply["sequence"] == 1
    assert ids(reply) == [second.id]
    (numbered,) = site.store.answers()
    answer = numbered.answer
    assert (answer.question, answer.tiers, answer.shown) == (first.id, ((best,), (other,)), (best, other))
    assert (answer.labeller.id, answer.labeller.kind, answer.source) == ("ann", "person", "studio")
    assert (answer.ratings, answer.flags) == ({best: 7}, {other: ("opinion",)})
    assert (answer.seconds, answer.note) == (4.5, "clear")


def test_the_shown_order_is_each_labellers_own_and_stays_after_a_reload(site: Site) -> None:
    site.store.add_questions([ask(i, answers=6) for i in range(3)], overlap=2)
    ann, bob = site.person("ann"), site.person("bob")
    seen = [lease["question"]["shown"] for lease in ann.lease(3)["leases"]]
    assert seen == [lease["question"]["shown"] for lease in ann.lease(3)["leases"]]
    others = [lease["question"]["shown"] for lease in bob.lease(3)["leases"]]
    assert [sorted(order) for order in seen] == [sorted(order) for order in others]
    assert seen != others
    assert any(order != sorted(order) for order in seen)


def test_neither_purpose_nor_origin_is_told(site: Site) -> None:
    candidates = (Candidate(text="a", origin="secret-model"), Candidate(text="b", origin="secret-model"))
    prompt = ask(1).prompt
    site.store.add_questions([Question("text", candidates, prompt, purpose="secret-purpose")])
    assert "secret" not in site.person("ann").post(f"/api/projects/{PROJECT}/lease", {}).text


def test_sent_twice_is_kept_once(site: Site) -> None:
    site.fill(2)
    ann = site.person("ann")
    (lease,) = ann.lease()["leases"]
    assert ann.answer(lease, key="k").json()["sequence"] == ann.answer(lease, key="k").json()["sequence"] == 1
    again = ann.answer(lease, key="other")
    assert again.status_code == 409
    assert "already answered" in again.json()["error"]["message"]
    assert len(list(site.store.answers())) == 1


def test_what_the_page_lost_comes_again_and_what_it_has_does_not(site: Site) -> None:
    questions = [q.id for q in site.fill(5)]
    ann = site.person("ann")
    first = ann.lease(2)
    assert ids(first) == questions[:2]
    assert ids(ann.lease(2)) == questions[:2]
    assert ids(ann.lease(2, have=questions[:2])) == questions[2:4]
    reply = ann.answer(first["leases"][0], next=3, have=[questions[1]]).json()
    assert ids(reply) == [*questions[2:4], questions[4]]


def test_a_late_answer_is_kept(site: Site) -> None:
    site.fill(1)
    ann, bob = site.person("ann"), site.person("bob")
    (lease,) = ann.lease()["leases"]
    assert bob.lease()["state"] == "empty"
    site.clock.now += 10_000
    assert len(bob.lease()["leases"]) == 1
    assert ann.answer(lease).status_code == 200


def test_a_question_that_was_not_handed_out_is_not_answered(site: Site) -> None:
    site.fill(2)
    ann, bob = site.person("ann"), site.person("bob")
    (lease,) = ann.lease()["leases"]
    stolen = bob.answer(lease)
    assert stolen.status_code == 403
    assert ann.answer(lease | {"question": lease["question"] | {"id": "0" * 64}}).status_code == 403
    assert not list(site.store.answers())


def test_cannot_tell_and_ties(site: Site) -> None:
    site.fill(2)
    ann = site.person("ann")
    first, second = ann.lease(2)["leases"]
    ann.answer(first, tiers=[])
    ann.answer(second, tiers=[second["question"]["shown"]])
    unsure, tied = (n.answer for n in site.store.answers())
    assert unsure.cannot_tell
    assert len(tied.tiers) == 1


def test_an_answer_that_does_not_fit_is_refused_and_the_question_stays(site: Site) -> None:
    site.fill(1)
    ann = site.person("ann")
    (lease,) = ann.lease()["leases"]
    wrong = ann.answer(lease, tiers=[[lease["question"]["shown"][0]]])
    assert wrong.status_code == 422
    assert "leaves out 1 of 2" in wrong.json()["error"]["message"]
    assert ann.answer(lease).status_code == 200


def test_passed_on_goes_to_somebody_else(site: Site) -> None:
    site.fill(1)
    ann, bob = site.person("ann"), site.person("bob")
    (lease,) = ann.lease()["leases"]
    assert ann.pass_on(lease, reason="outside_knowledge").json()["state"] == "open"
    assert ann.pass_on(lease, reason="outside_knowledge").status_code == 200  # sent twice
    assert ann.lease()["state"] == "empty"
    assert len(bob.lease()["leases"]) == 1


def test_undo_brings_the_question_again_and_withdraws_the_answer(site: Site) -> None:
    site.fill(2)
    ann, bob = site.person("ann"), site.person("bob")
    (lease,) = ann.lease()["leases"]
    sequence = ann.answer(lease).json()["sequence"]
    path = f"/api/projects/{PROJECT}/undo"
    assert bob.post(path, {"sequence": sequence}).status_code == 404
    again = ann.post(path, {"sequence": sequence}).json()["lease"]
    assert again["question"] == lease["question"]
    assert ann.post(path, {"sequence": sequence}).json()["lease"]["question"]["id"] == again["question"]["id"]
    assert not list(site.store.answers())
    best, other = lease["question"]["shown"]
    assert ann.answer(again, tiers=[[other], [best]], key="anew").json()["sequence"] == 2
    assert ann.post(path, {"sequence": sequence}).status_code == 404
    assert site.store.counts().answers == 1


def test_paused_hands_out_nothing_and_keeps_what_comes(site: Site) -> None:
    site.fill(3)
    ann = site.person("ann")
    (lease,) = ann.lease()["leases"]
    site.project(state="paused")
    assert (ann.lease()["state"], ann.lease()["leases"]) == ("paused", [])
    reply = ann.answer(lease, next=2).json()
    assert (reply["state"], reply["leases"], reply["sequence"]) == ("paused", [], 1)


def test_one_medium_at_a_time(site: Site) -> None:
    clips = tuple(Candidate(media=f"{i:064x}.json") for i in range(2))
    site.store.add_questions([ask(1), Question("clip", clips)])
    ann = site.person("ann")
    (clip,) = ann.lease(5, medium="clip")["leases"]
    assert clip["question"]["medium"] == "clip"
    assert clip["question"]["candidates"][0]["url"].startswith("/media/0")
    (text,) = ann.lease(5, medium="text")["leases"]
    assert text["question"]["medium"] == "text"


def test_gold_questions_are_mixed_in(site: Site) -> None:
    site.fill(10)
    golden = [ask(100 + i, purpose=GOLD) for i in range(2)]
    site.store.add_questions(golden, overlap=EVERYBODY)
    site.project(gold=1.0)
    ann, bob = site.person("ann"), site.person("bob")
    for visitor in (ann, bob):  # each gets all of them, and then the others
        assert set(ids(visitor.lease(4))) > {q.id for q in golden}
    site.project(gold=0.0)
    assert not {q.id for q in golden} & set(ids(site.person("cat").lease(4)))


def test_the_qualification_comes_first_and_decides(site: Site) -> None:
    site.fill(3)
    tests = [ask(100 + i, purpose=QUALIFICATION) for i in range(2)]
    site.store.add_questions(tests, overlap=EVERYBODY)
    _refer(site.store, tests)
    site.project(qualification=1.0)
    ann, bob, boss = site.person("ann"), site.person("bob"), site.person("boss", "admin")
    for visitor, right in ((ann, True), (bob, False)):
        found = visitor.lease(5)
        assert (found["state"], ids(found)) == ("qualification", [q.id for q in tests])
        for lease in found["leases"]:
            order = sorted(lease["question"]["shown"], reverse=not right)
            last = visitor.answer(lease, tiers=[[c] for c in order], next=1).json()
        assert last["state"] == ("open" if right else "unqualified")
    assert bob.lease()["leases"] == []
    assert len(ann.lease(5)["leases"]) == 3
    assert boss.lease()["state"] == "empty"  # and not to be qualified: ann has all
    actions = [entry.action for entry in site.studio.accounts.audit.entries()]
    assert actions == ["failed the qualification", "passed the qualification"]


def _refer(store: Store, tests: list[Question]) -> None:
    for question in tests:
        order = tuple((c.id,) for c in question.candidates)  # sorted by id
        store.answer(Answer(question.id, MAKER, order))

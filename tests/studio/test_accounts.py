"""People: signing in and out, invitations, passwords, tokens, and what each leaves in the audit log."""

from __future__ import annotations

import pytest
from studio_kit import Site, Visitor

from backflip.studio.accounts.limits import Limits
from backflip.studio.accounts.passwords import Passwords
from backflip.studio.accounts.people import canonical_name
from backflip.studio.refusals import Refusal, TooMany

GOOD = "correct horse battery"


@pytest.fixture(params=["sqlite"])  # nothing here depends on the database beyond what test_labelling_api covers
def store_url(request: pytest.FixtureRequest, tmp_path: object) -> str:
    return f"sqlite:///{tmp_path}/store.db"


def join(site: Site, name: str, *, role: str = "labeller", project: str = "") -> Visitor:
    """Somebody who comes by an invitation, as in life."""
    word = site.studio.accounts.invitations.make(role=role, inviter="boss", project=project)  # type: ignore[arg-type]
    visitor = site.visitor()
    assert visitor.get(f"/invitation/{word}").status_code == 200
    reply = visitor.form(f"/invitation/{word}", name=name, password=GOOD)
    assert reply.status_code == 303, reply.text
    return refreshed(site, visitor)


def refreshed(site: Site, visitor: Visitor) -> Visitor:
    """The same browser, whose pages have the new session's token."""
    cookie = visitor.client.cookies.get(site.studio.settings.cookie) or ""
    visitor.csrf = site.studio.signer.signature("csrf", cookie.partition(".")[0])
    return visitor


def sign_in(site: Site, name: str, password: str = GOOD) -> tuple[Visitor, int]:
    visitor = site.visitor()
    status = visitor.form("/login", name=name, password=password, next="/rank").status_code
    return refreshed(site, visitor), status


def test_an_invitation_makes_one_account_with_its_role_and_project(site: Site) -> None:
    site.fill()
    word = site.studio.accounts.invitations.make(role="labeller", inviter="boss", project="default")
    visitor = site.visitor()
    assert "at least 10 characters" in visitor.get(f"/invitation/{word}").text
    short = visitor.form(f"/invitation/{word}", name="ann", password="short")
    assert (short.status_code, "wanted 10" in short.text) == (400, True)
    done = visitor.form(f"/invitation/{word}", name="  Ann ", password=GOOD)
    assert (done.status_code, done.headers["location"]) == (303, "/")
    me = visitor.get("/api/me").json()
    assert (me["id"], me["role"], me["projects"]) == ("ann", "labeller", ["default"])
    again = site.visitor().form(f"/invitation/{word}", name="eve", password=GOOD)
    assert again.status_code == 404
    assert [entry.action for entry in site.studio.accounts.audit.entries()] == ["joined"]


def test_an_invitation_expires_and_can_be_withdrawn(site: Site) -> None:
    invitations = site.studio.accounts.invitations
    word = invitations.make(role="admin", inviter="boss", hours=1)
    other = invitations.make(role="viewer", inviter="boss")
    invitations.withdraw(next(i.id for i in invitations.all() if i.role == "viewer"))
    assert site.visitor().get(f"/invitation/{other}").status_code == 404
    site.clock.now += 3601
    assert site.visitor().get(f"/invitation/{word}").status_code == 404


def test_two_who_open_one_invitation_get_one_account(site: Site) -> None:
    word = site.studio.accounts.invitations.make(role="labeller", inviter="boss")
    accounts = site.studio.accounts
    accounts.accept(word, "ann", GOOD, address="")
    with pytest.raises(Refusal, match="was used"):
        accounts.accept(word, "bob", GOOD, address="")
    assert [member.user.id for member in accounts.people.all()] == ["ann"]


def test_a_taken_name_is_refused_and_the_invitation_stays(site: Site) -> None:
    join(site, "ann")
    word = site.studio.accounts.invitations.make(role="labeller", inviter="boss")
    taken = site.visitor().form(f"/invitation/{word}", name="ANN", password=GOOD)
    assert (taken.status_code, "is taken" in taken.text) == (409, True)
    assert site.visitor().get(f"/invitation/{word}").status_code == 200


def test_signing_in_and_out(site: Site) -> None:
    join(site, "ann")
    visitor, status = sign_in(site, "Ann")
    assert status == 303
    assert visitor.get("/api/me").json()["id"] == "ann"
    kept = visitor.client.cookies.get(site.studio.settings.cookie)
    assert visitor.form("/logout").status_code == 303
    thief = site.visitor()
    thief.client.cookies.set(site.studio.settings.cookie, kept)
    assert thief.get("/api/me").status_code == 401  # the session is over, not only forgotten by the browser


def test_a_wrong_name_and_a_wrong_password_look_alike(site: Site) -> None:
    join(site, "ann")
    site.studio.accounts.people.add("robot", role="labeller", now=0.0, kind="simulated")  # without a password
    pages = {
        site.visitor().form("/login", name=name, password="not the password").text.replace(name, "NAME")
        for name in ("ann", "nobody", "robot", "not a name!")
    }
    assert len({page.partition("csrf")[0] for page in pages}) == 1
    assert "the name or the password is wrong" in pages.pop()


def test_too_many_tries_have_to_wait_even_with_the_right_password(site: Site) -> None:
    join(site, "ann")
    for name in ("ann", "nobody"):
        statuses = [sign_in(site, name, "wrong")[1] for _ in range(11)]
        assert statuses == [403] * 10 + [429]
    refused = site.visitor().form("/login", name="ann", password=GOOD)
    assert (refused.status_code, 0 < int(refused.headers["retry-after"]) <= 900) == (429, True)
    site.clock.now += 901
    assert sign_in(site, "ann")[1] == 303


def test_an_address_that_tries_many_names_has_to_wait() -> None:
    now = [0.0]
    limits = Limits(lambda: now[0])
    for i in range(40):
        limits.take(f"name{i}", "2001:db8::1")
    with pytest.raises(TooMany):
        limits.take("another", "2001:db8::2")  # of the same network
    limits.take("another", "2001:db8:1::1")
    now[0] = 901.0
    limits.take("another", "2001:db8::1")


def test_a_new_password_ends_all_other_sessions(site: Site) -> None:
    here = join(site, "ann")
    there, _ = sign_in(site, "ann")
    wrong = here.post("/api/me/password", {"old": "wrong", "new": "another good one"})
    assert wrong.status_code == 403
    assert here.post("/api/me/password", {"old": GOOD, "new": "short"}).status_code == 400
    assert here.post("/api/me/password", {"old": GOOD, "new": "another good one"}).status_code == 204
    assert here.get("/api/me").status_code == 200
    assert there.get("/api/me").status_code == 401
    assert sign_in(site, "ann", GOOD)[1] == 403
    assert sign_in(site, "ann", "another good one")[1] == 303


def test_who_is_let_in_no_more_is_out_at_once(site: Site) -> None:
    site.fill()
    boss, ann = site.person("boss", "admin"), site.person("ann")
    token = ann.post("/api/me/tokens", {"label": "script"}).json()["token"]
    script = site.visitor()
    bearer = {"Authorization": f"Bearer {token}"}
    assert script.get("/api/me", headers=bearer).json()["id"] == "ann"
    assert boss.send("PATCH", "/api/people/ann", {"active": False}).status_code == 204
    assert ann.get("/api/me").status_code == script.get("/api/me", headers=bearer).status_code == 401
    assert boss.send("PATCH", "/api/people/boss", {"role": "viewer"}).status_code == 409


def test_a_role_changes_at_once(site: Site) -> None:
    boss, ann = site.person("boss", "admin"), site.person("ann")
    assert ann.get("/api/people").status_code == 403
    boss.send("PATCH", "/api/people/ann", {"role": "admin"})
    assert ann.get("/api/people").status_code == 200


def test_a_token_is_shown_once_and_can_be_revoked(site: Site) -> None:
    ann, bob = site.person("ann"), site.person("bob")
    token = ann.post("/api/me/tokens", {"label": "judge"}).json()["token"]
    (listed,) = ann.get("/api/me/tokens").json()
    assert listed["label"] == "judge"
    assert token not in str(listed)
    assert bob.send("DELETE", f"/api/me/tokens/{listed['id']}").status_code == 404
    script = site.visitor()
    assert script.get("/api/me", headers={"Authorization": f"Bearer {token}"}).status_code == 200
    assert ann.send("DELETE", f"/api/me/tokens/{listed['id']}").status_code == 204
    assert script.get("/api/me", headers={"Authorization": f"Bearer {token}"}).status_code == 401


def test_neither_passwords_nor_words_stand_in_the_store(site: Site) -> None:
    ann = join(site, "ann")
    token = ann.post("/api/me/tokens", {"label": ""}).json()["token"]
    session = (ann.client.cookies.get(site.studio.settings.cookie) or "").partition(".")[0]
    word = site.studio.accounts.invitations.make(role="labeller", inviter="boss")
    with site.store.database.read() as connection:
        dump = "\n".join(connection.connection.dbapi_connection.iterdump())  # type: ignore[union-attr]
    assert "$argon2id$" in dump
    assert not [secret for secret in (GOOD, token, session, word) if secret in dump]


def test_what_one_says_of_oneself_goes_with_the_answers_from_then_on(site: Site) -> None:
    site.fill(2)
    ann = site.person("ann")
    first, second = ann.lease(2)["leases"]
    ann.answer(first)
    groups = {"language": "zh", "region": " "}
    assert ann.send("PATCH", "/api/me", {"groups": groups, "language": "zh_CN"}).status_code == 204
    assert ann.send("PATCH", "/api/me", {"language": "tlh"}).status_code == 400
    ann.answer(second)
    assert [dict(n.answer.labeller.groups) for n in site.store.answers()] == [{}, {"language": "zh"}]
    assert ann.get("/api/me").json()["language"] == "zh_CN"


@pytest.mark.parametrize("bad", ["", " ", "a b", "a/b", "x" * 65, "-a", "\x00"])
def test_names_that_cannot_be(bad: str) -> None:
    with pytest.raises(Refusal, match="name is"):
        canonical_name(bad)


def test_names_are_one_however_they_are_typed() -> None:
    assert canonical_name("  Ann ") == canonical_name("ａｎｎ") == "ann"
    assert canonical_name("王芳") == "王芳"


# --- without accounts


def test_the_token_link_signs_in_and_no_other(make_site: object) -> None:
    site: Site = make_site(accounts=False, token="the-word")  # type: ignore[operator]
    visitor = site.visitor()
    assert visitor.get("/rank").headers["location"].startswith("/login")
    assert visitor.get("/?token=another").status_code == 403
    reply = visitor.get("/?token=the-word")
    assert (reply.status_code, reply.headers["location"]) == (303, "/rank")
    assert visitor.get("/api/me").json() | {"groups": None} == {
        "id": "local",
        "name": "local",
        "role": "admin",
        "kind": "person",
        "groups": None,
        "language": "",
        "projects": [],
    }


def test_a_studio_with_accounts_does_not_know_the_local_person(make_site: object) -> None:
    local: Site = make_site(accounts=False, token="the-word")  # type: ignore[operator]
    visitor = local.visitor()
    visitor.get("/?token=the-word")
    kept = visitor.client.cookies.get(local.studio.settings.cookie)
    team: Site = make_site(accounts=True)  # type: ignore[operator]
    other = team.visitor()
    other.client.cookies.set(team.studio.settings.cookie, kept)
    assert other.get("/api/me").status_code == 401
    other.get("/?token=the-word")
    assert other.get("/api/me").status_code == 401


def test_passwords_are_hashed_slowly_and_compared_for_nobody_too() -> None:
    passwords = Passwords()
    known = passwords.hash(GOOD)
    assert known.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert passwords.is_right(GOOD, known)
    assert not passwords.is_right(GOOD + "!", known)
    assert not passwords.is_right("nobody", None)

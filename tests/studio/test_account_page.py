"""Your account: what one says of oneself, password, tokens, own answers, and nobody else's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from studio_kit import Site

from backflip.feedback.store import Store
from backflip.studio.accounts.passwords import Passwords


@pytest.fixture
def store(tmp_path: Path, store_clock: Any) -> Iterator[Store]:
    """SQLite alone: nothing here depends on the database."""
    with Store.open(tmp_path / "feedback.db", clock=store_clock) as opened:
        yield opened


def test_groups_are_what_one_says(site: Site) -> None:
    site.project(groups=("language",))
    ann = site.person("ann")
    assert "language" in ann.get("/account").text
    data = {"csrf_token": ann.csrf, "name": ["language", "region", ""], "value": ["English", " Asia ", "lost"]}
    assert ann.client.post("/account/groups", data=data, follow_redirects=False).status_code == 303
    assert site.studio.accounts.people.find("ann").groups == {"language": "English", "region": "Asia"}
    data["value"] = ["", "Asia", ""]
    ann.client.post("/account/groups", data=data)
    assert site.studio.accounts.people.find("ann").groups == {"region": "Asia"}


def test_own_answers_are_withdrawn_and_others_are_not(site: Site) -> None:
    site.project()
    site.fill(2)
    ann, bo = site.person("ann"), site.person("bo")
    mine = ann.answer(ann.lease()["leases"][0]).json()["sequence"]
    theirs = bo.answer(bo.lease()["leases"][0]).json()["sequence"]
    page = ann.get("/account").text
    assert f"/account/answers/{mine}/withdraw" in page
    assert f"/account/answers/{theirs}/withdraw" not in page
    assert ann.form(f"/account/answers/{theirs}/withdraw").status_code == 404
    assert ann.form(f"/account/answers/{mine}/withdraw").status_code == 303
    assert [n.sequence for n in site.store.answers()] == [theirs]
    assert "withdrawn" in ann.get("/account").text


def test_older_answers_are_on_the_next_page(site: Site) -> None:
    site.project()
    site.fill(28)
    ann = site.person("ann")
    for lease in [*ann.lease(20)["leases"]]:
        ann.answer(lease)
    for lease in ann.lease(8)["leases"]:
        ann.answer(lease)
    assert "/account?before=4" in ann.get("/account").text
    assert "/account?before=" not in ann.get("/account?before=4").text


def test_a_password_is_changed(site: Site) -> None:
    ann = site.person("ann")
    site.studio.accounts.people.change("ann", password=Passwords().hash("the old password", name="ann"))
    differs = ann.form("/account/password", old="the old password", new="a new password 1", again="a new password 2")
    assert differs.status_code == 400
    assert "differ" in differs.text
    wrong = ann.form("/account/password", old="not this", new="a new password 1", again="a new password 1")
    assert wrong.status_code == 403
    done = ann.form("/account/password", old="the old password", new="a new password 1", again="a new password 1")
    assert done.status_code == 303
    assert site.studio.accounts.sign_in("ann", "a new password 1", address="")


def test_a_token_is_shown_once_and_revoked(site: Site) -> None:
    ann, bo = site.person("ann"), site.person("bo")
    page = ann.form("/account/tokens", label="judge").text
    word = page.split('<code id="token">')[1].split("<")[0]
    assert site.studio.accounts.credentials.user_of_token(word) is not None
    assert word not in ann.get("/account").text
    (token,) = site.studio.accounts.credentials.tokens("ann")
    assert bo.form(f"/account/tokens/{token.id}/revoke").status_code == 404
    assert ann.form(f"/account/tokens/{token.id}/revoke").status_code == 303
    assert site.studio.accounts.credentials.user_of_token(word) is None

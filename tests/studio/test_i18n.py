"""Which language a page speaks: the person's choice, the cookie, then what the browser likes best."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from studio_kit import Site

from backflip.feedback.store import Store


@pytest.fixture
def store(tmp_path: Path, store_clock: Any) -> Iterator[Store]:
    """SQLite alone: nothing here depends on the database."""
    with Store.open(tmp_path / "feedback.db", clock=store_clock) as opened:
        yield opened


def language(site: Site, **headers: str) -> str:
    page = site.visitor().client.get("/login", headers=headers)
    return "zh" if 'lang="zh-Hans"' in page.text.split("<head>")[0] else "en"


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        ("", "en"),
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("zh", "zh"),
        ("en-GB,zh;q=0.9", "en"),
        ("fr,zh;q=0.5,en;q=0.4", "zh"),
        ("fr;q=0.9", "en"),
        ("zh;q=0,en", "en"),
        ("zh;q=x,*;q=;,", "en"),
    ],
)
def test_the_browsers_wish(site: Site, header: str, wanted: str) -> None:
    assert language(site, **{"accept-language": header}) == wanted


def test_the_cookie_goes_before_the_browser(site: Site) -> None:
    visitor = site.visitor()
    reply = visitor.form("/language", language="zh_CN", next="/login?next=/runs")
    assert (reply.status_code, reply.headers["location"]) == (303, "/login?next=/runs")
    page = visitor.client.get("/login", headers={"accept-language": "en"})
    assert "登录" in page.text


def test_the_persons_choice_goes_before_both(site: Site) -> None:
    ann = site.person("ann")
    ann.form("/language", language="zh_CN", next="/account")
    ann.client.cookies.set("language", "en")
    assert "我的账户" in ann.get("/account").text


def test_another_language_or_another_site_is_refused(site: Site) -> None:
    visitor = site.visitor()
    assert visitor.form("/language", language="xx").status_code == 400
    reply = visitor.form("/language", language="en", next="//elsewhere.test/")
    assert reply.headers["location"] == "/"


def test_what_is_refused_is_said_in_the_pages_language(site: Site) -> None:
    reply = site.visitor().client.post(
        "/login",
        data={"csrf_token": site.visitor().csrf, "name": "100 %s %(x)d", "password": "x"},
        headers={"accept-language": "zh"},
    )
    assert reply.status_code == 403
    assert "名称或密码错误" in reply.text

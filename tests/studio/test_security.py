"""What stands before every page: headers, forms of our own only, limits, clips for those who were given them."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from studio_kit import Site

from backflip.errors import ConfigError
from backflip.studio.markdown import to_html
from backflip.studio.security import CONTENT_SECURITY_POLICY
from backflip.studio.settings import Settings, is_loopback

KEY = "a" * 64 + ".json"


@pytest.fixture(params=["sqlite"])
def store_url(request: pytest.FixtureRequest, tmp_path: object) -> str:
    return f"sqlite:///{tmp_path}/store.db"


def test_the_labelling_site_needs_no_torch() -> None:
    code = """if True:
        import sys, tempfile
        from starlette.testclient import TestClient
        from backflip.feedback.store import Store
        from backflip.studio.app import create_app
        from backflip.studio.settings import Settings
        with Store.open(tempfile.mkdtemp() + "/s.db") as store, TestClient(
            create_app(store, Settings(token="t")), base_url="http://localhost") as client:
            for page in ("/?token=t", "/runs", "/quality", "/admin", "/account", "/api/openapi.json"):
                assert client.get(page).status_code == 200, page
        import backflip.studio.command
        print(sorted({name.partition(".")[0] for name in sys.modules} & {"torch", "transformers", "tensorboard"}))
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("[]\n", 0), done.stderr


@pytest.mark.parametrize("path", ["/login", "/nothing", "/api/me", "/static/nothing.js", "/api/openapi.json", "/rank"])
def test_every_response_has_the_headers(site: Site, path: str) -> None:
    headers = site.visitor().get(path).headers
    assert headers["content-security-policy"] == CONTENT_SECURITY_POLICY
    assert "unsafe" not in CONTENT_SECURITY_POLICY
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "same-origin"


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(make_site: Callable[..., Site]) -> None:
    for https in (False, True):
        local = make_site(accounts=False, token="t", https=https)
        reply = local.visitor().get("/?token=t")
        cookie = reply.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=lax" in cookie
        assert ("Secure" in cookie) == ("strict-transport-security" in reply.headers) == https


@pytest.mark.parametrize("forged", ["", ".", "x", "word.", "word.signature"])
def test_a_cookie_that_we_did_not_sign_is_nobodys(site: Site, forged: str) -> None:
    site.person("ann")
    visitor = site.visitor()
    visitor.client.cookies.set(site.studio.settings.cookie, forged)
    assert visitor.get("/api/me").status_code == 401


def test_a_change_needs_the_token_of_the_own_session(site: Site) -> None:
    site.fill()
    ann, bob = site.person("ann"), site.person("bob")
    path, body = "/api/projects/default/lease", {"count": 1}
    for csrf in ("", "x", bob.csrf):
        refused = ann.send("POST", path, body, **{"X-CSRF-Token": csrf})
        assert (refused.status_code, "load the page again" in refused.text) == (403, True)
    assert ann.send("POST", path, body, Origin="http://evil.test").status_code == 403
    assert ann.send("POST", path, body, Origin="null").status_code == 403
    assert ann.send("POST", path, body, Origin="http://studio.test").status_code == 200


def test_signing_in_from_another_site_is_refused(site: Site) -> None:
    visitor = site.visitor()
    fields = {"csrf_token": visitor.csrf, "name": "ann", "password": "x"}
    evil = visitor.client.post("/login", data=fields, headers={"Origin": "http://evil.test"})
    assert (evil.status_code, "another site" in evil.text) == (403, True)


@pytest.mark.parametrize("target", ["//evil.test", "/\\evil.test", "https://evil.test", "evil"])
def test_signing_in_leads_nowhere_else(site: Site, target: str) -> None:
    assert 'name="next" value="/"' in site.visitor().get("/login", params={"next": target}).text


def test_a_body_that_is_too_large_is_refused_with_clear_words(make_site: Callable[..., Site]) -> None:
    site = make_site(body_limit=2000, upload_limit=50_000)
    site.fill()
    ann, boss = site.person("ann"), site.person("boss", "admin")
    path = "/api/projects/default/answers"

    def chunks() -> Iterator[bytes]:  # without a content-length
        yield b"{"
        yield b" " * 5000

    for content in (b"x" * 3000, chunks()):
        headers = {"X-CSRF-Token": ann.csrf, "Content-Type": "application/json"}
        reply = ann.client.post(path, content=content, headers=headers)
        assert reply.status_code == 413
        assert reply.json()["error"]["message"] == "the request is larger than 2000 bytes: send less at once"
        assert reply.headers["content-security-policy"] == CONTENT_SECURITY_POLICY
    question = {"prompt": {"text": "x" * 10_000}, "candidates": [{"text": "a"}, {"text": "b"}]}
    upload = "/api/projects/default/questions"
    assert boss.post(upload, {"questions": [question]}).json()["added"] == 1
    assert boss.post(upload, {"questions": [question] * 6}).status_code == 413
    assert ann.post(upload, {"questions": [question]}).status_code == 413  # only admins may bring so much


def test_a_clip_is_for_who_was_given_its_address(site: Site) -> None:
    from backflip.studio.api.shapes import media_url

    site.studio.media.mkdir()
    (site.studio.media / KEY).write_text("{}")
    ann, bob, boss = site.person("ann"), site.person("bob"), site.person("boss", "admin")
    url = media_url(site.studio, site.studio.accounts.people.find("ann"), KEY)
    reply = ann.get(url)
    assert (reply.text, reply.headers["content-type"]) == ("{}", "application/json")
    assert reply.headers["cache-control"] == "private, max-age=31536000, immutable"
    assert bob.get(url).status_code == ann.get(f"/media/{KEY}").status_code == 404
    assert boss.get(f"/media/{KEY}").status_code == 200
    assert boss.get(f"/media/{KEY.replace('a', 'b', 1)}").status_code == 404
    assert boss.get("/media/..%2F..%2Fstore.db").status_code in (404, 422)


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "[x](javascript:alert(1))",
        "![x](http://evil.test/pixel.png)",
        '<a href="x" style="position:fixed">x</a>',
        "[x](data:text/html;base64,PHNjcmlwdD4=)",
        "<svg/onload=alert(1)>",
    ],
)
def test_model_output_never_runs(text: str) -> None:
    _check(to_html(text))


@given(st.text(alphabet="<>&\"'=/ab*_`[]()!#\n:javscript", max_size=80))
def test_html_has_only_what_markdown_makes(text: str) -> None:
    _check(to_html(text))


def _check(html: str) -> None:
    for name, attributes in re.findall(r"<(\w+)([^>]*)>", html):
        assert name not in ("script", "img", "svg", "style", "iframe", "object", "form", "input")
        for attribute, value in re.findall(r'([\w-]+)="([^"]*)"', attributes):
            assert attribute in ("href", "title", "rel", "class", "start")
            assert attribute != "href" or not re.match(r"\s*(javascript|data|vbscript):", value, re.IGNORECASE)


def test_code_and_tables_are_shown() -> None:
    html = to_html("```python\nx = 1 < 2\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n**bold** [x](https://example.org)")
    assert '<code class="language-python">x = 1 &lt; 2\n</code>' in html
    assert "<table>" in html
    assert "<strong>bold</strong>" in html
    assert 'href="https://example.org" rel="noopener noreferrer"' in html


# --- where it may listen


def test_wider_than_loopback_only_with_accounts() -> None:
    for host in ("127.0.0.1", "127.8.8.8", "localhost", "::1"):
        assert is_loopback(host)
        Settings(host=host)
    for host in ("0.0.0.0", "::", "192.168.1.2", "example.org", "127.0.0.1.evil.test"):
        assert not is_loopback(host)
        Settings(host=host, accounts=True)
        with pytest.raises(ConfigError, match="there are no accounts"):
            Settings(host=host)


@pytest.mark.parametrize("field", ["port", "body_limit", "upload_limit", "session_hours", "lease_seconds"])
def test_nonsense_is_refused_by_name(field: str) -> None:
    with pytest.raises(ConfigError, match=f"^{field} is -1"):
        Settings(**{field: -1})  # type: ignore[arg-type]

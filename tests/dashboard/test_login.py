"""Tests of login, sessions and forms."""

import re
import time
from pathlib import Path

import httpx
import pytest

from dashboard.conftest import PASSWORD, Dashboard
from prosperstack_destination.admin.login_throttle import (
    MAX_UNDELAYED,
    MAX_UNDELAYED_TOTAL,
    MAX_WAIT,
    LoginThrottle,
)
from prosperstack_destination.admin.sessions import SESSION_TTL, Sessions
from prosperstack_destination.auth.operators import load_or_create_password
from prosperstack_destination.auth.vault import Vault
from prosperstack_destination.errors import ConfigurationError, LoginFailed
from prosperstack_destination.store.database import Database
from support.clocks import SetClock
from support.service import running, settings

pytestmark = pytest.mark.anyio

VAULT = Vault("a secret that is long enough")


async def test_pages_redirect_to_login(stranger: httpx.AsyncClient) -> None:
    """A page without a session redirects to the login, which leads back."""
    answer = await stranger.get("/dashboard/a/acct_any/overview?period=day")

    assert answer.status_code == 303
    assert answer.headers["location"] == "/dashboard/login?next=/dashboard/a/acct_any/overview%3Fperiod%3Dday"
    to = {"password": PASSWORD, "next": "/dashboard/accounts"}
    assert (await stranger.post("/dashboard/login", data=to)).headers["location"] == "/dashboard/accounts"
    assert (await stranger.get("/dashboard/accounts")).status_code == 200


@pytest.mark.parametrize(
    "elsewhere", ["https://evil.example", "//evil.example", "/dashboard/\\evil", "/dashboardx"]
)
async def test_login_leads_to_the_dashboard_only(stranger: httpx.AsyncClient, elsewhere: str) -> None:
    """A login link to another address leads to the start page."""
    answer = await stranger.post("/dashboard/login", data={"password": PASSWORD, "next": elsewhere})

    assert answer.headers["location"] == "/dashboard"


async def test_wrong_password_is_refused_and_throttled(stranger: httpx.AsyncClient) -> None:
    """A wrong password is refused; after several, the right one is checked with a delay."""
    for _ in range(MAX_UNDELAYED):
        wrong = await stranger.post("/dashboard/login", data={"password": "guess"})
        assert (wrong.status_code, "set-cookie" in wrong.headers) == (403, False)
        assert "Wrong password." in wrong.text
    right = await stranger.post("/dashboard/login", data={"password": PASSWORD})

    assert (right.status_code, "set-cookie" in right.headers) == (303, True)


async def test_session_cookie_is_protected(stranger: httpx.AsyncClient) -> None:
    """The session cookie is HttpOnly and SameSite, and Secure behind TLS."""
    plain = await stranger.post("/dashboard/login", data={"password": PASSWORD})
    behind_tls = await stranger.post(
        "/dashboard/login", data={"password": PASSWORD}, headers={"X-Forwarded-Proto": "https"}
    )

    cookie = plain.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=strict", "Path=/dashboard"} <= set(cookie.split("; "))
    assert "Secure" not in cookie
    assert "Secure" in behind_tls.headers["set-cookie"].split("; ")
    assert PASSWORD not in cookie


async def test_logout_ends_the_session(dashboard: Dashboard) -> None:
    """After a logout the session's cookie opens nothing."""
    cookie = dashboard.client.cookies["dashboard_session"]
    answer = await dashboard.client.post("/dashboard/logout", data={"csrf": await dashboard.csrf()})
    dashboard.client.cookies.set("dashboard_session", cookie, path="/dashboard")

    assert answer.status_code == 303
    assert (await dashboard.get("overview")).headers["location"].startswith("/dashboard/login")


@pytest.mark.parametrize("csrf", [None, "", "0" * 64])
async def test_form_without_csrf_token_is_refused(dashboard: Dashboard, csrf: str | None) -> None:
    """A form without the session's token does nothing."""
    data = {} if csrf is None else {"csrf": csrf}
    refused = await dashboard.client.post("/dashboard/logout", data=data)

    assert refused.status_code == 403
    assert "Reload the page" in refused.text
    assert (await dashboard.get("overview")).status_code == 200


async def test_login_form_of_another_site_is_refused(stranger: httpx.AsyncClient) -> None:
    """A login form of another site is refused."""
    answer = await stranger.post(
        "/dashboard/login", data={"password": PASSWORD}, headers={"Sec-Fetch-Site": "cross-site"}
    )

    assert (answer.status_code, "set-cookie" in answer.headers) == (403, False)


async def test_pages_have_a_strict_content_policy(dashboard: Dashboard) -> None:
    """Pages load only from this service, without inline scripts or styles, and not in frames."""
    page = await dashboard.get("overview")

    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert page.headers["cache-control"] == "no-store"
    assert not re.search(r"<script(?![^>]* src=)|<style| style=| on\w+=", page.text)
    loaded = re.findall(r'(?:src|href)="(/dashboard/static/[^"]+)"', page.text)
    assert len(loaded) >= 3
    for url in loaded:
        answer = await dashboard.client.get(url)
        assert (answer.status_code, "immutable" in answer.headers["cache-control"]) == (200, True)


async def test_static_files_are_compressed_for_clients_that_take_gzip(dashboard: Dashboard) -> None:
    """A static file is sent compressed only to clients that accept it, with the same content."""
    page = await dashboard.get("mapping/edit")
    url = re.findall(r'src="(/dashboard/static/codemirror[^"]+)"', page.text)[0]
    compressed = await dashboard.client.get(url, headers={"Accept-Encoding": "gzip"})
    plain = await dashboard.client.get(url, headers={"Accept-Encoding": "identity"})

    assert (compressed.headers["content-encoding"], "content-encoding" in plain.headers) == ("gzip", False)
    assert int(compressed.headers["content-length"]) * 3 < int(plain.headers["content-length"])
    assert compressed.content == plain.content
    assert compressed.headers["vary"] == "Accept-Encoding"


async def test_unknown_pages_are_not_found(dashboard: Dashboard) -> None:
    """An unknown account and an unknown page are not found."""
    account = await dashboard.client.get("/dashboard/a/acct_none/overview")
    page = await dashboard.get("nonsense")

    assert (account.status_code, page.status_code) == (404, 404)
    assert "This account does not exist" in account.text
    assert "No such page" in page.text


async def test_session_ends_after_its_lifetime_or_another_password(sqlite: Database) -> None:
    """A session ends after its lifetime, and when the password changes."""
    clock = SetClock()
    sessions = Sessions(sqlite, clock)
    sessions.set_password(await sqlite.write(load_or_create_password, VAULT, "first password"))
    token = await sessions.log_in("first password", "here")
    assert await sessions.is_open(token)

    clock.now += SESSION_TTL
    assert not await sessions.is_open(token)
    clock.now -= 1
    assert await sessions.is_open(token)
    sessions.set_password(await sqlite.write(load_or_create_password, VAULT, "second password"))
    assert not await sessions.is_open(token)


async def test_guesses_of_a_network_are_delayed(sqlite: Database) -> None:
    """After a few wrong passwords each check of this network waits a second; other networks do not."""
    clock, waited = SetClock(), list[float]()

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    sessions = Sessions(sqlite, clock, ticks=lambda: clock() / 1_000_000, sleep=sleep)
    sessions.set_password(await sqlite.write(load_or_create_password, VAULT, "the password"))
    for _ in range(MAX_UNDELAYED + 3):
        with pytest.raises(LoginFailed, match="Wrong password"):
            await sessions.log_in("a guess", "2001:db8::1")
    assert waited == [1.0, 2.0, 3.0]
    assert await sessions.log_in("the password", "2001:db8:0:1::1")
    assert waited == [1.0, 2.0, 3.0]
    assert await sessions.log_in("the password", "2001:db8::2")  # the same network, whatever its address
    assert waited[3:] == [4.0]
    clock.advance(61)
    assert await sessions.log_in("the password", "2001:db8::1")
    assert len(waited) == 4


def test_flood_of_guesses_is_refused() -> None:
    """A network waits at most ten seconds; many networks share turns, and a new one still gets its own."""
    now = [0.0]
    throttle = LoginThrottle(lambda: now[0])
    for number in range(MAX_UNDELAYED_TOTAL):
        assert throttle.wait_for(f"10.0.0.{number}") == 0
        throttle.failed(f"10.0.0.{number}")
    assert throttle.wait_for("10.1.1.1") == pytest.approx(0.2)
    for _ in range(MAX_UNDELAYED):
        throttle.failed("10.2.2.2")
    waits = [throttle.wait_for("10.2.2.2") for _ in range(int(MAX_WAIT))]
    assert waits[-1] == MAX_WAIT
    with pytest.raises(LoginFailed, match="Try again in 11 seconds"):
        throttle.wait_for("10.2.2.2")
    assert throttle.wait_for("10.3.3.3") < 5
    now[0] += 61
    assert throttle.wait_for("10.2.2.2") == 0


async def test_clients_behind_a_proxy_are_separate(tmp_path: Path) -> None:
    """With TRUSTED_PROXIES the guesses of one client do not delay another."""
    async with (
        running(settings(tmp_path, admin_password=PASSWORD, trusted_proxies=1)) as service,
        httpx.AsyncClient(transport=service.transport, base_url="http://service") as client,
    ):
        theirs = {"X-Forwarded-For": "198.51.100.9, 203.0.113.7"}
        for _ in range(MAX_UNDELAYED):
            guess = await client.post("/dashboard/login", data={"password": "guess"}, headers=theirs)
            assert guess.status_code == 403
        mine = {"X-Forwarded-For": "203.0.113.7, 198.51.100.9"}
        begun = time.monotonic()
        right = await client.post("/dashboard/login", data={"password": PASSWORD}, headers=mine)

    assert right.status_code == 303
    assert time.monotonic() - begun < 1.0


async def test_password_is_generated_once(database: Database) -> None:
    """Without a setting one password is generated, stored encrypted, and shared by all replicas."""
    made = await database.write(load_or_create_password, VAULT, None)
    again = await database.write(load_or_create_password, VAULT, None)

    assert (made.generated, made.text, len(made.text)) == (True, again.text, 20)
    with pytest.raises(ConfigurationError, match="8 characters"):
        await database.write(load_or_create_password, VAULT, "short")


async def test_empty_password_is_refused(tmp_path: Path) -> None:
    """Without a password the empty password is refused."""
    async with (
        running(settings(tmp_path)) as service,
        httpx.AsyncClient(transport=service.transport, base_url="http://service") as client,
    ):
        assert (await client.post("/dashboard/login", data={"password": ""})).status_code == 403
        assert (await client.post("/dashboard/login", content=b"x" * 3_000_000)).status_code == 400


@pytest.mark.parametrize("scheme", ["HTTPS", "https,http", "https, http"])
async def test_cookie_is_secure_behind_several_proxies(stranger: httpx.AsyncClient, scheme: str) -> None:
    """The cookie is Secure if the client's own connection has TLS, behind any proxies."""
    headers = {"X-Forwarded-Proto": scheme}
    answer = await stranger.post("/dashboard/login", data={"password": PASSWORD}, headers=headers)

    assert "Secure" in answer.headers["set-cookie"].split("; ")

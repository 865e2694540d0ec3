"""Who gets in, and what a form has to carry."""

import re
import time
from pathlib import Path

import httpx
import pytest

from dashboard.conftest import PASSWORD, Dashboard
from prosperstack_destination.admin.sessions import (
    FREE,
    FREE_TOTAL,
    MAX_WAIT,
    SESSION_TTL,
    LoginThrottle,
    Sessions,
)
from prosperstack_destination.auth.operators import load_or_create_password
from prosperstack_destination.auth.vault import Vault
from prosperstack_destination.errors import ConfigurationError, LoginFailed
from prosperstack_destination.store.database import Database
from support.clocks import SetClock
from support.service import running, settings

pytestmark = pytest.mark.anyio

VAULT = Vault("a secret that is long enough")


async def test_pages_ask_for_the_password(stranger: httpx.AsyncClient) -> None:
    """Who is not logged in is sent to the login, and from there back; nothing of the page is told."""
    answer = await stranger.get("/dashboard/a/acct_any/overview?period=day")

    assert answer.status_code == 303
    assert answer.headers["location"] == "/dashboard/login?next=/dashboard/a/acct_any/overview%3Fperiod%3Dday"
    to = {"password": PASSWORD, "next": "/dashboard/accounts"}
    assert (await stranger.post("/dashboard/login", data=to)).headers["location"] == "/dashboard/accounts"
    assert (await stranger.get("/dashboard/accounts")).status_code == 200


@pytest.mark.parametrize(
    "elsewhere", ["https://evil.example", "//evil.example", "/dashboard/\\evil", "/dashboardx"]
)
async def test_a_login_leads_nowhere_else(stranger: httpx.AsyncClient, elsewhere: str) -> None:
    """A link that names another place leads to the start."""
    answer = await stranger.post("/dashboard/login", data={"password": PASSWORD, "next": elsewhere})

    assert answer.headers["location"] == "/dashboard"


async def test_a_wrong_password(stranger: httpx.AsyncClient) -> None:
    """A wrong password is refused in words; after many of them the right one is checked a little later."""
    for _ in range(FREE):
        wrong = await stranger.post("/dashboard/login", data={"password": "guess"})
        assert (wrong.status_code, "set-cookie" in wrong.headers) == (403, False)
        assert "Wrong password." in wrong.text
    right = await stranger.post("/dashboard/login", data={"password": PASSWORD})

    assert (right.status_code, "set-cookie" in right.headers) == (303, True)


async def test_the_cookie(stranger: httpx.AsyncClient) -> None:
    """The session's cookie is out of reach of scripts and other sites, and behind TLS it goes by TLS alone."""
    plain = await stranger.post("/dashboard/login", data={"password": PASSWORD})
    behind_tls = await stranger.post(
        "/dashboard/login", data={"password": PASSWORD}, headers={"X-Forwarded-Proto": "https"}
    )

    cookie = plain.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=strict", "Path=/dashboard"} <= set(cookie.split("; "))
    assert "Secure" not in cookie
    assert "Secure" in behind_tls.headers["set-cookie"].split("; ")
    assert PASSWORD not in cookie


async def test_logging_out(dashboard: Dashboard) -> None:
    """Who logs out is out, also with the cookie they had."""
    cookie = dashboard.client.cookies["dashboard_session"]
    answer = await dashboard.client.post("/dashboard/logout", data={"csrf": await dashboard.csrf()})
    dashboard.client.cookies.set("dashboard_session", cookie, path="/dashboard")

    assert answer.status_code == 303
    assert (await dashboard.get("overview")).headers["location"].startswith("/dashboard/login")


@pytest.mark.parametrize("csrf", [None, "", "0" * 64])
async def test_a_form_of_another_site(dashboard: Dashboard, csrf: str | None) -> None:
    """A form without the session's token does nothing."""
    data = {} if csrf is None else {"csrf": csrf}
    refused = await dashboard.client.post("/dashboard/logout", data=data)

    assert refused.status_code == 403
    assert "Reload the page" in refused.text
    assert (await dashboard.get("overview")).status_code == 200


async def test_a_login_form_of_another_site(stranger: httpx.AsyncClient) -> None:
    """Nobody is logged in by a page of somebody else's."""
    answer = await stranger.post(
        "/dashboard/login", data={"password": PASSWORD}, headers={"Sec-Fetch-Site": "cross-site"}
    )

    assert (answer.status_code, "set-cookie" in answer.headers) == (403, False)


async def test_what_pages_may_load(dashboard: Dashboard) -> None:
    """A page loads from here alone, has no script or style of its own in it, and is in nobody's frame."""
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


async def test_pages_that_are_not_there(dashboard: Dashboard) -> None:
    """An account of nobody's is not here, nor a page that was made up, and a page says so."""
    account = await dashboard.client.get("/dashboard/a/acct_none/overview")
    page = await dashboard.get("nonsense")

    assert (account.status_code, page.status_code) == (404, 404)
    assert "This account does not exist" in account.text
    assert "No such page" in page.text


async def test_sessions_end(sqlite: Database) -> None:
    """A session lasts its time, and ends with another password."""
    clock = SetClock()
    sessions = Sessions(sqlite, clock)
    sessions.use(await sqlite.write(load_or_create_password, VAULT, "first password"))
    token = await sessions.log_in("first password", "here")
    assert await sessions.is_open(token)

    clock.now += SESSION_TTL
    assert not await sessions.is_open(token)
    clock.now -= 1
    assert await sessions.is_open(token)
    sessions.use(await sqlite.write(load_or_create_password, VAULT, "second password"))
    assert not await sessions.is_open(token)


async def test_guesses_are_checked_in_turns(sqlite: Database) -> None:
    """Past a few wrong passwords a network waits a second for each check, and nobody else does."""
    clock, waited = SetClock(), list[float]()

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    sessions = Sessions(sqlite, clock, ticks=lambda: clock() / 1_000_000, sleep=sleep)
    sessions.use(await sqlite.write(load_or_create_password, VAULT, "the password"))
    for _ in range(FREE + 3):
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


def test_a_flood_of_guesses_does_not_queue_up() -> None:
    """A network's turns end at ten seconds; many networks share turns, and another one still gets its own."""
    now = [0.0]
    throttle = LoginThrottle(lambda: now[0])
    for number in range(FREE_TOTAL):
        assert throttle.wait_for(f"10.0.0.{number}") == 0
        throttle.failed(f"10.0.0.{number}")
    assert throttle.wait_for("10.1.1.1") == pytest.approx(0.2)
    for _ in range(FREE):
        throttle.failed("10.2.2.2")
    waits = [throttle.wait_for("10.2.2.2") for _ in range(int(MAX_WAIT))]
    assert waits[-1] == MAX_WAIT
    with pytest.raises(LoginFailed, match="Try again in 11 seconds"):
        throttle.wait_for("10.2.2.2")
    assert throttle.wait_for("10.3.3.3") < 5
    now[0] += 61
    assert throttle.wait_for("10.2.2.2") == 0


async def test_clients_behind_a_proxy_are_told_apart(tmp_path: Path) -> None:
    """With TRUSTED_PROXIES the guesses of one client do not slow another one down."""
    async with (
        running(settings(tmp_path, admin_password=PASSWORD, trusted_proxies=1)) as service,
        httpx.AsyncClient(transport=service.transport, base_url="http://service") as client,
    ):
        theirs = {"X-Forwarded-For": "198.51.100.9, 203.0.113.7"}
        for _ in range(FREE):
            guess = await client.post("/dashboard/login", data={"password": "guess"}, headers=theirs)
            assert guess.status_code == 403
        mine = {"X-Forwarded-For": "203.0.113.7, 198.51.100.9"}
        begun = time.monotonic()
        right = await client.post("/dashboard/login", data={"password": PASSWORD}, headers=mine)

    assert right.status_code == 303
    assert time.monotonic() - begun < 1.0


async def test_a_password_is_made_once(database: Database) -> None:
    """Where none is set one is made, kept encrypted, and the same for all that share the database."""
    made = await database.write(load_or_create_password, VAULT, None)
    again = await database.write(load_or_create_password, VAULT, None)

    assert (made.generated, made.text, len(made.text)) == (True, again.text, 20)
    with pytest.raises(ConfigurationError, match="8 characters"):
        await database.write(load_or_create_password, VAULT, "short")


async def test_nobody_is_asked_for_an_empty_password(tmp_path: Path) -> None:
    """A service that has no password set cannot be entered with none."""
    async with (
        running(settings(tmp_path)) as service,
        httpx.AsyncClient(transport=service.transport, base_url="http://service") as client,
    ):
        assert (await client.post("/dashboard/login", data={"password": ""})).status_code == 403
        assert (await client.post("/dashboard/login", content=b"x" * 3_000_000)).status_code == 400


@pytest.mark.parametrize("scheme", ["HTTPS", "https,http", "https, http"])
async def test_the_cookie_behind_several_proxies(stranger: httpx.AsyncClient, scheme: str) -> None:
    """The cookie is Secure where the client's own connection has TLS, whatever the proxies behind it use."""
    headers = {"X-Forwarded-Proto": scheme}
    answer = await stranger.post("/dashboard/login", data={"password": PASSWORD}, headers=headers)

    assert "Secure" in answer.headers["set-cookie"].split("; ")

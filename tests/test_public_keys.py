"""Public keys: Segment's SDKs in browsers and apps, by Segment's HTTP Tracking API."""

from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from prosperstack_destination.auth import credentials as issuing
from prosperstack_destination.clock import system_clock
from prosperstack_destination.ingest.address_rate import BURST
from prosperstack_destination.ingest.documented_call import DOCUMENTED_CALL
from prosperstack_destination.ingest.tracking_api import SHORT_KINDS
from prosperstack_destination.store import accounts, credentials
from prosperstack_destination.store.accounts import Account
from prosperstack_destination.store.credentials import CredentialKind
from prosperstack_destination.store.database import Database
from support.service import KEY, Service, running, settings

pytestmark = pytest.mark.anyio

JOHN = "john.doe@example.com"
PAGE, OTHER = "https://app.example.com", "https://evil.example"
ALLOWED = "access-control-allow-origin"


class Site:
    """A service with an account, and its public keys: of a page, and of an app."""

    def __init__(self, service: Service, database: Database, account: Account, keys: dict[str, str]) -> None:
        self.service = service
        self.database = database
        self.account = account
        self.page_key, self.app_key = keys["page"], keys["app"]

    async def post(
        self, path: str, content: Any, key: str | None = None, origin: str | None = PAGE
    ) -> httpx.Response:
        """Post as analytics.js does: the key in the header and in the body."""
        shown = key or self.page_key
        headers = {} if origin is None else {"Origin": origin}
        body = {**content, "writeKey": shown}
        return await self.service.client.post(path, json=body, headers=headers, auth=(shown, ""))

    async def preflight(self, path: str, origin: str, method: str = "POST") -> httpx.Response:
        """Ask as a browser does before it posts."""
        headers = {
            "Origin": origin,
            "Access-Control-Request-Method": method,
            "Access-Control-Request-Headers": "authorization,content-type",
        }
        return await self.service.client.options(path, headers=headers, auth=httpx.Auth())


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with running(settings(tmp_path)) as service:
        await service.identify(JOHN, plan="x")
        database = Database(f"sqlite:///{tmp_path / 'data/destination.db'}")
        [account] = await database.read(accounts.all_accounts)

        def issue(connection: Any) -> dict[str, str]:
            now = system_clock()
            return {
                "page": issuing.issue_key(connection, account, "page", "test", now, origins=[PAGE]).text,
                "app": issuing.issue_key(connection, account, "app", "test", now, origins=[]).text,
            }

        yield Site(service, database, account, await database.write(issue))
        await database.close()


@pytest.mark.parametrize("path", ["/v1/i", "/v1/identify"])
async def test_a_page_identifies(site: Site, path: str) -> None:
    """A page of the key's origin identifies, and may read the answer."""
    answer = await site.post(path, DOCUMENTED_CALL)

    assert (answer.status_code, answer.json()) == (200, {"success": True})
    assert (answer.headers[ALLOWED], answer.headers["vary"]) == (PAGE, "Origin")
    await site.service.until(lambda: site.service.values(JOHN)[0]["preferred_name"] == "Johnny")


@pytest.mark.parametrize("path", [f"/v1/{kind}" for kind in SHORT_KINDS])
async def test_short_names_are_understood(site: Site, path: str) -> None:
    """Each short name takes what the long one takes, from a server as well, and gives it no CORS answer."""
    await site.post("/v1/i", DOCUMENTED_CALL)  # an alias needs an ID whose email is known
    single = {**DOCUMENTED_CALL, "type": None, "previousId": "former"}
    content = {"batch": [DOCUMENTED_CALL]} if path == "/v1/b" else single
    answers = [await site.post(path, content), await site.post(path, content, key=KEY)]

    assert [(answer.status_code, answer.json()) for answer in answers] == [(200, {"success": True})] * 2
    assert [answer.headers.get(ALLOWED) for answer in answers] == [PAGE, None]


async def test_an_app_identifies(site: Site) -> None:
    """An app sends batches without an origin, with the key in the body alone; its key is for no page."""
    batch = {"batch": [DOCUMENTED_CALL, {"type": "track"}], "writeKey": site.app_key}
    answer = await site.service.client.post("/v1/b", json=batch, auth=httpx.Auth())
    of_page = await site.post("/v1/b", batch, key=site.app_key)

    assert (answer.status_code, answer.json()) == (200, {"success": True})
    assert ALLOWED not in answer.headers
    assert (of_page.status_code, of_page.headers.get(ALLOWED)) == (403, None)


@pytest.mark.parametrize("origin", [OTHER, "null", f"{PAGE}.evil.example", "http://app.example.com", None])
async def test_other_origins_are_refused(site: Site, origin: str | None) -> None:
    """A call from another page than the key's, or from none, changes nothing and may not be read."""
    answer = await site.post("/v1/i", DOCUMENTED_CALL, origin=origin)
    asked = await site.service.client.get(
        f"/v1/projects/{site.page_key}/settings", headers={} if origin is None else {"Origin": origin}
    )

    assert (answer.status_code, asked.status_code) == (403, 403)
    assert "other origins" in answer.json()["message"]
    assert ALLOWED not in answer.headers
    assert ALLOWED not in asked.headers
    assert site.service.values(JOHN)[0]["preferred_name"] != "Johnny"


async def test_a_secret_key_gets_no_cors_answer(site: Site) -> None:
    """A page that shows a secret key may not read the answer, whatever its origin."""
    answer = await site.post("/v1/i", DOCUMENTED_CALL, key=KEY)

    assert (answer.status_code, answer.headers.get(ALLOWED)) == (200, None)


@pytest.mark.parametrize("path", ["/v1/i", "/v1/b", "/v1/m", "/v1/batch", "/v1/projects/any/settings"])
async def test_preflight(site: Site, path: str) -> None:
    """A browser may ask for the origins of public keys, and for no others."""
    good, bad = await site.preflight(path, PAGE), await site.preflight(path, OTHER)

    assert good.status_code == 204
    assert good.headers[ALLOWED] == PAGE
    assert good.headers["access-control-allow-headers"] == "authorization,content-type"
    assert ("GET" if "settings" in path else "POST") in good.headers["access-control-allow-methods"]
    assert bad.status_code == 403
    assert not [name for name in bad.headers if name.startswith("access-control")]


@pytest.mark.parametrize("path", ["/identify", "/healthz", "/api/accounts", "/dashboard"])
async def test_no_other_route_answers_pages(site: Site, path: str) -> None:
    """What is no SDK's route has no CORS answer, of a public key's origin either."""
    asked = await site.preflight(path, PAGE)
    sent = await site.service.client.get(path, headers={"Origin": PAGE})

    assert ALLOWED not in asked.headers
    assert ALLOWED not in sent.headers


async def test_a_public_key_opens_nothing_else(site: Site) -> None:
    """A public key only identifies: no other route takes it, and no Delete call comes with it."""
    deletion = {"type": "delete", "userId": "u1"}
    refused = [
        await site.post("/identify", DOCUMENTED_CALL),
        await site.post(f"/webhook/{site.account.id}", DOCUMENTED_CALL),
        await site.post("/v1/identify", deletion),
    ]
    batch = await site.post("/v1/batch", {"batch": [DOCUMENTED_CALL, deletion]})

    assert [answer.status_code for answer in refused] == [403, 403, 403]
    assert "public key" in refused[0].json()["message"]
    assert [each["index"] for each in batch.json()["refused"]] == [1]


async def test_calls_are_limited_by_address(site: Site) -> None:
    """More calls than a burst are told to come later, which the page may read; track calls are not counted."""
    tracked = await site.post("/v1/b", {"batch": [{"type": "track"}] * BURST})
    first = await site.post("/v1/b", {"batch": [{"type": "identify", "email": JOHN}] * (BURST - 1)})
    second = await site.post("/v1/b", {"batch": [DOCUMENTED_CALL] * BURST})
    server = await site.post("/v1/identify", DOCUMENTED_CALL, key=KEY)

    assert [answer.status_code for answer in (tracked, first, second, server)] == [200, 200, 429, 200]
    assert second.json()["code"] == "try_later"
    assert int(second.headers["retry-after"]) >= 1
    assert second.headers[ALLOWED] == PAGE


async def test_the_settings_of_analytics_js(site: Site) -> None:
    """The settings name this host for calls, and nothing else to load, for public keys alone."""
    url = f"/v1/projects/{site.page_key}/settings"
    answer = await site.service.client.get(url, headers={"Origin": PAGE}, auth=httpx.Auth())
    proxied = await site.service.client.get(
        url, headers={"Origin": PAGE, "Host": "d.example.com", "X-Forwarded-Proto": "https"}, auth=httpx.Auth()
    )
    secret = await site.service.client.get(f"/v1/projects/{KEY}/settings", headers={"Origin": PAGE})
    unknown = await site.service.client.get("/v1/projects/psp_nonsense/settings", headers={"Origin": PAGE})

    assert (answer.status_code, answer.headers[ALLOWED]) == (200, PAGE)
    assert list(answer.json()["integrations"]) == ["Segment.io"]
    segment = proxied.json()["integrations"]["Segment.io"]
    assert (segment["apiKey"], segment["apiHost"]) == (site.page_key, "d.example.com/v1")
    assert segment["protocol"] == "https"
    assert (secret.status_code, secret.headers.get(ALLOWED)) == (403, None)
    assert "Only a public key may be in a URL" in secret.text
    assert (unknown.status_code, unknown.headers.get(ALLOWED)) == (401, None)


async def test_metrics_of_sdks_are_not_kept(site: Site) -> None:
    """What an SDK says of itself comes without a key, and is answered as received."""
    answer = await site.service.client.post(
        "/v1/m", json={"series": []}, headers={"Origin": PAGE}, auth=httpx.Auth()
    )

    assert (answer.status_code, answer.json(), answer.headers[ALLOWED]) == (200, {"success": True}, PAGE)


async def test_a_revoked_key_is_refused(site: Site) -> None:
    """A public key is listed with its kind, its origins and its use; once it is revoked it is refused."""
    await site.post("/v1/i", DOCUMENTED_CALL)
    known = {
        each.name: each
        for each in await site.database.read(credentials.of_kind, CredentialKind.KEY, site.account.id)
    }
    page, app = known["page"], known["app"]
    assert (page.key_kind, page.origins, app.key_kind, app.origins) == ("public", (PAGE,), "public", ())
    assert page.last_used_at is not None
    assert app.last_used_at is None

    await site.database.write(issuing.revoke, CredentialKind.KEY, site.account, page.id, "test", system_clock())
    while (await site.post("/v1/i", DOCUMENTED_CALL)).status_code != 401:
        pass  # keys are cached for two seconds
    assert (await site.preflight("/v1/i", PAGE)).status_code == 403


async def test_the_key_may_be_in_either_place(site: Site) -> None:
    """The key counts in the header or in the body; one in the body does not widen a public one."""
    authorization = "Basic " + b64encode(f"{site.page_key}:".encode()).decode()
    mixed = await site.service.client.post(
        "/v1/identify",
        json={"type": "delete", "userId": "u1", "writeKey": KEY},
        headers={"Origin": PAGE, "Authorization": authorization},
        auth=httpx.Auth(),
    )
    body = await site.service.client.post(
        "/v1/i", json={**DOCUMENTED_CALL, "writeKey": site.page_key}, headers={"Origin": PAGE}, auth=httpx.Auth()
    )

    assert (mixed.status_code, body.status_code) == (403, 200)

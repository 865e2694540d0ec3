"""Compressed bodies, byte order marks and halves of emojis on every receiving route of the service."""

import gzip
import json
import zlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from prosperstack_destination.auth import credentials as issuing
from prosperstack_destination.auth.vault import Vault
from prosperstack_destination.clock import system_clock
from prosperstack_destination.ingest.signature import sign
from prosperstack_destination.store import accounts
from prosperstack_destination.store.database import Database
from support.connectors import issue_token
from support.service import Service, running, settings

pytestmark = pytest.mark.anyio

JOHN = "john.doe@example.com"
ROUTES = ["identify", "identify array", "webhook", "v1/identify", "v1/batch", "data-connector", "flow-webhook"]
BOM = b"\xef\xbb\xbf"


class Routes:
    """The receiving routes of a service: what may be posted to each, and how its answer shows that it was read."""

    def __init__(self, service: Service, account: accounts.Account, token: str, secret: str) -> None:
        self.service = service
        self._account = account
        self._token = token
        self._secret = secret

    async def post(
        self, route: str, encode: Callable[[bytes], bytes] = bytes, encoding: str | None = None
    ) -> tuple[int, str]:
        """Post a good body to a route; the status and the text of its answer."""
        path, content = self._request(route)
        body = json.dumps(content).encode()
        headers = {} if encoding is None else {"Content-Encoding": encoding}
        if route == "webhook":
            headers["X-Signature"] = sign(body, self._secret)
        answer = await self.service.client.post(f"/{path}", content=encode(body), headers=headers)
        return answer.status_code, answer.text

    def _request(self, route: str) -> tuple[str, object]:
        event = {"type": "identify", "userId": "u1", "traits": {"email": JOHN, "preferred_name": "x"}}
        subscriber = {"data": {"subscriber": {"email": JOHN}}}
        requests: dict[str, tuple[str, object]] = {
            "identify": ("identify", event),
            "identify array": ("identify", [event, event]),
            "webhook": (f"webhook/{self._account.id}", event),
            "v1/identify": ("v1/identify", event),
            "v1/batch": ("v1/batch", {"batch": [event]}),
            "data-connector": (f"data-connector/{self._token}", subscriber),
            "flow-webhook": (f"flow-webhook/{self._token}", {"event": "flow_session_started", **subscriber}),
        }
        return requests[route]


@pytest.fixture
async def routes(tmp_path: Path) -> AsyncIterator[Routes]:
    async with running(settings(tmp_path)) as service:
        await service.identify(JOHN, preferred_name="x")
        database = Database(f"sqlite:///{tmp_path / 'data/destination.db'}")
        [account] = await database.read(accounts.all_accounts)
        token = await database.write(issue_token, account.id)
        vault = Vault("a secret that is long enough")
        secret = (await database.write(issuing.issue_secret, account, "", vault, "test", system_clock())).text
        yield Routes(service, account, token, secret)
        await database.close()


@pytest.mark.parametrize("route", ROUTES)
async def test_compressed_bodies_are_read(routes: Routes, route: str) -> None:
    """A body that is compressed by gzip or deflate is answered as the plain one is."""
    plain = await routes.post(route)

    assert plain[0] in (200, 202)
    assert plain[1] not in ("{}", "[]")
    assert await routes.post(route, gzip.compress, "gzip") == plain
    assert await routes.post(route, zlib.compress, "deflate") == plain


@pytest.mark.parametrize("route", ROUTES)
async def test_other_encodings_are_answered_415(routes: Routes, route: str) -> None:
    """An encoding that is not understood is named; nothing is lost behind a 200."""
    status, text = await routes.post(route, encoding="br")

    assert status == 415
    assert "'br' is not understood" in text


@pytest.mark.parametrize("route", [each for each in ROUTES if each != "webhook"])
async def test_a_byte_order_mark_is_skipped(routes: Routes, route: str) -> None:
    """A body with a byte order mark is answered as the one without."""
    assert await routes.post(route, lambda body: BOM + body) == await routes.post(route)


async def test_half_an_emoji_costs_one_character(routes: Routes) -> None:
    """One event with half an emoji is kept, and so are the others of its batch."""
    events = b'[{"traits": {"email": "john.doe@example.com", "preferred_name": "Jo \\ud83d"}}, {"email": "a@b.c"}]'
    batch = b'{"batch": [{"type": "identify", "email": "a@b.c", "traits": {"note": "\\ude00"}}]}'

    array = await routes.service.client.post("/identify", content=events)
    tracked = await routes.service.client.post("/v1/batch", content=batch)

    assert (array.json(), tracked.json()) == ({"message": "Accepted 2 of 2 events."}, {"success": True})
    await routes.service.until(lambda: routes.service.values(JOHN)[0]["preferred_name"] == "Jo \ufffd")

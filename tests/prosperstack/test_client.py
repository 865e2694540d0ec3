"""The client, also with invalid responses."""

import asyncio
import base64
import gzip
import json
from collections.abc import AsyncIterator

import httpx
import pytest
import respx
from pydantic import JsonValue

from prosperstack_destination.errors import (
    ProsperStackAuthError,
    ProsperStackError,
    ProsperStackNotFound,
    ProsperStackRateLimited,
    ProsperStackRejected,
    ProsperStackUnavailable,
)
from prosperstack_destination.http_client import MAX_RESPONSE_BYTES, create_http_client
from prosperstack_destination.prosperstack.budget import RateLimit
from prosperstack_destination.prosperstack.client import ProsperStackClient

pytestmark = pytest.mark.anyio

SUBSCRIBER = {
    "id": "subr_1",
    "platform_id": "cus_1",
    "email": "Jane@Example.com",
    "properties": [
        {"property": {"key": "seats", "type": "number"}, "value": 5, "formatted_value": "5"},
        {"property": {"key": "blank"}, "value": ""},
        {"property": {"key": "none"}, "value": None},
    ],
    "something": "new",
}


async def test_lookup_by_email(api: respx.Router, client: ProsperStackClient) -> None:
    """A lookup authenticates with the key as user name, requests full pages, and ignores new fields."""
    route = api.get("/subscribers").respond(json={"data": [SUBSCRIBER], "next_cursor": "c2"})

    page = await client.find_subscribers("jane+x@example.com", "c1")

    request = route.calls.last.request
    assert request.headers["Authorization"] == "Basic " + base64.b64encode(b"key_test_abc:").decode()
    assert dict(request.url.params) == {"email": "jane+x@example.com", "limit": "100", "cursor": "c1"}
    assert page.next_cursor == "c2"
    assert page.data[0].email == "Jane@Example.com"
    assert page.data[0].values() == {"seats": 5}


async def test_update_returns_the_subscriber(api: respx.Router, client: ProsperStackClient) -> None:
    """An update sends keys and values, including null, and returns the updated subscriber."""
    route = api.patch("/subscribers/subr_1").respond(json=SUBSCRIBER)

    answer = await client.update_subscriber("subr_1", {"seats": 5, "plan": None})

    assert json.loads(route.calls.last.request.content) == {"properties": {"seats": 5, "plan": None}}
    assert answer.values() == {"seats": 5}


async def test_id_stays_one_path_segment(api: respx.Router, client: ProsperStackClient) -> None:
    """An id with any characters does not change the path."""
    route = api.patch(url__regex=r".*").respond(json=SUBSCRIBER)

    await client.update_subscriber("../a/b?c", {})

    assert route.calls.last.request.url.raw_path == b"/v1/subscribers/..%2Fa%2Fb%3Fc"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, ProsperStackRejected),
        (401, ProsperStackAuthError),
        (402, ProsperStackRejected),
        (403, ProsperStackAuthError),
        (404, ProsperStackNotFound),
        (408, ProsperStackUnavailable),
        (409, ProsperStackRejected),
        (422, ProsperStackRejected),
        (425, ProsperStackUnavailable),
        (429, ProsperStackRateLimited),
        (500, ProsperStackUnavailable),
        (503, ProsperStackUnavailable),
        (504, ProsperStackUnavailable),
        (301, ProsperStackUnavailable),
        (304, ProsperStackUnavailable),
    ],
)
async def test_statuses_become_errors(
    api: respx.Router, client: ProsperStackClient, status: int, kind: type[ProsperStackError]
) -> None:
    """Each status becomes its error."""
    api.get("/subscribers").respond(status, json={"error": "it is so"})

    with pytest.raises(kind) as caught:
        await client.find_subscribers("a@b.c")

    assert type(caught.value) is kind
    assert caught.value.status_code == status


async def test_error_text_is_kept(api: respx.Router, client: ProsperStackClient) -> None:
    """A rejection carries ProsperStack's error text."""
    api.patch("/subscribers/s").respond(400, json={"error": "seats must be a number"})

    with pytest.raises(ProsperStackRejected) as caught:
        await client.update_subscriber("s", {"seats": "x"})

    assert str(caught.value) == "seats must be a number"


async def test_long_error_text_is_cut(api: respx.Router, client: ProsperStackClient) -> None:
    """A long error text keeps its beginning."""
    api.patch("/subscribers/s").respond(400, json={"error": "no " * 5_000})

    with pytest.raises(ProsperStackRejected) as caught:
        await client.update_subscriber("s", {"seats": "x"})

    assert str(caught.value).startswith("no no ")
    assert len(str(caught.value)) == 500


@pytest.mark.parametrize(
    "response",
    [
        httpx.Response(200, html="<h1>Maintenance</h1>"),
        httpx.Response(200, text=""),
        httpx.Response(200, json=[]),
        httpx.Response(200, json={"data": [{"id": 5}]}),
        httpx.Response(204),
        httpx.Response(500, html="<h1>Oops</h1>"),
        httpx.Response(302, headers={"Location": "https://evil.test/v1/subscribers"}),
    ],
)
async def test_invalid_response_is_unavailable(
    api: respx.Router, client: ProsperStackClient, response: httpx.Response
) -> None:
    """HTML, other content and redirects are errors; a redirect is never followed with the key."""
    api.get("/subscribers").mock(return_value=response)

    with pytest.raises(ProsperStackUnavailable):
        await client.find_subscribers("a@b.c")

    assert len(api.calls) == 1


@pytest.mark.parametrize(
    "failure", [httpx.ConnectError("no"), httpx.ReadTimeout("slow"), httpx.RemoteProtocolError("cut off")]
)
async def test_missing_response_is_unavailable(
    api: respx.Router, client: ProsperStackClient, failure: Exception
) -> None:
    """The error for a missing response contains nothing of the request."""
    api.get("/subscribers").mock(side_effect=failure)

    with pytest.raises(ProsperStackUnavailable) as caught:
        await client.find_subscribers("secret@person.test")

    assert caught.value.status_code is None
    assert "secret" not in str(caught.value)


async def test_oversized_response_is_rejected(api: respx.Router, client: ProsperStackClient) -> None:
    """A response larger than any real one is rejected."""
    api.get("/subscribers").respond(content=b" " * (MAX_RESPONSE_BYTES + 1))

    with pytest.raises(ProsperStackUnavailable, match="more than 8 MB"):
        await client.find_subscribers("a@b.c")


class Pieces(httpx.AsyncByteStream):
    """A body that is sent unencoded, in chunks."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.sent = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Send it in chunks of 1 KB."""
        for start in range(0, len(self.body), 1024):
            self.sent += 1
            yield self.body[start : start + 1024]


@pytest.mark.parametrize("encoding", ["gzip", "gzip, gzip", "deflate", "identity, gzip", "br", "zstd"])
async def test_compressed_response_is_not_inflated(
    api: respx.Router, client: ProsperStackClient, encoding: str
) -> None:
    """A compressed response, which may expand from KB to GB, is rejected before its body is read."""
    bomb = Pieces(gzip.compress(gzip.compress(b" " * 10_000_000)))
    api.get("/subscribers").mock(
        return_value=httpx.Response(200, headers={"Content-Encoding": encoding}, stream=bomb)
    )

    with pytest.raises(ProsperStackUnavailable, match="is compressed"):
        await client.find_subscribers("a@b.c")

    assert bomb.sent == 0


async def test_uncompressed_responses_are_requested(api: respx.Router) -> None:
    """The service's client requests uncompressed responses, and reads one that is marked so."""
    headers = {"Content-Encoding": "identity"}
    route = api.get("/subscribers").respond(json={"data": [SUBSCRIBER]}, headers=headers)
    async with create_http_client(httpx.MockTransport(api.async_handler)) as http:
        page = await ProsperStackClient(http, "https://api.prosperstack.test/v1", "key_abc").find_subscribers(
            "a@b.c"
        )

    assert route.calls.last.request.headers["Accept-Encoding"] == "identity"
    assert len(page.data) == 1


@pytest.mark.parametrize(
    "answer",
    [
        {"data": [], "next_cursor": "c" * 1_025},
        {"data": [], "next_cursor": "\N{SNOWMAN}" * 342},
        {"data": [{**SUBSCRIBER, "id": "i" * 1_025}]},
        {"data": [SUBSCRIBER, {**SUBSCRIBER, "platform_id": "i" * 1_025}]},
        {"data": [{**SUBSCRIBER, "properties": [{"property": {"key": "k" * 1_025}}]}]},
        {"data": [{**SUBSCRIBER, "properties": [{"property": {"key": "k"}}] * 1_001}]},
        {"data": [SUBSCRIBER] * 1_001},
    ],
    ids=["cursor", "cursor in bytes", "id", "platform id", "key", "properties", "items"],
)
async def test_ids_and_lists_are_bounded(
    api: respx.Router, client: ProsperStackClient, answer: dict[str, JsonValue]
) -> None:
    """A cursor or id of more than 1 KB, or a list of more than 1,000, is an error, and is not quoted."""
    api.get("/subscribers").respond(json=answer)

    with pytest.raises(ProsperStackUnavailable, match="more than") as caught:
        await client.find_subscribers("a@b.c")

    assert len(str(caught.value)) < 300


async def test_too_long_email_is_dropped(api: respx.Router, client: ProsperStackClient) -> None:
    """One invalid email does not fail the whole page."""
    api.get("/subscribers").respond(json={"data": [{**SUBSCRIBER, "email": "e" * 1_025}, SUBSCRIBER]})

    page = await client.find_subscribers("a@b.c")

    assert [each.email for each in page.data] == ["", "Jane@Example.com"]


async def test_large_page_does_not_block_the_event_loop(api: respx.Router, client: ProsperStackClient) -> None:
    """While the 1,000 items of a page are parsed, other tasks run."""
    api.get("/subscribers").respond(json={"data": [SUBSCRIBER] * 1_000})
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    page = await client.find_subscribers("a@b.c")
    counting.cancel()

    assert len(page.data) == 1_000
    assert turns >= 100


async def test_every_response_reports_the_rate_limit(
    api: respx.Router, client: ProsperStackClient, reported: list[RateLimit | None]
) -> None:
    """Successful and failed responses report the rate limit; one without headers reports none."""
    headers = {"RateLimit-Limit": "100", "RateLimit-Remaining": "7", "RateLimit-Reset": "30"}
    api.get("/subscribers").mock(
        side_effect=[
            httpx.Response(200, json={"data": []}, headers=headers),
            httpx.Response(429, headers={**headers, "RateLimit-Remaining": "0"}),
            httpx.Response(200, json={"data": []}),
        ]
    )

    await client.find_subscribers("a@b.c")
    with pytest.raises(ProsperStackRateLimited) as caught:
        await client.find_subscribers("a@b.c")
    await client.find_subscribers("a@b.c")

    assert reported == [RateLimit(100, 7, 30.0), RateLimit(100, 0, 30.0), None]
    assert caught.value.retry_after == 30.0


@pytest.mark.parametrize(
    ("headers", "retry_after"),
    [
        ({}, None),
        ({"Retry-After": "5"}, 5.0),
        ({"Retry-After": "5", "RateLimit-Reset": "9"}, 9.0),
        ({"Retry-After": "120.0"}, 120.0),
        ({"Retry-After": " 1.5 "}, 1.5),
        # A date counts from the response's own clock.
        ({"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT", "Date": "Wed, 21 Oct 2026 07:27:30 GMT"}, 30.0),
        ({"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT", "Date": "Wed, 21 Oct 2026 07:29:00 GMT"}, 0.0),
        ({"Retry-After": "Wed, 21 Oct 2099 07:28:00 GMT"}, 3_600.0),
        ({"RateLimit-Reset": "30.25"}, 30.25),
        ({"Retry-After": "-1"}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "1e3"}, None),
    ],
)
async def test_later_of_the_429_times_is_used(
    api: respx.Router, client: ProsperStackClient, headers: dict[str, str], retry_after: float | None
) -> None:
    """The later time that a 429 names is used; an invalid one is ignored."""
    api.get("/subscribers").respond(429, headers=headers)

    with pytest.raises(ProsperStackRateLimited) as caught:
        await client.find_subscribers("a@b.c")

    assert caught.value.retry_after == retry_after


async def test_unstorable_characters_are_replaced(api: respx.Router, client: ProsperStackClient) -> None:
    """U+0000 and lone surrogates in ids, cursors and error texts become U+FFFD, and the account continues."""
    odd = r'{"data": [{"id": "a\u0000", "email": "b\ud800@c.d", "properties": []}], "next_cursor": "\u0000"}'
    api.get("/subscribers").respond(content=odd.encode())
    api.patch("/subscribers/a").respond(400, content=rb'{"error": "no \u0000 such \udfff"}')

    page = await client.find_subscribers("b@c.d")
    with pytest.raises(ProsperStackRejected) as refused:
        await client.update_subscriber("a", {})

    assert (page.data[0].id, page.data[0].email, page.next_cursor) == ("a\ufffd", "b\ufffd@c.d", "\ufffd")
    assert str(refused.value) == "no \ufffd such \ufffd"


async def test_endless_wait_is_capped(api: respx.Router, client: ProsperStackClient) -> None:
    """A wait of hundreds of digits is an hour."""
    api.get("/subscribers").respond(503, headers={"Retry-After": "9" * 400})

    with pytest.raises(ProsperStackUnavailable) as failed:
        await client.find_subscribers("b@c.d")

    assert failed.value.retry_after == 3_600

"""The client, and what it makes of odd answers."""

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


async def test_a_lookup_by_email(api: respx.Router, client: ProsperStackClient) -> None:
    """A lookup authenticates with the key as user name, asks for full pages, and tolerates what is new."""
    route = api.get("/subscribers").respond(json={"data": [SUBSCRIBER], "next_cursor": "c2"})

    page = await client.find_subscribers("jane+x@example.com", "c1")

    request = route.calls.last.request
    assert request.headers["Authorization"] == "Basic " + base64.b64encode(b"key_test_abc:").decode()
    assert dict(request.url.params) == {"email": "jane+x@example.com", "limit": "100", "cursor": "c1"}
    assert page.next_cursor == "c2"
    assert page.data[0].email == "Jane@Example.com"
    assert page.data[0].values() == {"seats": 5}


async def test_an_update(api: respx.Router, client: ProsperStackClient) -> None:
    """An update sends keys and values, null among them, and answers the subscriber as it is now."""
    route = api.patch("/subscribers/subr_1").respond(json=SUBSCRIBER)

    answer = await client.update_subscriber("subr_1", {"seats": 5, "plan": None})

    assert json.loads(route.calls.last.request.content) == {"properties": {"seats": 5, "plan": None}}
    assert answer.values() == {"seats": 5}


async def test_an_id_stays_one_segment_of_the_path(api: respx.Router, client: ProsperStackClient) -> None:
    """Whatever an id is made of, it does not lead elsewhere."""
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
    """Each status becomes the error that says what to do next."""
    api.get("/subscribers").respond(status, json={"error": "it is so"})

    with pytest.raises(kind) as caught:
        await client.find_subscribers("a@b.c")

    assert type(caught.value) is kind
    assert caught.value.status_code == status


async def test_prosperstacks_own_words_are_kept(api: respx.Router, client: ProsperStackClient) -> None:
    """A rejection carries the error text as ProsperStack gave it."""
    api.patch("/subscribers/s").respond(400, json={"error": "seats must be a number"})

    with pytest.raises(ProsperStackRejected) as caught:
        await client.update_subscriber("s", {"seats": "x"})

    assert str(caught.value) == "seats must be a number"


async def test_words_without_end_are_cut(api: respx.Router, client: ProsperStackClient) -> None:
    """Of an error text that is longer than anybody reads the beginning is kept."""
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
async def test_answers_that_mean_nothing(
    api: respx.Router, client: ProsperStackClient, response: httpx.Response
) -> None:
    """HTML, no JSON, other JSON and redirects are no answers; a redirect is never followed with the key."""
    api.get("/subscribers").mock(return_value=response)

    with pytest.raises(ProsperStackUnavailable):
        await client.find_subscribers("a@b.c")

    assert len(api.calls) == 1


@pytest.mark.parametrize(
    "failure", [httpx.ConnectError("no"), httpx.ReadTimeout("slow"), httpx.RemoteProtocolError("cut off")]
)
async def test_no_answer(api: respx.Router, client: ProsperStackClient, failure: Exception) -> None:
    """Where no answer comes, that is told without anything of the request."""
    api.get("/subscribers").mock(side_effect=failure)

    with pytest.raises(ProsperStackUnavailable) as caught:
        await client.find_subscribers("secret@person.test")

    assert caught.value.status_code is None
    assert "secret" not in str(caught.value)


async def test_an_answer_without_end_is_not_read(api: respx.Router, client: ProsperStackClient) -> None:
    """An answer that is larger than any real one is given up."""
    api.get("/subscribers").respond(content=b" " * (MAX_RESPONSE_BYTES + 1))

    with pytest.raises(ProsperStackUnavailable, match="more than 8 MB"):
        await client.find_subscribers("a@b.c")


class Pieces(httpx.AsyncByteStream):
    """A body that is sent as it is, piece by piece."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.sent = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Send it in pieces of 1 KB."""
        for start in range(0, len(self.body), 1024):
            self.sent += 1
            yield self.body[start : start + 1024]


@pytest.mark.parametrize("encoding", ["gzip", "gzip, gzip", "deflate", "identity, gzip", "br", "zstd"])
async def test_a_compressed_answer_is_not_inflated(
    api: respx.Router, client: ProsperStackClient, encoding: str
) -> None:
    """A compressed answer, which a few KB of may be GB of, is refused before its body is read."""
    bomb = Pieces(gzip.compress(gzip.compress(b" " * 10_000_000)))
    api.get("/subscribers").mock(
        return_value=httpx.Response(200, headers={"Content-Encoding": encoding}, stream=bomb)
    )

    with pytest.raises(ProsperStackUnavailable, match="is compressed"):
        await client.find_subscribers("a@b.c")

    assert bomb.sent == 0


async def test_answers_are_asked_for_as_they_are(api: respx.Router) -> None:
    """The service's client asks for answers that are not compressed, and reads one that says so."""
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
    """A cursor or id of more than 1 KB, or a list of more than 1,000, is no answer, and is not quoted."""
    api.get("/subscribers").respond(json=answer)

    with pytest.raises(ProsperStackUnavailable, match="more than") as caught:
        await client.find_subscribers("a@b.c")

    assert len(str(caught.value)) < 300


async def test_an_email_that_is_too_long_is_nobodys(api: respx.Router, client: ProsperStackClient) -> None:
    """One odd email does not take the page with it."""
    api.get("/subscribers").respond(json={"data": [{**SUBSCRIBER, "email": "e" * 1_025}, SUBSCRIBER]})

    page = await client.find_subscribers("a@b.c")

    assert [each.email for each in page.data] == ["", "Jane@Example.com"]


async def test_a_large_page_does_not_hold_up_the_event_loop(api: respx.Router, client: ProsperStackClient) -> None:
    """While the 1,000 items of a page are read, others have their turns."""
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


async def test_every_answer_tells_the_rate_limit(
    api: respx.Router, client: ProsperStackClient, told: list[RateLimit | None]
) -> None:
    """Good answers and bad ones tell the rate limit; an answer without headers tells that there is none."""
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

    assert told == [RateLimit(100, 7, 30.0), RateLimit(100, 0, 30.0), None]
    assert caught.value.retry_after == 30.0


@pytest.mark.parametrize(
    ("headers", "retry_after"),
    [
        ({}, None),
        ({"Retry-After": "5"}, 5.0),
        ({"Retry-After": "5", "RateLimit-Reset": "9"}, 9.0),
        ({"Retry-After": "120.0"}, 120.0),
        ({"Retry-After": " 1.5 "}, 1.5),
        # A date counts from the answer's own clock.
        ({"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT", "Date": "Wed, 21 Oct 2026 07:27:30 GMT"}, 30.0),
        ({"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT", "Date": "Wed, 21 Oct 2026 07:29:00 GMT"}, 0.0),
        ({"Retry-After": "Wed, 21 Oct 2099 07:28:00 GMT"}, 3_600.0),
        ({"RateLimit-Reset": "30.25"}, 30.25),
        ({"Retry-After": "-1"}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "1e3"}, None),
    ],
)
async def test_when_to_come_back_after_a_429(
    api: respx.Router, client: ProsperStackClient, headers: dict[str, str], retry_after: float | None
) -> None:
    """The later of the times that a 429 names is taken; what is none is none."""
    api.get("/subscribers").respond(429, headers=headers)

    with pytest.raises(ProsperStackRateLimited) as caught:
        await client.find_subscribers("a@b.c")

    assert caught.value.retry_after == retry_after


async def test_an_answer_that_cannot_be_stored_as_it_is(api: respx.Router, client: ProsperStackClient) -> None:
    """U+0000 and lone surrogates in ids, cursors and error texts become U+FFFD, and the account goes on."""
    odd = r'{"data": [{"id": "a\u0000", "email": "b\ud800@c.d", "properties": []}], "next_cursor": "\u0000"}'
    api.get("/subscribers").respond(content=odd.encode())
    api.patch("/subscribers/a").respond(400, content=rb'{"error": "no \u0000 such \udfff"}')

    page = await client.find_subscribers("b@c.d")
    with pytest.raises(ProsperStackRejected) as refused:
        await client.update_subscriber("a", {})

    assert (page.data[0].id, page.data[0].email, page.next_cursor) == ("a\ufffd", "b\ufffd@c.d", "\ufffd")
    assert str(refused.value) == "no \ufffd such \ufffd"


async def test_a_time_without_end(api: respx.Router, client: ProsperStackClient) -> None:
    """A wait of hundreds of digits is an hour."""
    api.get("/subscribers").respond(503, headers={"Retry-After": "9" * 400})

    with pytest.raises(ProsperStackUnavailable) as failed:
        await client.find_subscribers("b@c.d")

    assert failed.value.retry_after == 3_600

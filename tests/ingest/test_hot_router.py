"""The short way: who is let in by it, and who goes the long way."""

import httpx
import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from prosperstack_destination.ingest.hot_router import HotRoute, HotRouter

pytestmark = pytest.mark.anyio


async def _long_way(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse("the long way", 404)(scope, receive, send)


async def _endpoint(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse(repr(scope.get("path_params")))(scope, receive, send)


@pytest.mark.parametrize(
    ("method", "path", "status", "answer"),
    [
        ("POST", "/identify", 200, "None"),
        ("GET", "/identify", 405, '{"message":"Only POST is answered here."}'),
        ("POST", "/identify/", 200, "None"),
        ("POST", "/identify//", 200, "None"),
        ("GET", "/identify/", 405, '{"message":"Only POST is answered here."}'),
        ("POST", "/webhook/acct_1/", 200, "{'account_id': 'acct_1'}"),
        ("POST", "/connect/abc", 200, "{'token': 'abc'}"),
        ("POST", "/connect/abc/", 200, "{'token': 'abc'}"),
        ("POST", "/connect/identify", 200, "{'token': 'identify'}"),
        ("GET", "/connect/abc", 405, '{"message":"Only POST is answered here."}'),
        ("POST", "/connect", 404, "the long way"),
        ("POST", "/connect/", 404, "the long way"),
        ("POST", "/connect/abc/def", 404, "the long way"),
        ("POST", "/other/abc", 404, "the long way"),
        ("POST", "/", 404, "the long way"),
    ],
)
async def test_ways(method: str, path: str, status: int, answer: str) -> None:
    """The path decides, by itself or with a token as its second part; then the method."""
    door = HotRoute(_endpoint, ["POST"])
    app = HotRouter(
        _long_way, {"/identify": door}, {"connect": door, "webhook": HotRoute(_endpoint, ["POST"], "account_id")}
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        response = await client.request(method, path)

    assert (response.status_code, response.text) == (status, answer)

"""Stand-in for ProsperStack with a settable answer time and limit, lean enough to measure delivery against.

An ASGI application without a framework. It knows every key and every subscriber, stores nothing, and answers an
update with what was sent. ``GET /counts`` returns the requests by account.
"""

import asyncio
import json
import os
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from bench.projecting import CATALOG

from prosperstack_destination.sandbox.account import FixedWindow

#: Time of an answer, in seconds; requests of an account in a minute.
ANSWER_SECONDS: Final = float(os.environ.get("ANSWER_MS", "0")) / 1000
LIMIT: Final = int(os.environ.get("LIMIT", "1000000"))

_PROPERTIES: Final = {
    "data": [
        {"id": each.key, "key": each.key, "name": each.name, "entity": "subscriber", "type": each.type}
        for each in CATALOG
    ],
    "next_cursor": None,
}
_EMPTY_PAGE: Final[Mapping[str, Any]] = {"data": [], "next_cursor": None}

_windows: Final[dict[bytes, FixedWindow]] = {}
_updates: Final[Counter[bytes]] = Counter()
_counts: Final[Counter[str]] = Counter()


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answer one request."""
    if scope["type"] != "http":
        return
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    if scope["path"] == "/counts":
        least = min(_updates.values(), default=0)
        await _answer(send, 200, {**_counts, "accounts": len(_updates), "least": least}, {})
        return
    if ANSWER_SECONDS:
        await asyncio.sleep(ANSWER_SECONDS)
    key = dict(scope["headers"]).get(b"authorization", b"")
    window = _windows.get(key)
    if window is None:
        window = _windows[key] = FixedWindow(LIMIT, 60.0)
    now = time.time()
    allowed = window.take(now)
    _counts["requests"] += 1
    if not allowed:
        _counts["refused"] += 1
        await _answer(send, 429, {"error": "Too many requests"}, window.headers(now))
    elif scope["method"] == "PATCH":
        _counts["updates"] += 1
        _updates[key] += 1
        await _answer(send, 200, _updated(scope["path"], json.loads(body)), window.headers(now))
    else:
        found = _PROPERTIES if scope["path"].endswith("/properties") else _EMPTY_PAGE
        await _answer(send, 200, found, window.headers(now))


def _updated(path: str, body: Mapping[str, Any]) -> dict[str, Any]:
    subscriber_id = path.rpartition("/")[2]
    return {
        "id": subscriber_id,
        "email": f"person{subscriber_id.removeprefix('subr_')}@example.com",
        "properties": [
            {"property": {"key": key}, "value": value} for key, value in body["properties"].items() if value
        ],
    }


async def _answer(send: Any, status: int, content: Mapping[str, Any], limits: Mapping[str, str]) -> None:
    body = json.dumps(content).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    headers += [(name.lower().encode(), value.encode()) for name, value in limits.items()]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})

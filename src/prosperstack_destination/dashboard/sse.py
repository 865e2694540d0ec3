"""Live updates of pages: server-sent events with the parts of a page that changed."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Final

from starlette.responses import Response, StreamingResponse

from prosperstack_destination.errors import Overloaded, StoreUnavailable

#: Polling interval, in seconds.
POLL_SECONDS: Final = 2.0
#: Polls without a change after which a comment is sent, so that proxies keep the connection.
KEEPALIVE_EVERY: Final = 8
#: Maximum open streams; each costs a few queries per poll.
MAX_STREAMS: Final = 32
#: Delay after which a browser reconnects, in milliseconds.
RETRY_MS: Final = 3_000

#: Relative times, for example "3 s ago". The page's script updates them, so that they alone count as no change.
_RELATIVE_TIMES: Final = re.compile(r"(<time [^>]*>)[^<]*")

#: Current parts of a page, by the IDs of their elements.
Render = Callable[[], Awaitable[Mapping[str, str]]]


class LiveUpdates:
    """Open streams of a process. `close` ends them all, so that the process can stop."""

    def __init__(self, poll_seconds: float = POLL_SECONDS) -> None:
        self._poll_seconds = poll_seconds
        self._streams = 0
        self._closing = asyncio.Event()

    def close(self) -> None:
        """End all streams. Browsers reconnect."""
        self._closing.set()

    def stream(self, render: Render, is_allowed: Callable[[], Awaitable[bool]]) -> Response:
        """Return a stream of changed parts, while ``is_allowed``. Raises `Overloaded` at `MAX_STREAMS`."""
        if self._streams >= MAX_STREAMS:
            raise Overloaded("Too many pages are open. This page does not update itself.", retry_after=30)
        return StreamingResponse(
            self._events(render, is_allowed),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )

    async def _events(self, render: Render, is_allowed: Callable[[], Awaitable[bool]]) -> AsyncIterator[str]:
        self._streams += 1
        sent: dict[str, str] = {}
        quiet = 0
        try:
            yield f"retry: {RETRY_MS}\n\n"
            while not self._closing.is_set():
                with suppress(StoreUnavailable):  # the page keeps its content until the database is back
                    if not await is_allowed():
                        return
                    parts = await render()
                    for name, text in parts.items():
                        comparable = _RELATIVE_TIMES.sub(r"\1", text)
                        if sent.get(name) != comparable:
                            sent[name] = comparable
                            quiet = 0
                            yield f"event: part\ndata: {json.dumps({'id': name, 'html': text})}\n\n"
                quiet += 1
                if quiet >= KEEPALIVE_EVERY:
                    quiet = 0
                    yield ": keep-alive\n\n"
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._closing.wait(), self._poll_seconds)
        finally:
            self._streams -= 1

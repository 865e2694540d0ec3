"""Pages that change while somebody looks: parts of them are sent anew when they are others than before."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Final

from starlette.responses import Response, StreamingResponse

from prosperstack_destination.errors import Overloaded, StoreUnavailable

#: Between two looks, in seconds.
EVERY_SECONDS: Final = 2.0
#: With nothing new, something is sent after so many looks, so that proxies keep the connection.
KEEPALIVE_EVERY: Final = 8
#: Pages that may be looked at at once; each costs a few queries a look.
MAX_STREAMS: Final = 32
#: How soon a browser comes back to a stream that ended, in milliseconds.
RETRY_MS: Final = 3_000

#: Times in words, as in "3 s ago": the script of a page keeps them true, so that they alone are no news.
_WORDS: Final = re.compile(r"(<time [^>]*>)[^<]*")

#: The parts of a page by the ids of their elements, as they are now.
Render = Callable[[], Awaitable[Mapping[str, str]]]


class LiveUpdates:
    """The streams of a process. ``closing`` ends them all, so that the process can stop."""

    def __init__(self, every_seconds: float = EVERY_SECONDS) -> None:
        self._every_seconds = every_seconds
        self._streams = 0
        self._closing = asyncio.Event()

    def close(self) -> None:
        """End all streams; browsers come back to whoever is there by then."""
        self._closing.set()

    def stream(self, render: Render, may_look: Callable[[], Awaitable[bool]]) -> Response:
        """Send parts as they change, as long as who looks may. Raises `Overloaded` where too many look."""
        if self._streams >= MAX_STREAMS:
            raise Overloaded("Too many pages are open: this one does not update itself.", retry_after=30)
        return StreamingResponse(
            self._events(render, may_look),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )

    async def _events(self, render: Render, may_look: Callable[[], Awaitable[bool]]) -> AsyncIterator[str]:
        self._streams += 1
        sent: dict[str, str] = {}
        quiet = 0
        try:
            yield f"retry: {RETRY_MS}\n\n"
            while not self._closing.is_set():
                with suppress(StoreUnavailable):  # what is shown stays until the database is back
                    if not await may_look():
                        return
                    parts = await render()
                    for name, text in parts.items():
                        news = _WORDS.sub(r"\1", text)
                        if sent.get(name) != news:
                            sent[name] = news
                            quiet = 0
                            yield f"event: part\ndata: {json.dumps({'id': name, 'html': text})}\n\n"
                quiet += 1
                if quiet >= KEEPALIVE_EVERY:
                    quiet = 0
                    yield ": still here\n\n"
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._closing.wait(), self._every_seconds)
        finally:
            self._streams -= 1

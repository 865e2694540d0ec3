"""A time limit for the bodies of requests that FastAPI's and Starlette's routes read."""

import asyncio
from typing import Final

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: A whole body has to come within this, in seconds.
BODY_SECONDS: Final = 10.0


class BodyDeadline:
    """A middleware: reading a body raises `HTTPException` 408 ``seconds`` after the request began."""

    def __init__(self, app: ASGIApp, seconds: float = BODY_SECONDS) -> None:
        self._app = app
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        deadline = asyncio.get_running_loop().time() + self._seconds
        complete = False

        async def timely() -> Message:
            nonlocal complete
            if complete:  # what comes next is the end of the connection, whenever that is
                return await receive()
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408, f"The body did not come within {self._seconds:g} seconds.") from None
            complete = not message.get("more_body", False)
            return message

        await self._app(scope, timely, send)

"""Baselines of the benchmarks: a route that only validates, and a plain forwarder."""

import asyncio
import os
from contextlib import asynccontextmanager
from typing import Any

import httpx
from fastapi import FastAPI

from prosperstack_destination.ingest.identify_call import IdentifyCall

#: How long the forwarder's ProsperStack takes for an answer, in seconds.
API_SECONDS = 0.02


async def slow_api(scope: Any, receive: Any, send: Any) -> None:
    """A ProsperStack that answers every request alike, after 20 ms."""
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    await asyncio.sleep(API_SECONDS)
    body = b'{"data": [{"id": "subr_1"}]}'
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


validating = FastAPI()


@validating.post("/identify", status_code=202)
async def validate(call: IdentifyCall) -> dict[str, str]:
    """A plain FastAPI route over the same model, which stores nothing."""
    return {"message": f"Accepted {call.type}."}


def _transport() -> httpx.AsyncBaseTransport | None:
    if os.environ.get("FORWARDER") != "aiohttp":
        return None
    from httpx_aiohttp import AiohttpTransport  # only the measurement needs it

    return AiohttpTransport()


@asynccontextmanager
async def _lifespan(app: FastAPI) -> Any:
    async with httpx.AsyncClient(
        transport=_transport(), timeout=30, limits=httpx.Limits(max_connections=64)
    ) as http:
        app.state.http = http
        yield


forwarding = FastAPI(lifespan=_lifespan)


@forwarding.post("/identify")
async def forward(call: IdentifyCall) -> dict[str, str]:
    """Look the subscriber up, and patch it: what one would write first."""
    http: httpx.AsyncClient = forwarding.state.http
    url = os.environ["API_URL"]
    found = await http.get(f"{url}/subscribers", params={"email": str(call.traits.get("email"))})
    subscriber = found.json()["data"][0]["id"]
    await http.patch(f"{url}/subscribers/{subscriber}", json={"properties": call.traits})
    return {"message": "Forwarded."}

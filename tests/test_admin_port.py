"""What is to be seen at which port, where operators have one of their own."""

from pathlib import Path

import httpx
import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from prosperstack_destination.app import create_app
from support.service import settings

pytestmark = pytest.mark.anyio


class AtPort:
    """An application as it is reached at a port."""

    def __init__(self, app: ASGIApp, port: int) -> None:
        self._app = app
        self._port = port

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app({**scope, "server": ("127.0.0.1", self._port)}, receive, send)


@pytest.mark.parametrize(
    ("path", "world", "operators"),
    [
        ("/identify", True, False),
        ("/v1/batch", True, False),
        ("/webhook/acct_1", True, False),
        ("/data-connector/psc_1", True, False),
        ("/nothing", False, False),
        ("/healthz", True, True),
        ("/readyz", True, True),
        ("/dashboard/login", False, True),
        ("/dashboard", False, True),
        ("/api/accounts", False, True),
        ("/docs", False, True),
        ("/openapi.json", False, True),
        ("/metrics", False, True),
    ],
)
async def test_each_port_shows_its_own(tmp_path: Path, path: str, *, world: bool, operators: bool) -> None:
    """What is for operators is at their port alone, whatever host a request names; the rest is at the other one."""
    app = create_app(settings(tmp_path, admin_password="long enough", admin_port=8702))
    found = {}
    async with app.router.lifespan_context(app):
        for port in (8700, 8702):
            transport = httpx.ASGITransport(AtPort(app, port), raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://elsewhere:8702") as client:
                found[port] = (await client.get(path)).status_code != 404

    assert found == {8700: world, 8702: operators}

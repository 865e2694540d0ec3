"""The service on a port, with stand-ins for ProsperStack and for Segment's Public API within the process.

``python -m support.serving_with_segment PORT``; its settings are those of the environment. What Segment was told,
which it shows to nobody, is at ``/stand-in/settings``: of each destination, the newest first.
"""

import sys

import httpx
import uvicorn
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from prosperstack_destination.app import create_app
from prosperstack_destination.sandbox import SandboxConfig, create_sandbox
from prosperstack_destination.settings import Settings
from support.segment_public_api import SegmentWorkspace, segment_public_api


def main(port: int) -> None:
    """Serve until the process is told to stop."""
    workspace = SegmentWorkspace()

    async def told(_: Request) -> Response:
        return JSONResponse([each["settings"] for each in reversed(workspace.destinations.values())])

    app = create_app(
        Settings(),
        transport=httpx.ASGITransport(create_sandbox(SandboxConfig(subscribers=20))),
        segment_transport=httpx.ASGITransport(segment_public_api(workspace)),
    )
    app.router.routes.insert(0, Route("/stand-in/settings", told))
    uvicorn.run(app, port=port, log_config=None, timeout_graceful_shutdown=1)


if __name__ == "__main__":
    main(int(sys.argv[1]))

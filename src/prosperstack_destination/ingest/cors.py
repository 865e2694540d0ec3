"""CORS: which web pages may read an answer, by the Fetch standard."""

import re
from collections.abc import Mapping
from typing import Final

from starlette.responses import Response

from prosperstack_destination.http_responses import json_message

#: How long a browser may keep the answer to a preflight request, in seconds.
PREFLIGHT_SECONDS: Final = 600
#: Names of headers, as a preflight request lists them.
_HEADER_NAMES: Final = re.compile(rb"[A-Za-z0-9_, -]{1,400}")


def origin_of(headers: Mapping[bytes, bytes]) -> str | None:
    """Return the origin of the page that sent a request; None where it is from no page."""
    origin = headers.get(b"origin")
    return None if origin is None else origin.decode("latin-1")


def allow(response: Response, origin: str) -> None:
    """Let the pages of an origin read an answer."""
    response.headers["Access-Control-Allow-Origin"] = origin
    response.headers["Access-Control-Expose-Headers"] = "Retry-After"
    response.headers.add_vary_header("Origin")


def preflight(headers: Mapping[bytes, bytes], methods: str, *, allowed: bool) -> Response:
    """Answer a preflight request: 204 for an origin that is ``allowed``, 403 without CORS headers for others."""
    origin = origin_of(headers)
    if origin is None or not allowed:
        return json_message(403, "No public key is for this origin: `keys issue --public --origin` makes one.")
    response = Response(status_code=204)
    response.headers["Access-Control-Allow-Origin"] = origin
    response.headers["Access-Control-Allow-Methods"] = methods
    asked = headers.get(b"access-control-request-headers", b"")
    if _HEADER_NAMES.fullmatch(asked):
        response.headers["Access-Control-Allow-Headers"] = asked.decode()
    response.headers["Access-Control-Max-Age"] = str(PREFLIGHT_SECONDS)
    response.headers.add_vary_header("Origin, Access-Control-Request-Headers")
    return response

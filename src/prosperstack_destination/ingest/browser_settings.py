"""``GET /v1/projects/{key}/settings``: what Segment's browser and mobile SDKs ask for before they send anything."""

from typing import Final

from pydantic import JsonValue
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from prosperstack_destination.errors import DestinationError
from prosperstack_destination.ingest import cors
from prosperstack_destination.ingest.sdk_keys import SdkKeys
from prosperstack_destination.ingest.tracking_api import error_response
from prosperstack_destination.proxy_headers import is_tls
from prosperstack_destination.store.json_codec import dump

METHODS: Final = "GET, HEAD"
_ENABLED: Final[dict[str, JsonValue]] = {"enabled": True, "integrations": {}}


class BrowserSettingsEndpoint:
    """An ASGI application that answers the settings of an SDK: Segment's own form, with this host for its calls."""

    def __init__(self, keys: SdkKeys) -> None:
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the settings, or a preflight request for them."""
        headers = dict(scope["headers"])
        origin = cors.origin_of(headers)
        try:
            if scope["method"] == "OPTIONS":
                response = cors.preflight(headers, METHODS, allowed=await self._keys.has_origin(origin))
            else:
                response = await self._answer(scope, origin)
        except DestinationError as error:
            response = error_response(error)
        await response(scope, receive, send)

    async def _answer(self, scope: Scope, origin: str | None) -> Response:
        key: str = scope["path_params"]["key"]
        await self._keys.open_public(key, origin)
        settings = settings_of(key, Headers(scope=scope).get("host", ""), tls=is_tls(scope))
        response = Response(dump(settings), media_type="application/json")
        if origin is not None:
            cors.allow(response, origin)
        return response


def settings_of(key: str, host: str, *, tls: bool) -> dict[str, JsonValue]:
    """Return the settings for a write key: SDKs send to ``host``, and load no integrations."""
    return {
        "integrations": {
            "Segment.io": {
                "apiKey": key,
                "apiHost": f"{host}/v1",
                "protocol": "https" if tls else "http",
                "unbundledIntegrations": [],
                "addBundledMetadata": False,
                "maybeBundledConfigIds": {},
                "versionSettings": {"version": "4.4.7", "componentTypes": ["browser"]},
            }
        },
        "plan": {
            "track": {"__default": _ENABLED},
            "identify": {"__default": _ENABLED},
            "group": {"__default": _ENABLED},
        },
        "edgeFunction": {},
        "analyticsNextEnabled": True,
        "middlewareSettings": {},
        "enabledMiddleware": {},
        "metrics": {"sampleRate": 0},
        "legacyVideoPluginsEnabled": False,
        "remotePlugins": [],
    }

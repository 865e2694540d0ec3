"""Endpoints ``/data-connector/{token}`` and ``/flow-webhook/{token}``, and their OpenAPI description.

A cancel flow waits for the response. With a valid token it is 200 within `RESPONSE_TIMEOUT`, also on errors, except
for a body with an unsupported compression (415).
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import structlog
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from prosperstack_destination.auth.api_keys import key_hash
from prosperstack_destination.background import DeadlineRunner
from prosperstack_destination.cancel_flow.lookup import DesiredProperties, PropertyLookup, TokenCache
from prosperstack_destination.cancel_flow.payloads import (
    ConnectorCall,
    FlowEvent,
    ResponseFormat,
    read_connector_call,
    read_flow_event,
    response_body,
)
from prosperstack_destination.cancel_flow.priority_writer import PriorityWriter
from prosperstack_destination.errors import (
    CallTooLarge,
    DestinationError,
    InvalidCall,
    TemporaryError,
    UnsupportedEncoding,
)
from prosperstack_destination.http_responses import error_response, json_message
from prosperstack_destination.ingest.content_encoding import read_content
from prosperstack_destination.ingest.openapi import add_schemas
from prosperstack_destination.store.cancel_flows import PersonRef

log = structlog.get_logger(__name__)

#: Time for the database, in seconds, to find the token and the person. After it the response is empty, and
#: ProsperStack keeps its values. The response leaves within 0.3 s of the request even if the database hangs.
RESPONSE_TIMEOUT: Final = 0.25
_EMPTY: Final = b"{}"

#: Callback with the outcome of a call: account ID, email if known, and outcome in a word.
CallReport = Callable[[str, str | None, str], None]


class _Endpoint:
    """Common part of both endpoints: the token, and the response to an invalid one."""

    def __init__(
        self, tokens: TokenCache, lookup: PropertyLookup, priority_writer: PriorityWriter, report: CallReport
    ) -> None:
        self._tokens = tokens
        self._lookup = lookup
        self._priority_writer = priority_writer
        self._report = report
        self._deadlines = DeadlineRunner()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to a request."""
        token: str = scope["path_params"]["token"]
        started_at = time.monotonic()
        try:
            account_id = await self._tokens.account_id(token)
        except DestinationError as error:
            response = error_response(error)
        else:
            self._priority_writer.touch_token(key_hash(token))
            try:
                left = RESPONSE_TIMEOUT - (time.monotonic() - started_at)
                response = await self._respond(account_id, scope, receive, left)
            except UnsupportedEncoding as error:  # a wrong setting: {} would hide it
                response = error_response(error)
        await response(scope, receive, send)

    async def _respond(self, account_id: str, scope: Scope, receive: Receive, seconds: float) -> Response:
        """Return the response to a request with a valid token; the database has ``seconds``."""
        raise NotImplementedError

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        return await read_content(receive, dict(scope["headers"]))

    async def _find_and_prioritize(
        self, account_id: str, person: PersonRef, seconds: float
    ) -> DesiredProperties | None:
        """Find the person and prioritize their write; None if unknown, or if the database is too slow."""
        try:
            known = await self._deadlines.run(seconds, partial(self._lookup.find, account_id, person))
        except (TimeoutError, TemporaryError) as error:
            log.warning("cancel flow answered without a lookup", reason=str(error) or "too slow")
            self._report_unavailable(account_id, person)
            return None
        except Exception:  # a bug must not delay a cancel flow
            log.exception("cancel flow answered without a lookup")
            self._report_unavailable(account_id, person)
            return None
        self._report(account_id, person.email if known is None else known.email, "known" if known else "stranger")
        if known is not None:
            self._priority_writer.prioritize(account_id, known.email)
        return known

    def _report_unavailable(self, account_id: str, person: PersonRef) -> None:
        self._report(account_id, person.email, "unavailable")
        if person.email is not None:
            self._priority_writer.prioritize(account_id, person.email)


class DataConnectorEndpoint(_Endpoint):
    """ASGI application that returns a person's desired properties; ``{}`` for an unknown person."""

    def __init__(
        self,
        tokens: TokenCache,
        lookup: PropertyLookup,
        priority_writer: PriorityWriter,
        report: CallReport,
        response_format: ResponseFormat,
    ) -> None:
        super().__init__(tokens, lookup, priority_writer, report)
        self._response_format = response_format

    async def _respond(self, account_id: str, scope: Scope, receive: Receive, seconds: float) -> Response:
        try:
            person = read_connector_call(await self._body(scope, receive))
        except (InvalidCall, CallTooLarge) as error:
            log.warning("invalid data connector call", account_id=account_id, reason=str(error))
            self._report(account_id, None, "not understood")
            return _json(_EMPTY)
        known = await self._find_and_prioritize(account_id, person, seconds)
        return _json(_EMPTY if known is None else response_body(known.values, self._response_format))


class FlowWebhookEndpoint(_Endpoint):
    """ASGI application for ProsperStack's webhooks: a person who starts to cancel is prioritized."""

    async def _respond(self, account_id: str, scope: Scope, receive: Receive, seconds: float) -> Response:
        try:
            person = read_flow_event(await self._body(scope, receive))
        except (InvalidCall, CallTooLarge) as error:
            log.warning("invalid flow webhook", account_id=account_id, reason=str(error))
            self._report(account_id, None, "not understood")
            return json_message(200, f"Ignored: {error}")
        if person is None:
            return json_message(200, "Ignored: the event does not start a cancel flow.")
        known = await self._find_and_prioritize(account_id, person, seconds)
        return json_message(200, "Noted." if known else "Noted: no profile with this email or these IDs.")


def _json(body: bytes) -> Response:
    return Response(body, 200, {"Cache-Control": "no-store"}, "application/json")


_REF: Final = "#/components/schemas/{model}"
_TOKEN: Final = {"name": "token", "in": "path", "required": True, "schema": {"type": "string"}}
_REFUSED: Final = {"description": "The token is unknown or revoked.", "content": {"application/json": {}}}
_NOT_READ: Final = {
    "description": "The body has another compression than gzip or deflate.",
    "content": {"application/json": {}},
}


def describe_connector(document: dict[str, Any]) -> dict[str, Any]:
    """Add the data connector and the flow webhook to an OpenAPI document."""
    models: list[type[BaseModel]] = [ConnectorCall, FlowEvent]
    _, definitions = models_json_schema([(model, "validation") for model in models], ref_template=_REF)
    add_schemas(document, definitions["$defs"])
    paths = document.setdefault("paths", {})
    paths["/data-connector/{token}"] = {
        "post": _post(
            "Return the desired properties of a person who starts to cancel",
            "data_connector",
            ConnectorCall,
            "The person's desired properties by their keys; {} for an unknown person or on an error.",
        )
    }
    paths["/flow-webhook/{token}"] = {
        "post": _post("Prioritize a person who starts to cancel", "flow_webhook", FlowEvent, "Noted, or ignored.")
    }
    return document


def _post(summary: str, name: str, model: type[BaseModel], good: str) -> dict[str, Any]:
    schema = {"$ref": _REF.format(model=model.__name__)}
    content = {"application/json": {"schema": {"type": "object"}}}
    return {
        "summary": summary,
        "operationId": name,
        "tags": ["prosperstack"],
        "parameters": [_TOKEN],
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
        "responses": {"200": {"description": good, "content": content}, "401": _REFUSED, "415": _NOT_READ},
    }

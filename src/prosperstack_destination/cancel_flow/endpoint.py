"""``/data-connector/{token}`` and ``/flow-webhook/{token}``.

A cancel flow waits for the answer: with a token that is good it is 200, and soon, whatever else is wrong, but for a
body that is compressed in a way that is not understood (415).
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Final

import structlog
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from prosperstack_destination.auth.api_keys import key_hash
from prosperstack_destination.cancel_flow.lookup import DesiredProperties, PropertyLookup, TokenCache
from prosperstack_destination.cancel_flow.payloads import (
    ResponseFormat,
    read_connector_call,
    read_flow_event,
    response_body,
)
from prosperstack_destination.cancel_flow.priority_writer import PriorityWriter
from prosperstack_destination.deadlines import DeadlineRunner
from prosperstack_destination.errors import (
    CallTooLarge,
    DestinationError,
    InvalidCall,
    TemporaryError,
    UnsupportedEncoding,
)
from prosperstack_destination.http_responses import error_response, json_message
from prosperstack_destination.ingest.content_encoding import read_content
from prosperstack_destination.store.cancel_flows import PersonRef

log = structlog.get_logger(__name__)

#: The database has this long, in seconds, for the token and the person together; then the answer is empty, and
#: ProsperStack keeps what it has. Whatever hangs, the answer is there within 0.3 s of the request.
ANSWER_SECONDS: Final = 0.25
_UNKNOWN_TOKEN: Final = b"{}"

#: Told what became of a call: an account's id, whom it was about where that is known, and a word.
Tell = Callable[[str, str | None, str], None]


class _Endpoint:
    """What both have in common: the token, and the answer to one that is not good."""

    def __init__(self, tokens: TokenCache, knowledge: PropertyLookup, front: PriorityWriter, tell: Tell) -> None:
        self._tokens = tokens
        self._knowledge = knowledge
        self._front = front
        self._tell = tell
        self._deadlines = DeadlineRunner()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        token: str = scope["path_params"]["token"]
        begun = time.monotonic()
        try:
            account_id = await self._tokens.account_id(token)
        except DestinationError as error:
            response = error_response(error)
        else:
            self._front.touch_token(key_hash(token))
            try:
                left = ANSWER_SECONDS - (time.monotonic() - begun)
                response = await self._answer(account_id, scope, receive, left)
            except UnsupportedEncoding as error:  # a setting is wrong: to answer {} would hide it
                response = error_response(error)
        await response(scope, receive, send)

    async def _answer(self, account_id: str, scope: Scope, receive: Receive, seconds: float) -> Response:
        """The answer to a request with a good token; the database has so many seconds."""
        raise NotImplementedError

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        return await read_content(receive, dict(scope["headers"]))

    async def _look(self, account_id: str, person: PersonRef, seconds: float) -> DesiredProperties | None:
        """Who it is, and to the front with them; None for a stranger, and where the database is too slow."""
        try:
            known = await self._deadlines.run(seconds, partial(self._knowledge.find, account_id, person))
        except (TimeoutError, TemporaryError) as error:
            log.warning("a cancel flow was answered without a look", reason=str(error) or "too slow")
            self._unknown(account_id, person)
            return None
        except Exception:  # a bug of ours must not hold up somebody's cancel flow
            log.exception("a cancel flow was answered without a look")
            self._unknown(account_id, person)
            return None
        self._tell(account_id, person.email if known is None else known.email, "known" if known else "stranger")
        if known is not None:
            self._front.prioritize(account_id, known.email)
        return known

    def _unknown(self, account_id: str, person: PersonRef) -> None:
        self._tell(account_id, person.email, "unavailable")
        if person.email is not None:
            self._front.prioritize(account_id, person.email)


class DataConnectorEndpoint(_Endpoint):
    """An ASGI application that answers a person's desired properties; ``{}`` for a stranger."""

    def __init__(
        self,
        tokens: TokenCache,
        knowledge: PropertyLookup,
        front: PriorityWriter,
        tell: Tell,
        shape: ResponseFormat,
    ) -> None:
        super().__init__(tokens, knowledge, front, tell)
        self._shape = shape

    async def _answer(self, account_id: str, scope: Scope, receive: Receive, seconds: float) -> Response:
        try:
            person = read_connector_call(await self._body(scope, receive))
        except (InvalidCall, CallTooLarge) as error:
            log.warning("a call of the data connector is not understood", account_id=account_id, reason=str(error))
            self._tell(account_id, None, "not understood")
            return _json(_UNKNOWN_TOKEN)
        known = await self._look(account_id, person, seconds)
        return _json(_UNKNOWN_TOKEN if known is None else response_body(known.values, self._shape))


class FlowWebhookEndpoint(_Endpoint):
    """An ASGI application for ProsperStack's webhooks: who begins to cancel moves to the front."""

    async def _answer(self, account_id: str, scope: Scope, receive: Receive, seconds: float) -> Response:
        try:
            person = read_flow_event(await self._body(scope, receive))
        except (InvalidCall, CallTooLarge) as error:
            log.warning("a webhook is not understood", account_id=account_id, reason=str(error))
            self._tell(account_id, None, "not understood")
            return json_message(200, f"Ignored: {error}")
        if person is None:
            return json_message(200, "Ignored: the event is none that a cancel flow begins with.")
        known = await self._look(account_id, person, seconds)
        return json_message(200, "Noted." if known else "Noted: nobody is known by this email or these ids.")


def _json(body: bytes) -> Response:
    return Response(body, 200, {"Cache-Control": "no-store"}, "application/json")

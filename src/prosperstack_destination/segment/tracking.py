"""Segment's HTTP Tracking API, as far as its SDKs speak it: ``/v1/identify``, ``/v1/batch`` and the others.

An SDK that is pointed at this host works without Segment in between. What is no Identify call is understood, and
ignored: an SDK must not see an error for it.
"""

from collections.abc import Mapping
from typing import Final

from pydantic import JsonValue
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from prosperstack_destination.errors import (
    AccessDenied,
    BadCall,
    CallTooLarge,
    DestinationError,
    KeyRefused,
    TryLater,
)
from prosperstack_destination.forwarded import client_address
from prosperstack_destination.log_context import note_account
from prosperstack_destination.segment.answers import refusal_headers, status_of
from prosperstack_destination.segment.body import parse_object
from prosperstack_destination.segment.call import OTHER_TYPES, Deletion, Understood, read_call
from prosperstack_destination.segment.content_encoding import read_content
from prosperstack_destination.segment.credentials import basic_key
from prosperstack_destination.segment.endpoint import Authenticator
from prosperstack_destination.segment.observing import Observer
from prosperstack_destination.segment.reception import Form, Reception, told
from prosperstack_destination.segment.results import IGNORED, SKIPPED, Answer
from prosperstack_destination.state.accounts import Account
from prosperstack_destination.state.json_text import dump
from prosperstack_destination.state.recent_calls import Way

#: Segment's own limits, in bytes: of one event, and of a batch.
EVENT_BYTES: Final = 32 * 1024
BATCH_BYTES: Final = 500 * 1024
#: The most events that an SDK puts into a batch.
MAX_EVENTS: Final = 2_500
#: What there is under ``/v1/``.
KINDS: Final = ("identify", "batch", "import", *sorted(OTHER_TYPES))
#: What an event takes from the batch that it is in, where it has nothing of its own.
_FROM_BATCH: Final = ("context", "integrations", "sentAt")
_BATCHED: Final = frozenset({"batch", "import"})
#: The codes of errors by their statuses, where they are no matter of the key.
_CODES: Final = {400: "invalid_request", 415: "unsupported_encoding", 501: "unsupported"}
_SUCCESS: Final = b'{"success":true}'


class TrackingEndpoint:
    """An ASGI application for ``/v1/`` and one of `KINDS`. ``200`` says that what matters is on disk."""

    def __init__(
        self, authenticator: Authenticator, reception: Reception, *, trusted_proxies: int, observer: Observer
    ) -> None:
        self._authenticator = authenticator
        self._trusted_proxies = trusted_proxies
        self._reception = reception
        self._observer = observer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request in the form that SDKs know: ``success``, or ``code`` and ``message``."""
        try:
            response = await self._answer(scope, receive)
        except DestinationError as error:
            self._observer.refused(error)
            response = _error(error)
        await response(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive) -> Response:
        kind = scope["path"].rpartition("/")[2]
        headers = dict(scope["headers"])
        authorization = headers.get(b"authorization")
        address = client_address(scope, self._trusted_proxies)
        account = None if authorization is None else await self._account(basic_key(authorization), address)
        body = b""
        try:
            body = await read_content(receive, headers, BATCH_BYTES if kind in _BATCHED else EVENT_BYTES)
            content = parse_object(body)
            account = account or await self._account(_key(content), address)
            if kind in _BATCHED:
                return await self._answer_batch(account, content)
            event = {**content, "type": kind} if kind in OTHER_TYPES else content
            [result] = await self._reception.take(account, Way.TRACKING, [(event, len(body))], EVENT)
        except AccessDenied:
            raise
        except DestinationError as error:
            if account is None:
                raise
            self._reception.refuse(account, Way.TRACKING, body, error)
            return _error(error)
        return _error(result) if isinstance(result, DestinationError) else _success()

    async def _account(self, key: str, address: str) -> Account:
        account = await self._authenticator.authenticate(key, address)
        note_account(account.fingerprint)
        return account

    async def _answer_batch(self, account: Account, content: Mapping[str, JsonValue]) -> Response:
        results = await self._reception.take(account, Way.TRACKING, _events(content), EVENT)
        refused = told(results)
        if not refused:
            return _success()
        return Response(dump({"success": True, "refused": refused}), 200, media_type="application/json")


def _key(content: Mapping[str, JsonValue]) -> str:
    """The write key that a body has."""
    key = content.get("writeKey")
    if isinstance(key, str) and key:
        return key
    raise KeyRefused("The write key is missing: send it as the user name of basic authentication, or as writeKey.")


def _events(content: Mapping[str, JsonValue]) -> list[tuple[JsonValue, int]]:
    """The events of a batch with their sizes, each with what it takes from the batch."""
    batch = content.get("batch")
    if not isinstance(batch, list):
        raise BadCall("batch has to be an array of events.", field="batch")
    if len(batch) > MAX_EVENTS:
        raise BadCall(f"The batch has more than {MAX_EVENTS:,} events: send smaller ones.", field="batch")
    given = {name: content[name] for name in _FROM_BATCH if content.get(name) is not None}
    size = BATCH_BYTES // max(len(batch), 1)
    return [({**given, **event} if given and isinstance(event, dict) else event, size) for event in batch]


def _read(event: tuple[JsonValue, int], now: int) -> tuple[Understood | Deletion | Answer, int]:
    fields, size = event
    if not isinstance(fields, dict):
        raise BadCall("An event has to be a JSON object.")
    kind = fields.get("type")
    if isinstance(kind, str) and kind.lower() in OTHER_TYPES:
        return IGNORED, size
    return read_call(fields, now, judge_all=True) or SKIPPED, size


def _text(event: tuple[JsonValue, int]) -> bytes:
    return dump(event[0]).encode()


#: An event as it was read from its batch, and about how large it is, in bytes.
EVENT: Final = Form(_read, _text)


def _success() -> Response:
    return Response(_SUCCESS, 200, media_type="application/json")


def _error(error: DestinationError) -> Response:
    """An error in the form that SDKs know: without both fields some retry for ever."""
    status = 400 if isinstance(error, CallTooLarge) else status_of(error)
    code = "try_later" if isinstance(error, TryLater) else _CODES.get(status, "unauthorized")
    body = dump({"success": False, "code": code, "message": str(error)})
    return Response(body, status, refusal_headers(error), "application/json")

"""Segment's HTTP Tracking API, as far as its SDKs speak it: ``/v1/identify``, ``/v1/batch`` and the others.

An SDK that is pointed at this host works without Segment in between. Other calls than Identify are understood, and
ignored: an SDK must not see an error for it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from prosperstack_destination.clock import Clock
from prosperstack_destination.errors import (
    AccessDenied,
    CallNotPermitted,
    CallTooLarge,
    DestinationError,
    InvalidApiKey,
    InvalidCall,
    TemporaryError,
)
from prosperstack_destination.http_responses import error_headers, sender_status_of
from prosperstack_destination.ingest import cors
from prosperstack_destination.ingest.address_rate import AddressRate
from prosperstack_destination.ingest.basic_auth import basic_key
from prosperstack_destination.ingest.content_encoding import read_content
from prosperstack_destination.ingest.observer import IngestObserver
from prosperstack_destination.ingest.parser import OTHER_TYPES, ParsedDelete, ParsedIdentify, parse_call
from prosperstack_destination.ingest.request_body import parse_object
from prosperstack_destination.ingest.responses import IGNORED, LEFT_OUT, SKIPPED, IngestResult
from prosperstack_destination.ingest.sdk_keys import OpenedAccount, SdkKeys
from prosperstack_destination.ingest.service import EventCodec, IngestService, rejected_events
from prosperstack_destination.mapping.call_rules import CallRules, LeftOut
from prosperstack_destination.proxy_headers import client_address
from prosperstack_destination.store.json_codec import dump
from prosperstack_destination.store.recent_calls import Channel

#: Segment's own limits, in bytes: of one event, and of a batch.
EVENT_BYTES: Final = 32 * 1024
BATCH_BYTES: Final = 500 * 1024
#: The most events that an SDK puts into a batch.
MAX_EVENTS: Final = 2_500
#: What there is under ``/v1/``.
KINDS: Final = ("identify", "alias", "batch", "import", *sorted(OTHER_TYPES))
#: Short names of them: analytics.js sends single events to these, and mobile SDKs batches to ``/v1/b``.
SHORT_KINDS: Final[Mapping[str, str]] = {
    "i": "identify",
    "t": "track",
    "p": "page",
    "s": "screen",
    "g": "group",
    "a": "alias",
    "b": "batch",
}
#: Where SDKs send figures about themselves, without a key: they are not kept.
METRICS: Final = "m"
#: The methods that its endpoint answers; the former for preflight requests of browsers.
METHODS: Final = ("OPTIONS", "POST")
#: What an event takes from the batch that it is in, where it has nothing of its own.
_FROM_BATCH: Final = ("context", "integrations", "sentAt")
_BATCHED: Final = frozenset({"batch", "import"})
#: The codes of errors by their statuses, where the key is not the cause.
_CODES: Final = {400: "invalid_request", 415: "unsupported_encoding", 501: "unsupported"}
_SUCCESS: Final = b'{"success":true}'


class TrackingEndpoint:
    """An ASGI application for ``/v1/`` and one of `KINDS`. ``200`` says that what matters is on disk."""

    def __init__(
        self,
        keys: SdkKeys,
        ingest: IngestService,
        clock: Clock,
        *,
        trusted_proxies: int,
        observer: IngestObserver,
    ) -> None:
        self._keys = keys
        self._rate = AddressRate()
        self._clock = clock
        self._trusted_proxies = trusted_proxies
        self._reception = ingest
        self._observer = observer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request in the form that SDKs know: ``success``, or ``code`` and ``message``."""
        headers = dict(scope["headers"])
        caller = _Caller(headers, cors.origin_of(headers), client_address(scope, self._trusted_proxies))
        kind = scope["path"].rpartition("/")[2]
        try:
            if scope["method"] == "OPTIONS":
                allowed = await self._keys.has_origin(caller.origin)
                response = cors.preflight(headers, "POST", allowed=allowed)
            elif kind == METRICS:
                response = await self._answer_metrics(caller, receive)
            else:
                response = await self._answer(SHORT_KINDS.get(kind, kind), caller, receive)
        except DestinationError as error:
            self._observer.call_rejected(error)
            response = error_response(error)
        if caller.may_read and caller.origin is not None:
            cors.allow(response, caller.origin)
        await response(scope, receive, send)

    async def _answer(self, kind: str, caller: "_Caller", receive: Receive) -> Response:
        authorization = caller.headers.get(b"authorization")
        opened = None if authorization is None else await self._open(basic_key(authorization), caller)
        body = b""
        try:
            body = await read_content(receive, caller.headers, BATCH_BYTES if kind in _BATCHED else EVENT_BYTES)
            content = parse_object(body)
            opened = opened or await self._open(_key(content), caller)
            return await self._take(kind, opened, caller, content, len(body))
        except AccessDenied:
            raise
        except DestinationError as error:
            if opened is None:
                raise
            self._reception.record_rejection(opened.account, Channel.TRACKING, body, error)
            return error_response(error)

    async def _take(
        self, kind: str, opened: OpenedAccount, caller: "_Caller", content: Mapping[str, JsonValue], size: int
    ) -> Response:
        """Take in the events of a request."""
        if kind in _BATCHED:
            events = _events(content)
        else:
            event: JsonValue = {**content} if kind == "identify" else {**content, "type": kind}
            events = [(event, size)]
        if opened.is_public:
            self._rate.take(caller.address, _count(events), self._clock())
        form = PUBLIC_EVENT if opened.is_public else EVENT
        results = await self._reception.ingest_many(opened.account, Channel.TRACKING, events, form)
        if kind not in _BATCHED and isinstance(results[0], DestinationError):
            return error_response(results[0])
        refused = rejected_events(results)
        if not refused:
            return _success()
        return Response(dump({"success": True, "refused": refused}), 200, media_type="application/json")

    async def _open(self, key: str, caller: "_Caller") -> OpenedAccount:
        opened = await self._keys.open(key, caller.origin, caller.address)
        caller.may_read = opened.is_public
        return opened

    async def _answer_metrics(self, caller: "_Caller", receive: Receive) -> Response:
        await read_content(receive, caller.headers)
        caller.may_read = await self._keys.has_origin(caller.origin)
        return _success()


@dataclass(slots=True)
class _Caller:
    """Sender of a request."""

    headers: Mapping[bytes, bytes]
    #: Of the page that sends it; None: it is from no page.
    origin: str | None
    #: The client's IP address.
    address: str
    #: True if the page may read the answer: so may those of a public key.
    may_read: bool = False


def _key(content: Mapping[str, JsonValue]) -> str:
    """Return the write key in a body."""
    key = content.get("writeKey")
    if isinstance(key, str) and key:
        return key
    raise InvalidApiKey(
        "The write key is missing: send it as the user name of basic authentication, or as writeKey."
    )


def _events(content: Mapping[str, JsonValue]) -> list[tuple[JsonValue, int]]:
    """The events of a batch with their sizes, each with what it takes from the batch."""
    batch = content.get("batch")
    if not isinstance(batch, list):
        raise InvalidCall("batch has to be an array of events.", field="batch")
    if len(batch) > MAX_EVENTS:
        raise InvalidCall(f"The batch has more than {MAX_EVENTS:,} events: send smaller ones.", field="batch")
    given = {name: content[name] for name in _FROM_BATCH if content.get(name) is not None}
    size = BATCH_BYTES // max(len(batch), 1)
    return [({**given, **event} if given and isinstance(event, dict) else event, size) for event in batch]


def _read(
    event: tuple[JsonValue, int], now: int, rules: CallRules | None
) -> tuple[ParsedIdentify | ParsedDelete | IngestResult, int]:
    fields, size = event
    if not isinstance(fields, dict):
        raise InvalidCall("An event has to be a JSON object.")
    kind = fields.get("type")
    if isinstance(kind, str) and kind.lower() in OTHER_TYPES:
        return IGNORED, size
    parsed = parse_call(fields, now, from_sdk=True, rules=rules)
    return LEFT_OUT[parsed] if isinstance(parsed, LeftOut) else parsed or SKIPPED, size


def _read_public(
    event: tuple[JsonValue, int], now: int, rules: CallRules | None
) -> tuple[ParsedIdentify | ParsedDelete | IngestResult, int]:
    understood, size = _read(event, now, rules)
    if isinstance(understood, ParsedDelete):
        raise CallNotPermitted
    return understood, size


def _count(events: Sequence[tuple[JsonValue, int]]) -> int:
    """The events that a public key is charged for: not those that are ignored; a request counts as one at least."""
    kinds = (each.get("type") for each, _ in events if isinstance(each, dict))
    return max(1, len(events) - sum(isinstance(kind, str) and kind.lower() in OTHER_TYPES for kind in kinds))


def _text(event: tuple[JsonValue, int]) -> bytes:
    return dump(event[0]).encode()


#: An event as it was read from its batch, and about how large it is, in bytes.
EVENT: Final = EventCodec(_read, _text)
#: An event that came with a public key.
PUBLIC_EVENT: Final = EventCodec(_read_public, _text)


def _success() -> Response:
    return Response(_SUCCESS, 200, media_type="application/json")


def error_response(error: DestinationError) -> Response:
    """Return an error in the form that SDKs know: without both fields some retry for ever."""
    status = 400 if isinstance(error, CallTooLarge) else sender_status_of(error)
    code = "try_later" if isinstance(error, TemporaryError) else _CODES.get(status, "unauthorized")
    body = dump({"success": False, "code": code, "message": str(error)})
    return Response(body, status, error_headers(error), "application/json")

"""Endpoints ``/identify`` and ``/webhook/{account}``: authenticate, parse, commit, respond.

They are plain ASGI applications: FastAPI's routing costs more time than the rest of a call together.
`ingest.openapi` documents them.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qs

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from prosperstack_destination.auth.authenticator import Authenticator
from prosperstack_destination.clock import Clock
from prosperstack_destination.errors import (
    AccessDenied,
    CallTooLarge,
    DestinationError,
    InvalidApiKey,
    InvalidCall,
    MissingEmail,
)
from prosperstack_destination.http_responses import error_response
from prosperstack_destination.ingest.basic_auth import basic_key
from prosperstack_destination.ingest.content_encoding import read_content
from prosperstack_destination.ingest.explain import ExplainContext, explain
from prosperstack_destination.ingest.fair_share import BodyMemory, FairTurns
from prosperstack_destination.ingest.json_array import is_array, split_array
from prosperstack_destination.ingest.observer import IngestObserver
from prosperstack_destination.ingest.parser import ParsedDelete, ParsedIdentify, parse_call
from prosperstack_destination.ingest.request_body import EVENT_BYTES, content_length, parse_object
from prosperstack_destination.ingest.responses import (
    EXPLAINED,
    LEFT_OUT,
    SKIPPED,
    IngestResult,
    rejected_batch,
    response_of,
)
from prosperstack_destination.ingest.service import (
    EventCodec,
    IngestService,
    call_rules_of,
    invalid_emails_of,
    rejected_events,
    to_call,
)
from prosperstack_destination.ingest.signature import verify
from prosperstack_destination.logs import bind_account
from prosperstack_destination.mapping.call_rules import CallRules, LeftOut
from prosperstack_destination.proxy_headers import client_address
from prosperstack_destination.store.accounts import Account
from prosperstack_destination.store.json_codec import dump
from prosperstack_destination.store.models import Call, Identify
from prosperstack_destination.store.recent_calls import Channel

#: Memory for large bodies, in arrays of the largest size.
MAX_LARGE_ARRAYS: Final = 8
#: The most rejected events that the response of an array names.
MAX_SHOWN_REJECTIONS: Final = 100

_TRUE: Final = frozenset({"true", "1", "yes"})
_FALSE: Final = frozenset({"false", "0", "no"})

#: Loads the data that `explain` needs for a call. Raises `MissingEmail`: see `ingest.explain.load_explain_context`.
ExplainContextLoader = Callable[[Account, Identify], Awaitable[ExplainContext]]


@dataclass(frozen=True, slots=True)
class ExplainOptions:
    """Options of the query string: whether to explain the call, and whether to store it."""

    explain: bool = False
    dry_run: bool = False


_NO_OPTIONS: Final = ExplainOptions()


class IdentifyEndpoint:
    """ASGI application for Identify and Delete calls, one call or an array of them.

    Status ``202`` means that the calls are on disk. An array may have ``array_bytes``. ``trusted_proxies`` is the
    number of proxies in front of the service: see `client_address`.
    """

    def __init__(
        self,
        authenticator: Authenticator,
        ingest: IngestService,
        load_explain_context: ExplainContextLoader,
        clock: Clock,
        *,
        array_bytes: int,
        trusted_proxies: int,
        observer: IngestObserver,
    ) -> None:
        self._authenticator = authenticator
        self._ingest = ingest
        self._load_explain_context = load_explain_context
        self._clock = clock
        self._observer = observer
        self._array_bytes = array_bytes
        self._trusted_proxies = trusted_proxies
        self._bodies = BodyMemory(MAX_LARGE_ARRAYS * array_bytes)
        #: One array is split at a time.
        self._splitting = FairTurns(lambda: 1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request. Errors become the statuses of Segment's contract: see `http_responses.STATUSES`."""
        try:
            response = await self._answer(scope, receive)
        except DestinationError as error:
            self._observer.call_rejected(error)
            response = error_response(error)
        await response(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive) -> Response:
        headers = dict(scope["headers"])
        account = await self._authenticate(scope, headers)
        bind_account(account.fingerprint)
        channel = Channel.WEBHOOK if "account_id" in scope.get("path_params", {}) else Channel.IDENTIFY
        body = b""
        try:
            options = _explain_options(scope["query_string"])
            if not _may_be_large(headers):
                body = await read_content(receive, headers)
                return await self._answer_body(account, channel, body, headers, options)
            with self._bodies.track(account.id, receive) as tracked:
                body = await read_content(tracked.receive, headers, array_limit=self._array_bytes)
                tracked.decompressed(len(body) if len(body) > EVENT_BYTES else 0)
                return await self._answer_body(account, channel, body, headers, options)
        except AccessDenied:
            raise  # the sender is not authenticated, so the account does not record the call
        except DestinationError as error:
            self._ingest.record_rejection(account, channel, body, error)
            return error_response(error)

    async def _answer_body(
        self,
        account: Account,
        channel: Channel,
        body: bytes,
        headers: Mapping[bytes, bytes],
        options: ExplainOptions,
    ) -> Response:
        signature = headers.get(b"x-signature")
        if is_array(body):
            return await self._answer_array(account, channel, body, signature)
        if signature is not None:
            await self._verify(account, signature, [body])
        return await self._answer_one(account, channel, body, options)

    async def _answer_one(
        self, account: Account, channel: Channel, body: bytes, options: ExplainOptions
    ) -> Response:
        now = self._clock()
        parsed = parse_call(parse_object(body), now, rules=call_rules_of(account))
        if parsed is None or isinstance(parsed, LeftOut):
            result = SKIPPED if parsed is None else LEFT_OUT[parsed]
            self._ingest.left_out(account, channel, body, result, now)
            return response_of(result)
        call = to_call(parsed, account, now, len(body))
        if options.explain or options.dry_run:
            return await self._explain(account, channel, body, parsed, call, options)
        return response_of(await self._ingest.ingest_one(account, channel, body, call, invalid_emails_of(parsed)))

    async def _authenticate(self, scope: Scope, headers: Mapping[bytes, bytes]) -> Account:
        """Return the account of the request's key, which has to be the account in the path where there is one.

        A signed request to an account's path needs no key: its signature is checked once the body is read.
        """
        account_id = scope.get("path_params", {}).get("account_id")
        authorization = headers.get(b"authorization")
        if account_id is None:
            return await self._account_of_key(scope, authorization)
        if b"x-signature" in headers:
            account = await self._authenticator.by_id(account_id)
            if await self._authenticator.shared_secrets(account):
                return account  # the signature decides, also where there is an Authorization header
            if authorization is None:
                raise InvalidApiKey("The account has no shared secret: create one, and set it in Segment.")
        elif authorization is None:
            raise InvalidApiKey(
                "The request is not signed: set the shared secret in the webhook's settings in Segment."
            )
        account = await self._account_of_key(scope, authorization)
        if account_id != account.id:
            raise InvalidApiKey("The API key does not belong to the account that the URL names.")
        return account

    async def _account_of_key(self, scope: Scope, authorization: bytes | None) -> Account:
        key = basic_key(authorization)
        account = self._authenticator.cached(key)
        if account is not None:
            return account
        return await self._authenticator.authenticate(key, client_address(scope, self._trusted_proxies))

    async def _verify(self, account: Account, signature: bytes, texts: Sequence[bytes]) -> None:
        """Verify the signature of one of ``texts``; an account without secrets has authenticated by its key."""
        secrets = await self._authenticator.shared_secrets(account)
        if secrets:
            await self._authenticator.touch_secret(account, verify(signature, texts, secrets))

    async def _answer_array(
        self, account: Account, channel: Channel, body: bytes, signature: bytes | None
    ) -> Response:
        """Commit the valid events of an array, and name the rejected ones by their positions.

        The status is 202 unless every event is rejected: Segment counts all events of a 4xx as failed, and repeats
        all events of a 5xx for four hours.
        """
        async with self._splitting.turn(account.id, 1):
            texts = [text async for text in split_array(body)]
        if signature is not None:
            await self._verify(account, signature, [*texts[:1], body])
        results = await self._ingest.ingest_many(account, channel, texts, EVENT)
        rejected = rejected_events(results)
        if rejected and len(rejected) == len(results):
            return rejected_batch(results, rejected[:MAX_SHOWN_REJECTIONS])
        count = len(results) - len(rejected)
        content: dict[str, object] = {"message": f"Accepted {count:,} of {len(results):,} events."}
        if rejected:
            content["refused"] = rejected[:MAX_SHOWN_REJECTIONS]
        return Response(dump(content), 202, media_type="application/json")

    async def _explain(
        self,
        account: Account,
        channel: Channel,
        body: bytes,
        parsed: ParsedIdentify | ParsedDelete,
        call: Call,
        options: ExplainOptions,
    ) -> Response:
        if not (isinstance(call, Identify) and isinstance(parsed, ParsedIdentify)):
            raise InvalidCall("A Delete call is not explained: leave explain and dry_run away.", field="type")
        try:
            context = await self._load_explain_context(account, call)
        except MissingEmail as error:
            raise MissingEmail(has_ids=error.has_ids, invalid_emails=parsed.invalid_emails) from None
        if options.dry_run:
            self._ingest.record(account, channel, lambda: body, call, EXPLAINED, call.received_at)
        else:
            result = await self._ingest.ingest_one(account, channel, body, call, parsed.invalid_emails)
            if isinstance(result, DestinationError):
                return error_response(result)
        explanation = explain(parsed, context, stored=not options.dry_run)
        return Response(explanation.model_dump_json(by_alias=True), 200, media_type="application/json")


def _may_be_large(headers: Mapping[bytes, bytes]) -> bool:
    """Return whether a body may be larger than one event, so that its memory has to be tracked."""
    length = content_length(headers)
    return length is None or length > EVENT_BYTES or b"content-encoding" in headers


def _read_event(
    text: bytes, now: int, rules: CallRules | None
) -> tuple[ParsedIdentify | ParsedDelete | IngestResult, int]:
    if len(text) > EVENT_BYTES:
        raise CallTooLarge(EVENT_BYTES)
    parsed = parse_call(parse_object(text), now, rules=rules)
    return LEFT_OUT[parsed] if isinstance(parsed, LeftOut) else parsed or SKIPPED, len(text)


#: Codec of events as JSON text.
EVENT: Final = EventCodec(_read_event, bytes)


def _explain_options(query_string: bytes) -> ExplainOptions:
    if not query_string:
        return _NO_OPTIONS
    query = parse_qs(query_string.decode("latin-1"), keep_blank_values=True)
    return ExplainOptions(explain=_flag(query, "explain"), dry_run=_flag(query, "dry_run"))


def _flag(query: dict[str, list[str]], name: str) -> bool:
    values = query.get(name)
    if values is None:
        return False
    word = values[-1].lower()
    if word not in _TRUE | _FALSE:
        raise InvalidCall(f"{name} has to be true or false.", field=name)
    return word in _TRUE

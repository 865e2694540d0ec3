"""``/identify`` and ``/webhook/{account}``: authenticate, understand, commit, answer.

These are plain ASGI applications, and no FastAPI routes: the machinery of those costs more than the rest of an
accept together. `ingest.openapi` documents them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol
from urllib.parse import parse_qs

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from prosperstack_destination.clock import Clock
from prosperstack_destination.errors import (
    AccessDenied,
    CallTooLarge,
    DestinationError,
    InvalidApiKey,
    InvalidCall,
    MissingEmail,
)
from prosperstack_destination.forwarded import client_address
from prosperstack_destination.ingest.basic_auth import basic_key, content_length
from prosperstack_destination.ingest.content_encoding import read_content
from prosperstack_destination.ingest.explain import ExplainContext, explain
from prosperstack_destination.ingest.fair_share import BodyMemory
from prosperstack_destination.ingest.json_array import is_array, split_array
from prosperstack_destination.ingest.observer import IngestObserver
from prosperstack_destination.ingest.parser import ParsedDelete, ParsedIdentify, parse_call
from prosperstack_destination.ingest.request_body import EVENT_BYTES, parse_object
from prosperstack_destination.ingest.responses import (
    EXPLAINED,
    SKIPPED,
    IngestResult,
    error_response,
    rejected_batch,
    response_of,
)
from prosperstack_destination.ingest.service import (
    EventCodec,
    IngestService,
    invalid_emails_of,
    rejected_events,
    to_call,
)
from prosperstack_destination.ingest.signature import verify
from prosperstack_destination.logs import bind_account
from prosperstack_destination.store.accounts import Account
from prosperstack_destination.store.json_codec import dump
from prosperstack_destination.store.models import Call, Identify
from prosperstack_destination.store.recent_calls import Channel

#: As much memory as arrays of the largest size need that come at once.
MAX_LARGE_ARRAYS: Final = 8
#: Of a refused array so many events are named.
MAX_SHOWN_REJECTIONS: Final = 100

_YES: Final = frozenset({"true", "1", "yes"})
_NO: Final = frozenset({"false", "0", "no"})


class Authenticator(Protocol):
    """Who opens accounts."""

    async def authenticate(self, key: str, address: str) -> Account:
        """The account that a key opens, which the client at ``address`` shows.

        Raises `AccessDenied`'s kinds, or `TemporaryError`'s.
        """

    def cached(self, key: str) -> Account | None:
        """The account that a key opens, where that is cached. Raises `AccessDenied`'s kinds where it opens none."""

    async def by_id(self, account_id: str) -> Account:
        """The account with this id; raises `InvalidApiKey` where there is none that may be called."""

    async def shared_secrets(self, account: Account) -> Sequence[str]:
        """The secrets that may have signed a webhook for an account."""

    async def touch_secret(self, account: Account, secret: str) -> None:
        """Note that one of them signed a webhook."""


class ExplainContextLoader(Protocol):
    """Who knows what explanations rest on."""

    async def knowledge(self, account: Account, call: Identify) -> ExplainContext:
        """What is known for an account, and of the person that a call speaks of."""


@dataclass(frozen=True, slots=True)
class ExplainOptions:
    """What the query string asks for."""

    explain: bool = False
    dry_run: bool = False


_NO_OPTIONS: Final = ExplainOptions()


class IdentifyEndpoint:
    """An ASGI application for Identify calls, one or an array of them. ``202`` says that they are on disk.

    An array may have ``array_bytes``. ``trusted_proxies`` are in front of the service: see `client_address`.
    """

    def __init__(
        self,
        authenticator: Authenticator,
        ingest: IngestService,
        library: ExplainContextLoader,
        clock: Clock,
        *,
        array_bytes: int,
        trusted_proxies: int,
        observer: IngestObserver,
    ) -> None:
        self._authenticator = authenticator
        self._library = library
        self._clock = clock
        self._reception = ingest
        self._observer = observer
        self._array_bytes = array_bytes
        self._trusted_proxies = trusted_proxies
        self._bodies = BodyMemory(MAX_LARGE_ARRAYS * array_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; the errors of this service become the statuses of Segment's contract."""
        try:
            response = await self._answer(scope, receive)
        except DestinationError as error:
            self._observer.call_rejected(error)
            response = error_response(error)
        await response(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive) -> Response:
        headers = dict(scope["headers"])
        account = await self._account(scope, headers)
        bind_account(account.fingerprint)
        way = Channel.WEBHOOK if "account_id" in scope.get("path_params", {}) else Channel.IDENTIFY
        body = b""
        try:
            wish = _explain_options(scope["query_string"])
            if not _may_be_large(headers):
                body = await read_content(receive, headers)
                return await self._answer_body(account, way, body, headers, wish)
            with self._bodies.track(account.id, receive) as counted:
                body = await read_content(counted.receive, headers, array_limit=self._array_bytes)
                counted.decompressed(len(body) if len(body) > EVENT_BYTES else 0)
                return await self._answer_body(account, way, body, headers, wish)
        except AccessDenied:
            raise  # whoever sent it has not shown to be one of the account's
        except DestinationError as error:
            self._reception.record_rejection(account, way, body, error)
            return error_response(error)

    async def _answer_body(
        self, account: Account, way: Channel, body: bytes, headers: Mapping[bytes, bytes], wish: ExplainOptions
    ) -> Response:
        signature = headers.get(b"x-signature")
        if is_array(body):
            return await self._answer_array(account, way, body, signature)
        if signature is not None:
            await self._verify(account, signature, [body])
        return await self._answer_one(account, way, body, wish)

    async def _answer_one(self, account: Account, way: Channel, body: bytes, wish: ExplainOptions) -> Response:
        now = self._clock()
        understood = parse_call(parse_object(body), now)
        if understood is None:
            self._reception.record(account, way, lambda: body, None, SKIPPED, now)
            return response_of(SKIPPED)
        call = to_call(understood, account, now, len(body))
        if wish.explain or wish.dry_run:
            return await self._explain(account, way, body, understood, call, wish)
        return response_of(
            await self._reception.ingest_one(account, way, body, call, invalid_emails_of(understood))
        )

    async def _account(self, scope: Scope, headers: Mapping[bytes, bytes]) -> Account:
        """The account that the key opens, which must be the one that the path names, where it names one.

        A path without a key is good for signed requests: their signature is checked once the body is there.
        """
        account_id = scope.get("path_params", {}).get("account_id")
        authorization = headers.get(b"authorization")
        if account_id is None:
            return await self._opened(scope, authorization)
        if b"x-signature" in headers:
            account = await self._authenticator.by_id(account_id)
            if await self._authenticator.shared_secrets(account):
                return account  # whatever Authorization says as well: the signature decides
            if authorization is None:
                raise InvalidApiKey("The account has no shared secret: create one, and set it in Segment.")
        elif authorization is None:
            raise InvalidApiKey(
                "The request is not signed: set the shared secret in the webhook's settings in Segment."
            )
        account = await self._opened(scope, authorization)
        if account_id != account.id:
            raise InvalidApiKey("The API key does not belong to the account that the URL names.")
        return account

    async def _opened(self, scope: Scope, authorization: bytes | None) -> Account:
        key = basic_key(authorization)
        account = self._authenticator.cached(key)
        if account is not None:
            return account
        return await self._authenticator.authenticate(key, client_address(scope, self._trusted_proxies))

    async def _verify(self, account: Account, signature: bytes, texts: Sequence[bytes]) -> None:
        """Check a signature of one of these texts, if the account has secrets; one without showed its key."""
        secrets = await self._authenticator.shared_secrets(account)
        if secrets:
            await self._authenticator.touch_secret(account, verify(signature, texts, secrets))

    async def _answer_array(self, account: Account, way: Channel, body: bytes, signature: bytes | None) -> Response:
        """Keep the good events of an array; name the bad ones by their places.

        An array of which anything was kept, or nothing had to be, is answered 202 whatever is wrong with the rest:
        a 4xx would count its good events as failed, a 5xx would have its bad ones sent again for four hours.
        """
        async with self._reception.turns.turn(account.id):
            texts = [text async for text in split_array(body)]
        if signature is not None:
            await self._verify(account, signature, [*texts[:1], body])
        results = await self._reception.ingest_many(account, way, texts, EVENT)
        refused = rejected_events(results)
        if refused and len(refused) == len(results):
            return rejected_batch(results, refused[:MAX_SHOWN_REJECTIONS])
        count = len(results) - len(refused)
        said: dict[str, object] = {"message": f"Accepted {count:,} of {len(results):,} events."}
        if refused:
            said["refused"] = refused[:MAX_SHOWN_REJECTIONS]
        return Response(dump(said), 202, media_type="application/json")

    async def _explain(
        self,
        account: Account,
        way: Channel,
        body: bytes,
        understood: ParsedIdentify | ParsedDelete,
        call: Call,
        wish: ExplainOptions,
    ) -> Response:
        if not (isinstance(call, Identify) and isinstance(understood, ParsedIdentify)):
            raise InvalidCall("A Delete call is not explained: leave explain and dry_run away.", field="type")
        try:
            knowledge = await self._library.knowledge(account, call)
        except MissingEmail as error:
            raise MissingEmail(has_ids=error.has_ids, invalid_emails=understood.invalid_emails) from None
        if wish.dry_run:
            self._reception.record(account, way, lambda: body, call, EXPLAINED, call.received_at)
        else:
            result = await self._reception.ingest_one(account, way, body, call, understood.invalid_emails)
            if isinstance(result, DestinationError):
                return error_response(result)
        explanation = explain(understood, knowledge, stored=not wish.dry_run)
        return Response(explanation.model_dump_json(by_alias=True), 200, media_type="application/json")


def _may_be_large(headers: Mapping[bytes, bytes]) -> bool:
    """Whether a body may have more than an event has, so that its memory is counted as it comes."""
    length = content_length(headers)
    return length is None or length > EVENT_BYTES or b"content-encoding" in headers


def _read_event(text: bytes, now: int) -> tuple[ParsedIdentify | ParsedDelete | IngestResult, int]:
    if len(text) > EVENT_BYTES:
        raise CallTooLarge(EVENT_BYTES)
    return parse_call(parse_object(text), now) or SKIPPED, len(text)


#: An event as its JSON text.
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
    if word not in _YES | _NO:
        raise InvalidCall(f"{name} has to be true or false.", field=name)
    return word in _YES

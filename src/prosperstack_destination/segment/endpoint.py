"""``POST /identify``: authenticate, understand, commit, answer.

This is a plain ASGI application within the FastAPI one, and no FastAPI route: the machinery of those costs
more than the rest of an accept together. `segment.openapi` documents it.
"""

from dataclasses import dataclass
from typing import Protocol
from urllib.parse import parse_qs

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from prosperstack_destination.clock import Clock
from prosperstack_destination.errors import BadCall, DestinationError
from prosperstack_destination.segment.answers import message, refusal
from prosperstack_destination.segment.body import parse_object, read_body
from prosperstack_destination.segment.call import Understood, asks_to_skip, read_call, understand
from prosperstack_destination.segment.credentials import basic_key
from prosperstack_destination.segment.explain import Knowledge, explain
from prosperstack_destination.state.accounts import Account
from prosperstack_destination.state.inbox import Inbox
from prosperstack_destination.state.profile import Identify

_YES = frozenset({"true", "1", "yes"})
_NO = frozenset({"false", "0", "no"})


class Authenticator(Protocol):
    """Who opens accounts."""

    async def authenticate(self, key: str) -> Account:
        """The account that a key opens; raises `AccessDenied`'s kinds, or `TryLater`'s."""


class Library(Protocol):
    """Who knows what explanations rest on."""

    async def knowledge(self, account: Account, email: str) -> Knowledge:
        """What is known for an account, and of an email in it."""


@dataclass(frozen=True, slots=True)
class _Wish:
    """What the query string asks for."""

    explain: bool = False
    dry_run: bool = False


class IdentifyEndpoint:
    """An ASGI application for one Identify call. ``202`` says that it is on disk."""

    def __init__(self, authenticator: Authenticator, inbox: Inbox, library: Library, clock: Clock) -> None:
        self._authenticator = authenticator
        self._inbox = inbox
        self._library = library
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; the errors of this service become the statuses of Segment's contract."""
        try:
            response = await self._answer(scope, receive)
        except DestinationError as error:
            response = refusal(error)
        await response(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive) -> Response:
        headers = dict(scope["headers"])
        account = await self._authenticator.authenticate(basic_key(headers.get(b"authorization")))
        wish = _wish(scope["query_string"])
        body = await read_body(receive, _content_length(headers.get(b"content-length")))
        call = read_call(parse_object(body))
        if asks_to_skip(call):
            return message(200, "Skipped: the call's integrations switch ProsperStack off.")
        now = self._clock()
        understood = understand(call, now)
        identify = _identify(account, understood, now, len(body))
        if wish.explain or wish.dry_run:
            return await self._explain(account, understood, identify, wish)
        await self._inbox.accept([identify])
        return message(202, "Accepted.")

    async def _explain(self, account: Account, understood: Understood, identify: Identify, wish: _Wish) -> Response:
        knowledge = await self._library.knowledge(account, understood.email)
        if not wish.dry_run:
            await self._inbox.accept([identify])
        explanation = explain(understood, knowledge, stored=not wish.dry_run)
        return Response(explanation.model_dump_json(by_alias=True), 200, media_type="application/json")


def _identify(account: Account, understood: Understood, now: int, size: int) -> Identify:
    return Identify(
        account_id=account.id,
        email=understood.email,
        address=understood.address,
        traits=understood.traits,
        at=understood.at,
        received_at=now,
        user_id=understood.user_id,
        size=size,
    )


def _content_length(header: bytes | None) -> int | None:
    return int(header) if header is not None and header.isdigit() else None


def _wish(query_string: bytes) -> _Wish:
    if not query_string:
        return _Wish()
    query = parse_qs(query_string.decode("latin-1"), keep_blank_values=True)
    return _Wish(explain=_flag(query, "explain"), dry_run=_flag(query, "dry_run"))


def _flag(query: dict[str, list[str]], name: str) -> bool:
    values = query.get(name)
    if values is None:
        return False
    word = values[-1].lower()
    if word not in _YES | _NO:
        raise BadCall(f"{name} has to be true or false.", field=name)
    return word in _YES

"""Identify calls as nearly all of them come, taken in without a task for each.

A request's task, and all the steps that it goes through to `segment.endpoint` and back, cost more than it does to
understand its call. A plain call needs none of that: it waits for nothing but the commit that others share with it.
What is not plain, or has anything wrong with it, goes the way of `IdentifyEndpoint`, which gives the same answers.
"""

from collections.abc import Callable, Sequence
from contextvars import copy_context
from functools import partial
from typing import Final, Protocol

import structlog
from starlette.responses import Response

from prosperstack_destination.clock import Clock
from prosperstack_destination.errors import DestinationError
from prosperstack_destination.log_context import begin, note_account
from prosperstack_destination.segment.answers import refusal, response_of
from prosperstack_destination.segment.batch import is_array
from prosperstack_destination.segment.body import EVENT_BYTES, parse_object
from prosperstack_destination.segment.call import read_call
from prosperstack_destination.segment.credentials import basic_key
from prosperstack_destination.segment.reception import Reception, to_call
from prosperstack_destination.segment.results import result_of
from prosperstack_destination.state.accounts import Account
from prosperstack_destination.state.inbox import Settle
from prosperstack_destination.state.profile import Call, Outcome
from prosperstack_destination.state.recent_calls import Way

log = structlog.get_logger(__name__)

#: A request's headers: their names in lower case, and their values.
Headers = Sequence[tuple[bytes, bytes]]
#: Headers of requests that are not plain: they are signed, or there is more to be agreed on.
_NOT_PLAIN: Final = frozenset({b"x-signature", b"transfer-encoding", b"expect", b"upgrade"})


class Rememberer(Protocol):
    """Who knows accounts by their keys."""

    def remembered(self, key: str) -> Account | None:
        """The account that a key opens, as far as that is known just now; raises `AccessDenied`'s kinds."""


class Writer(Protocol):
    """Who writes calls."""

    def put(self, calls: Sequence[Call], settle: Settle) -> None:
        """Have calls written, and be told what became of them; raises `TryLater`'s kinds."""


class PlainCalls:
    """Takes in one call at a time. ``unexpected`` is the answer where a fault of ours kept it from the database."""

    def __init__(
        self,
        accounts: Rememberer,
        inbox: Writer,
        reception: Reception,
        clock: Clock,
        unexpected: Callable[[Exception], Response],
    ) -> None:
        self._accounts = accounts
        self._inbox = inbox
        self._reception = reception
        self._clock = clock
        self._unexpected = unexpected

    def take(self, headers: Headers, body: bytes, request_id: str, answer: Callable[[Response], None]) -> bool:
        """Take in the call of a request whose body is there; ``answer`` is called, later, with the answer.

        False: it is not plain, or something is wrong with it, and nothing has happened.
        """
        authorization = None
        for name, value in headers:
            if name == b"authorization":
                authorization = value
            elif name in _NOT_PLAIN:
                return False
        try:
            account = self._accounts.remembered(basic_key(authorization))
            if account is None or len(body) > EVENT_BYTES or is_array(body):
                return False
            now = self._clock()
            understood = read_call(parse_object(body), now)
            if understood is None:
                return False
            call = to_call(understood, account, now, len(body))
            self._inbox.put([call], partial(self._settle, account, body, call, request_id, answer))
        except Exception:  # noqa: BLE001 -- it happens on the long way as well, where it is told
            return False
        return True

    def _settle(
        self,
        account: Account,
        body: bytes,
        call: Call,
        request_id: str,
        answer: Callable[[Response], None],
        outcomes: list[Outcome] | Exception,
    ) -> None:
        try:
            response = self._response(account, body, call, outcomes)
        except Exception as fault:  # noqa: BLE001 -- it is told, and whoever waits is not to wait for ever
            response = copy_context().run(self._failed, account, request_id, fault)
        answer(response)

    def _response(self, account: Account, body: bytes, call: Call, outcomes: list[Outcome] | Exception) -> Response:
        if isinstance(outcomes, DestinationError):
            self._reception.refuse(account, Way.IDENTIFY, body, outcomes)
            return refusal(outcomes)
        if isinstance(outcomes, Exception):
            raise outcomes
        result = result_of(outcomes[0])
        self._reception.tell(account, Way.IDENTIFY, lambda: body, call, result, call.received_at)
        return response_of(result)

    def _failed(self, account: Account, request_id: str, fault: Exception) -> Response:
        begin(request_id)
        note_account(account.fingerprint)
        log.error("a call could not be answered", exc_info=fault)
        return self._unexpected(fault)

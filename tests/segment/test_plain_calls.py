"""Plain calls, where something goes wrong."""

from collections.abc import Sequence

import pytest
from starlette.responses import PlainTextResponse, Response
from structlog.testing import capture_logs

from prosperstack_destination.errors import KeyRefused, Overloaded
from prosperstack_destination.segment.observing import Nobody
from prosperstack_destination.segment.plain_calls import PlainCalls
from prosperstack_destination.segment.reception import Reception
from prosperstack_destination.state.accounts import Account, AccountStatus
from prosperstack_destination.state.inbox import Settle
from prosperstack_destination.state.profile import Call, Outcome
from support.clocks import NEW_YEAR

HEADERS = [(b"authorization", b"Basic a2V5Og==")]
CALL = b'{"traits": {"email": "ann@example.com"}}'
ACCOUNT = Account("acct_1", "", "", False, AccountStatus.ACTIVE, None, None, None, None)


class Accounts:
    """Knows one key."""

    def __init__(self, knows: Account | Exception | None = ACCOUNT) -> None:
        self._knows = knows

    def remembered(self, _key: str) -> Account | None:
        """What it knows."""
        if isinstance(self._knows, Exception):
            raise self._knows
        return self._knows


class Inbox:
    """Takes calls, and writes none."""

    def __init__(self, fault: Exception | None = None) -> None:
        self._fault = fault
        self.calls: list[Call] = []
        self.settle: Settle = lambda _: None

    def put(self, calls: Sequence[Call], settle: Settle) -> None:
        """Keep it for the test."""
        if self._fault is not None:
            raise self._fault
        self.calls += calls
        self.settle = settle

    async def accept(self, _calls: Sequence[Call]) -> list[Outcome]:
        """Take none in this way."""
        raise AssertionError


def plain(accounts: Accounts, inbox: Inbox) -> tuple[bool, list[Response]]:
    answers: list[Response] = []
    reception = Reception(inbox, lambda: NEW_YEAR, Nobody())
    calls = PlainCalls(accounts, inbox, reception, lambda: NEW_YEAR, lambda _: PlainTextResponse("oh", 500))
    return calls.take(HEADERS, CALL, answers.append), answers


def test_a_call_is_answered_once_it_is_written() -> None:
    """Taken is not yet kept: the answer comes with what became of it."""
    inbox = Inbox()
    taken, answers = plain(Accounts(), inbox)

    assert (taken, len(inbox.calls), answers) == (True, 1, [])
    inbox.settle([Outcome.ACCEPTED])
    assert [each.status_code for each in answers] == [202]


def test_a_fault_of_ours_is_told_and_logged() -> None:
    """A call that a fault kept from being written is answered as one on the long way is."""
    inbox = Inbox()
    _, answers = plain(Accounts(), inbox)
    with capture_logs() as lines:
        inbox.settle(ValueError("a fault"))

    assert [each.status_code for each in answers] == [500]
    assert [line["log_level"] for line in lines] == ["error"]


@pytest.mark.parametrize("knows", [None, KeyRefused("no"), ValueError("a fault")])
def test_who_is_not_known_goes_the_long_way(knows: Exception | None) -> None:
    """There they are looked for, or refused; and a fault is told."""
    inbox = Inbox()

    assert plain(Accounts(knows), inbox) == (False, [])
    assert inbox.calls == []


def test_too_many_go_the_long_way() -> None:
    """There it is told that there is no room."""
    assert plain(Accounts(), Inbox(Overloaded("no room", retry_after=1))) == (False, [])

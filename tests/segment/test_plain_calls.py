"""Plain calls, where something goes wrong."""

from collections.abc import Sequence

import pytest
from starlette.responses import PlainTextResponse, Response
from structlog.testing import capture_logs

from prosperstack_destination.errors import KeyRefused, Overloaded
from prosperstack_destination.log_context import add_context
from prosperstack_destination.segment.observing import Nobody, Observer
from prosperstack_destination.segment.plain_calls import PlainCalls
from prosperstack_destination.segment.reception import Reception
from prosperstack_destination.state.accounts import Account, AccountStatus
from prosperstack_destination.state.inbox import Settle
from prosperstack_destination.state.profile import Call, Outcome
from prosperstack_destination.state.recent_calls import Fate
from support.clocks import NEW_YEAR

HEADERS = [(b"authorization", b"Basic a2V5Og==")]
CALL = b'{"traits": {"email": "ann@example.com"}}'
ACCOUNT = Account("acct_1", "", "test-9f86d081", False, AccountStatus.ACTIVE, None, None, None, None)


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


class Broken(Nobody):
    """An observer with a fault."""

    def wants(self, account_id: str, fate: Fate) -> bool:
        """Fail."""
        raise ValueError(f"{account_id} {fate}")


def plain(accounts: Accounts, inbox: Inbox, observer: Observer | None = None) -> tuple[bool, list[Response]]:
    answers: list[Response] = []
    reception = Reception(inbox, lambda: NEW_YEAR, observer or Nobody())
    calls = PlainCalls(accounts, inbox, reception, lambda: NEW_YEAR, lambda _: PlainTextResponse("oh", 500))
    return calls.take(HEADERS, CALL, "the-id", answers.append), answers


def test_a_call_is_answered_once_it_is_written() -> None:
    """Taken is not yet kept: the answer comes with what became of it."""
    inbox = Inbox()
    taken, answers = plain(Accounts(), inbox)

    assert (taken, len(inbox.calls), answers) == (True, 1, [])
    inbox.settle([Outcome.ACCEPTED])
    assert [each.status_code for each in answers] == [202]


@pytest.mark.parametrize(
    ("observer", "result"), [(Nobody(), ValueError("a fault")), (Broken(), [Outcome.ACCEPTED])]
)
def test_a_fault_of_ours_is_told_and_logged(observer: Observer, result: list[Outcome] | Exception) -> None:
    """Whatever goes wrong with a call that was taken, its sender is answered, and the log says whose it was."""
    inbox = Inbox()
    _, answers = plain(Accounts(), inbox, observer)
    with capture_logs(processors=[add_context]) as lines:
        inbox.settle(result)

    assert [each.status_code for each in answers] == [500]
    assert [(line["log_level"], line["request_id"], line["account"]) for line in lines] == [
        ("error", "the-id", "test-9f86d081")
    ]


@pytest.mark.parametrize("knows", [None, KeyRefused("no"), ValueError("a fault")])
def test_who_is_not_known_goes_the_long_way(knows: Exception | None) -> None:
    """There they are looked for, or refused; and a fault is told."""
    inbox = Inbox()

    assert plain(Accounts(knows), inbox) == (False, [])
    assert inbox.calls == []


def test_too_many_go_the_long_way() -> None:
    """There it is told that there is no room."""
    assert plain(Accounts(), Inbox(Overloaded("no room", retry_after=1))) == (False, [])

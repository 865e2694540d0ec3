"""Group commit."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
from sqlalchemy import Connection, text
from structlog.testing import capture_logs

from prosperstack_destination.errors import Overloaded, StoreUnavailable
from prosperstack_destination.store import profiles
from prosperstack_destination.store.database import Database
from prosperstack_destination.store.group_commit import MAX_BATCH, MAX_WAITING, MIN_BATCH, CommitDelay, GroupCommit
from prosperstack_destination.store.merge_calls import CommitResult, ingest_calls
from prosperstack_destination.store.models import Call, Outcome
from support.accounts import open_account
from support.intake import identify, pseudonym

pytestmark = pytest.mark.anyio


class Counting:
    """Commits to a database, counts the transactions, and can be held up."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.transactions = 0
        self.begun = asyncio.Event()
        self.open = asyncio.Event()
        self.open.set()

    async def __call__(self, calls: Sequence[Call]) -> CommitResult:
        self.begun.set()
        await self.open.wait()
        self.transactions += 1
        return await self._database.write(ingest_calls, calls, pseudonym)


@pytest.fixture
def counting(database: Database) -> Counting:
    return Counting(database)


@pytest.fixture
def changed() -> list[set[str]]:
    return []


@pytest.fixture
async def inbox(database: Database, counting: Counting, changed: list[set[str]]) -> AsyncIterator[GroupCommit]:
    await database.write(open_account)
    inbox = GroupCommit(counting, changed.append)
    inbox.start()
    yield inbox
    counting.open.set()
    await inbox.close()


def emails(connection: Connection) -> set[str]:
    return set(connection.scalars(text("SELECT email FROM profiles")))


class Patient(CommitDelay):
    """Waits once, for long, and notes what came of it."""

    def __init__(self) -> None:
        super().__init__()
        self.arrived: list[int] = []

    def seconds(self, waiting: int, now: float) -> float:  # noqa: ARG002 -- it is made up
        return 0.0 if self.arrived else 0.5

    def record_wait(self, arrived: int) -> None:
        self.arrived.append(arrived)


async def test_transaction_waits_for_expected_calls(database: Database, counting: Counting) -> None:
    """A call that arrives during the wait shares the transaction, and the policy learns of it."""
    await database.write(open_account)
    delay = Patient()
    inbox = GroupCommit(counting, lambda _: None, delay)
    inbox.start()

    first = asyncio.create_task(inbox.accept([identify("first@b.c")]))
    await asyncio.sleep(0.05)  # longer than it gathers calls that are there
    await inbox.accept([identify("second@b.c")])
    await first
    await inbox.close()

    assert (counting.transactions, delay.arrived) == (1, [1])


async def test_accepted_call_is_committed(inbox: GroupCommit, database: Database, changed: list[set[str]]) -> None:
    """When accept returns, the profile can be read, and its account is notified."""
    await inbox.accept([identify(plan="pro")])

    profile = await database.read(profiles.find, "acct_1", "a@b.c")
    assert profile is not None
    assert profile.values() == {"plan": "pro"}
    assert changed == [{"acct_1"}]


async def test_concurrent_calls_share_transactions(inbox: GroupCommit, counting: Counting) -> None:
    """A hundred concurrent calls take a few transactions."""
    await asyncio.gather(*(inbox.accept([identify(f"{n}@b.c")]) for n in range(100)))

    assert counting.transactions <= 3


async def test_calls_of_the_next_turns_share_the_transaction(inbox: GroupCommit, counting: Counting) -> None:
    """A call that arrives a few turns of the loop after the first one is in the same transaction."""

    async def arrive(turns: int) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
        await inbox.accept([identify(f"{turns}@b.c")])

    await asyncio.gather(*(arrive(turns) for turns in (0, 5, 10, 15)))

    assert counting.transactions == 1


async def test_single_call_does_not_wait(inbox: GroupCommit, counting: Counting) -> None:
    """Without other calls before it, a call waits for a few turns of the loop only."""
    await inbox.accept([identify()])
    accepting = asyncio.create_task(inbox.accept([identify("c@d.e")]))
    turns = 0
    while counting.transactions < 2:
        turns += 1
        await asyncio.sleep(0)

    assert turns <= 6
    await accepting


async def test_gathering_ends_despite_further_calls(inbox: GroupCommit, counting: Counting) -> None:
    """Earlier calls wait for some of the further calls only."""
    first = asyncio.create_task(inbox.accept([identify()]))
    others: list[asyncio.Task[list[Outcome]]] = []
    while counting.transactions == 0:
        others.append(asyncio.create_task(inbox.accept([identify(f"{len(others)}@b.c")])))
        await asyncio.sleep(0)

    await asyncio.gather(first, *others)
    assert 10 < len(others) < 100


async def test_single_call_overtakes_pieces_of_large_requests(inbox: GroupCommit, counting: Counting) -> None:
    """A call is in the next transaction for any number of waiting pieces; each transaction has a piece too."""
    counting.open.clear()
    ended: list[int | str] = []

    async def accept(name: int | str, count: int, *, bulk: bool) -> None:
        await inbox.accept([identify(f"{name}.{n}@b.c") for n in range(count)], bulk=bulk)
        ended.append(name)

    pieces = [asyncio.create_task(accept(number, inbox.piece, bulk=True)) for number in range(5)]
    await counting.begun.wait()
    call = asyncio.create_task(accept("call", 1, bulk=False))
    await asyncio.sleep(0)
    counting.open.set()
    await asyncio.gather(*pieces, call)

    assert set(ended[:3]) == {0, "call", 1}
    assert ended[3:] == [2, 3, 4]


async def test_piece_size_follows_the_database(inbox: GroupCommit) -> None:
    """The slower the transactions are, the smaller the pieces, within bounds."""
    before = inbox.piece
    for number in range(30):
        await inbox.accept([identify(f"{number}.{n}@b.c") for n in range(MIN_BATCH)], bulk=True)

    assert MIN_BATCH <= inbox.piece <= MAX_BATCH
    assert inbox.piece != before


async def test_broken_call_does_not_affect_others(inbox: GroupCommit, database: Database) -> None:
    """In a batch with one call that cannot be stored, the others are stored."""
    batch = [identify(f"{n}@b.c") for n in range(9)]
    batch[4] = identify("broken@b.c", account="no such account")

    results = await asyncio.gather(*(inbox.accept([each]) for each in batch), return_exceptions=True)

    assert [n for n, result in enumerate(results) if isinstance(result, Exception)] == [4]
    assert await database.read(emails) == {f"{n}@b.c" for n in range(9) if n != 4}


async def test_failed_callback_does_not_affect_others(inbox: GroupCommit) -> None:
    """A callback that raises is logged, and the other senders get their results."""

    def fail(_: object) -> None:
        raise ValueError("a fault")

    with capture_logs() as lines:
        inbox.submit([identify()], fail)
        await inbox.accept([identify("c@d.e")])

    assert [line["log_level"] for line in lines] == ["error"]


async def test_unavailable_database_is_reported_to_all(inbox: GroupCommit, database: Database) -> None:
    """No call is acknowledged while the database is unavailable; afterwards calls are accepted again."""

    def break_it(connection: Connection, broken: bool) -> None:
        names = ("profiles", "hidden") if broken else ("hidden", "profiles")
        connection.execute(text("ALTER TABLE {} RENAME TO {}".format(*names)))

    await database.write(break_it, True)
    results = await asyncio.gather(*(inbox.accept([identify()]) for _ in range(5)), return_exceptions=True)
    assert all(isinstance(result, StoreUnavailable) for result in results)

    await database.write(break_it, False)
    await inbox.accept([identify()])
    assert await database.read(emails) == {"a@b.c"}


async def test_queue_is_bounded(inbox: GroupCommit, counting: Counting) -> None:
    """Beyond the bound a call is refused at once, and the waiting ones are still written."""
    counting.open.clear()
    tasks = [asyncio.create_task(inbox.accept([identify(f"{n}@b.c")])) for n in range(MAX_WAITING + 700)]
    for _ in range(5):
        await asyncio.sleep(0)

    refused = [task for task in tasks if task.done()]
    assert refused
    assert all(isinstance(task.exception(), Overloaded) for task in refused)
    assert len(refused) >= 100

    counting.open.set()
    await asyncio.gather(*(task for task in tasks if task not in refused))


async def test_memory_is_bounded(inbox: GroupCommit, counting: Counting) -> None:
    """A few large calls are refused like many small ones."""
    counting.open.clear()
    tasks = [asyncio.create_task(inbox.accept([identify(size=20_000_000)])) for _ in range(4)]
    for _ in range(5):
        await asyncio.sleep(0)

    assert any(task.done() and isinstance(task.exception(), Overloaded) for task in tasks)
    counting.open.set()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_closing_commits_waiting_calls(inbox: GroupCommit, database: Database, counting: Counting) -> None:
    """Closing commits the waiting calls; later ones are refused."""
    counting.open.clear()
    tasks = [asyncio.create_task(inbox.accept([identify(f"{n}@b.c")])) for n in range(10)]
    await asyncio.sleep(0)
    closing = asyncio.create_task(inbox.close())
    counting.open.set()
    await asyncio.gather(*tasks, closing)

    assert len(await database.read(emails)) == 10
    with pytest.raises(Overloaded, match="stopping"):
        await inbox.accept([identify()])

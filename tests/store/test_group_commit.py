"""Group commit."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
from sqlalchemy import Connection, text
from structlog.testing import capture_logs

from prosperstack_destination.errors import Overloaded, StoreUnavailable
from prosperstack_destination.store import profiles
from prosperstack_destination.store.commit_delay import CommitDelay
from prosperstack_destination.store.database import Database
from prosperstack_destination.store.group_commit import MAX_BATCH, MAX_WAITING, MIN_BATCH, GroupCommit
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


async def test_a_transaction_waits_for_calls_that_are_expected(database: Database, counting: Counting) -> None:
    """A call that comes while a transaction waits shares it, and the policy learns of that."""
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


async def test_an_accepted_call_is_in_the_database(
    inbox: GroupCommit, database: Database, changed: list[set[str]]
) -> None:
    """When accept returns the profile can be read, and its account is told of."""
    await inbox.accept([identify(plan="pro")])

    profile = await database.read(profiles.find, "acct_1", "a@b.c")
    assert profile is not None
    assert profile.values() == {"plan": "pro"}
    assert changed == [{"acct_1"}]


async def test_calls_at_once_share_transactions(inbox: GroupCommit, counting: Counting) -> None:
    """A hundred calls at once take a few transactions, not a hundred."""
    await asyncio.gather(*(inbox.accept([identify(f"{n}@b.c")]) for n in range(100)))

    assert counting.transactions <= 3


async def test_calls_that_arrive_meanwhile_come_along(inbox: GroupCommit, counting: Counting) -> None:
    """Who arrives a few turns of the loop after the first is in the same transaction: no two halves take turns."""

    async def arrive(turns: int) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
        await inbox.accept([identify(f"{turns}@b.c")])

    await asyncio.gather(*(arrive(turns) for turns in (0, 5, 10, 15)))

    assert counting.transactions == 1


async def test_who_comes_alone_need_not_wait(inbox: GroupCommit, counting: Counting) -> None:
    """Where nobody else was there before nobody is waited for: a few turns of the loop are all that it takes."""
    await inbox.accept([identify()])
    accepting = asyncio.create_task(inbox.accept([identify("c@d.e")]))
    turns = 0
    while counting.transactions < 2:
        turns += 1
        await asyncio.sleep(0)

    assert turns <= 6
    await accepting


async def test_an_endless_trickle_ends_the_gathering(inbox: GroupCommit, counting: Counting) -> None:
    """However many come one after the other, those who came first wait for some of them only."""
    first = asyncio.create_task(inbox.accept([identify()]))
    others: list[asyncio.Task[list[Outcome]]] = []
    while counting.transactions == 0:
        others.append(asyncio.create_task(inbox.accept([identify(f"{len(others)}@b.c")])))
        await asyncio.sleep(0)

    await asyncio.gather(first, *others)
    assert 10 < len(others) < 100


async def test_single_calls_overtake_pieces_of_large_requests(inbox: GroupCommit, counting: Counting) -> None:
    """A call is in the next transaction, however many pieces wait; each transaction has a piece as well."""
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


async def test_pieces_follow_the_pace_of_the_database(inbox: GroupCommit) -> None:
    """The slower the transactions are, the smaller are the pieces, within bounds."""
    before = inbox.piece
    for number in range(30):
        await inbox.accept([identify(f"{number}.{n}@b.c") for n in range(MIN_BATCH)], bulk=True)

    assert MIN_BATCH <= inbox.piece <= MAX_BATCH
    assert inbox.piece != before


async def test_a_call_that_breaks_takes_no_other_with_it(inbox: GroupCommit, database: Database) -> None:
    """In a batch with one call that cannot be stored, the others are stored."""
    batch = [identify(f"{n}@b.c") for n in range(9)]
    batch[4] = identify("broken@b.c", account="no such account")

    results = await asyncio.gather(*(inbox.accept([each]) for each in batch), return_exceptions=True)

    assert [n for n, result in enumerate(results) if isinstance(result, Exception)] == [4]
    assert await database.read(emails) == {f"{n}@b.c" for n in range(9) if n != 4}


async def test_a_sender_that_cannot_be_told_keeps_no_other_from_it(inbox: GroupCommit) -> None:
    """What goes wrong when one is told is logged, and the others are told."""

    def fail(_: object) -> None:
        raise ValueError("a fault")

    with capture_logs() as lines:
        inbox.submit([identify()], fail)
        await inbox.accept([identify("c@d.e")])

    assert [line["log_level"] for line in lines] == ["error"]


async def test_a_database_that_is_away_is_told_to_everybody(inbox: GroupCommit, database: Database) -> None:
    """Nobody is told that a call was kept while the database takes none; afterwards all goes on."""

    def break_it(connection: Connection, broken: bool) -> None:
        names = ("profiles", "hidden") if broken else ("hidden", "profiles")
        connection.execute(text("ALTER TABLE {} RENAME TO {}".format(*names)))

    await database.write(break_it, True)
    results = await asyncio.gather(*(inbox.accept([identify()]) for _ in range(5)), return_exceptions=True)
    assert all(isinstance(result, StoreUnavailable) for result in results)

    await database.write(break_it, False)
    await inbox.accept([identify()])
    assert await database.read(emails) == {"a@b.c"}


async def test_the_queue_is_bounded(inbox: GroupCommit, counting: Counting) -> None:
    """Past the bound a call is refused at once, and what waits is still written."""
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
    """Few calls that are large are refused as many small ones are."""
    counting.open.clear()
    tasks = [asyncio.create_task(inbox.accept([identify(size=20_000_000)])) for _ in range(4)]
    for _ in range(5):
        await asyncio.sleep(0)

    assert any(task.done() and isinstance(task.exception(), Overloaded) for task in tasks)
    counting.open.set()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_closing_writes_what_waits(inbox: GroupCommit, database: Database, counting: Counting) -> None:
    """A stop commits what was waiting; what comes later is refused."""
    counting.open.clear()
    tasks = [asyncio.create_task(inbox.accept([identify(f"{n}@b.c")])) for n in range(10)]
    await asyncio.sleep(0)
    closing = asyncio.create_task(inbox.close())
    counting.open.set()
    await asyncio.gather(*tasks, closing)

    assert len(await database.read(emails)) == 10
    with pytest.raises(Overloaded, match="stopping"):
        await inbox.accept([identify()])

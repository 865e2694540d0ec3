"""Recent calls."""

import pytest
from sqlalchemy import Connection

from prosperstack_destination.clock import DAY, SECOND
from prosperstack_destination.reconcile.retention_job import RetentionJob, RetentionPolicy
from prosperstack_destination.store import erasure, recent_calls
from prosperstack_destination.store.database import Database
from prosperstack_destination.store.models import Delete, IdKind
from prosperstack_destination.store.recent_calls import CallOutcome, CallQuery
from support.accounts import open_account
from support.clocks import NEW_YEAR, SetClock
from support.intake import ACCOUNT, identify, pseudonym, take
from support.recent_calls import arrival, keep_calls, kept

pytestmark = pytest.mark.anyio

U1 = (IdKind.USER, "u1")
BROWSER = (IdKind.ANONYMOUS, "a1")


@pytest.fixture
async def store(database: Database) -> Database:
    """A database with two accounts."""
    await database.write(open_account)
    await database.write(open_account, "acct_2")
    return database


def bodies(connection: Connection, wanted: CallQuery | None = None, account: str = ACCOUNT) -> list[str]:
    return [each.body for each in kept(connection, account, wanted)]


def delete(at: int = NEW_YEAR, received_at: int = NEW_YEAR + SECOND) -> Delete:
    return Delete(ACCOUNT, "u1", at, received_at)


async def test_newest_calls_are_kept(store: Database) -> None:
    """The newest calls of each account are kept, and paged from the newest on."""
    await store.write(keep_calls, [arrival(account="acct_2", body="theirs")])
    await store.write(recent_calls.append, [arrival(body=f"{n}") for n in range(7)], pseudonym, 5)
    page = await store.read(recent_calls.page, ACCOUNT, CallQuery(), since=0, limit=2)
    rest = await store.read(recent_calls.page, ACCOUNT, CallQuery(), since=0, before=page[-1].id, limit=9)

    assert [each.body for each in page + rest] == ["6", "5", "4", "3", "2"]
    assert await store.read(bodies, account="acct_2") == ["theirs"]
    assert await store.read(recent_calls.newest_id, ACCOUNT) == page[0].id
    assert await store.read(recent_calls.newest_id, "acct_3") == 0


async def test_calls_are_isolated_by_account(store: Database) -> None:
    """A call is found by its ID in its own account only."""
    await store.write(keep_calls, [arrival(body="mine")])
    [mine] = await store.read(kept)

    assert await store.read(recent_calls.get, ACCOUNT, mine.id) == mine
    assert await store.read(recent_calls.get, "acct_2", mine.id) is None


async def test_filters(store: Database) -> None:
    """Calls are found by person, type, source and outcome, and by several of these."""
    await store.write(
        keep_calls,
        [
            arrival(body="by email", source="source:web"),
            arrival(None, ids=(U1,), body="by id", fate=CallOutcome.REFUSED),
            arrival("x@y.z", body="another", source="audience:power_users", kind="track"),
        ],
    )
    about = recent_calls.subjects_of(["a@b.c"], [U1], pseudonym)

    assert await store.read(bodies, CallQuery(subjects=about)) == ["by id", "by email"]
    assert await store.read(bodies, CallQuery(subjects=about, outcome=CallOutcome.REFUSED)) == ["by id"]
    assert await store.read(bodies, CallQuery(subjects=frozenset())) == []
    assert await store.read(bodies, CallQuery(type="track")) == ["another"]
    assert await store.read(bodies, CallQuery(source="audience")) == ["another"]
    assert await store.read(bodies, CallQuery(source="source:web")) == ["by email"]
    assert await store.read(bodies, CallQuery(source="sourc")) == []
    assert await store.read(recent_calls.sources, ACCOUNT) == ["audience:power_users", "source:web"]


async def test_call_is_found_by_the_email_of_its_id(store: Database) -> None:
    """A call with IDs only is found by the email that they came with."""
    await store.write(take, identify(user_id="u1", anonymous_id="a1"))
    call = arrival(None, ids=((IdKind.USER, "new"), BROWSER), fate=CallOutcome.ACCEPTED, body="by the browser")
    await store.write(keep_calls, [call])

    about = recent_calls.subjects_of(["a@b.c"], [], pseudonym)
    assert await store.read(bodies, CallQuery(subjects=about)) == ["by the browser"]


async def test_deletion_erases_calls(store: Database) -> None:
    """A Delete call erases the person's calls, by their emails and IDs, and those that may be theirs."""
    await store.write(take, identify(user_id="u1", anonymous_id="a1"))
    await store.write(
        keep_calls,
        [
            arrival(body="by email"),
            arrival(None, ids=(U1,), body="by id", fate=CallOutcome.REFUSED),
            arrival(None, ids=(BROWSER,), body="by the browser", fate=CallOutcome.SKIPPED),
            arrival(None, body="not JSON", fate=CallOutcome.REFUSED),
            arrival("x@y.z", ids=((IdKind.USER, "u2"),), body="another's"),
            arrival(account="acct_2", ids=(U1,), body="another account's"),
        ],
    )
    await store.write(take, delete())

    assert await store.read(bodies) == ["another's"]
    assert await store.read(bodies, account="acct_2") == ["another account's"]


async def test_erasure_by_email_erases_calls(store: Database) -> None:
    """An erasure by email erases the person's calls, also those with an ID only."""
    await store.write(take, identify(user_id="u1"))
    await store.write(keep_calls, [arrival(None, ids=(U1,), body="by id"), arrival(body="by email")])
    await store.write(erasure.erase_email, ACCOUNT, "a@b.c", pseudonym, "me", NEW_YEAR)

    assert await store.read(bodies) == []


async def test_call_written_after_a_deletion_is_redacted(store: Database) -> None:
    """Of a call from before a deletion that is written afterwards, only its arrival is kept."""
    await store.write(take, identify(user_id="u1", anonymous_id="a1"), delete(at=NEW_YEAR + SECOND))
    accepted = {"fate": CallOutcome.ACCEPTED}
    await store.write(
        keep_calls,
        [
            arrival(body="before", **accepted),  # type: ignore[arg-type] # a fate
            arrival(None, ids=(BROWSER,), body="of the browser", **accepted),  # type: ignore[arg-type] # same
            arrival(None, ids=(U1,), body="the deletion", fate=CallOutcome.ERASED, kind="delete"),
            arrival(None, ids=(U1,), at=NEW_YEAR + 2 * SECOND, body="after", fate=CallOutcome.HELD),
        ],
    )

    assert await store.read(bodies) == ["after", "", "", ""]
    assert [each.outcome for each in await store.read(kept)][1] is CallOutcome.ERASED


async def test_calls_expire_after_a_day(store: Database, clock: SetClock) -> None:
    """Retention deletes calls older than a day, or all where none are to be kept."""
    await store.write(keep_calls, [arrival(body="old"), arrival(at=NEW_YEAR + DAY, body="new")])
    clock.advance(86_400 + 1)

    await RetentionJob(store, RetentionPolicy(0, 1, 1, calls=5), lambda: True, clock).delete_expired(0)
    left = await store.read(bodies)
    await RetentionJob(store, RetentionPolicy(0, 1, 1, calls=0), lambda: True, clock).delete_expired(0)

    assert left == ["new"]
    assert await store.read(bodies) == []

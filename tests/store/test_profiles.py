"""Profiles in the database."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from prosperstack_destination.clock import MINUTE
from prosperstack_destination.store import json_codec, profiles
from prosperstack_destination.store.database import Database
from prosperstack_destination.store.models import Status
from support.accounts import open_account
from support.clocks import NEW_YEAR
from support.intake import identify, stored, take

pytestmark = pytest.mark.anyio

NOW = NEW_YEAR


async def test_first_call_creates_a_profile(database: Database) -> None:
    """A person's first call creates their profile, which is pending from then on."""
    await database.write(open_account)

    taken = await database.write(take, identify(plan="pro", at=NOW - MINUTE))

    profile = await database.read(stored)
    assert taken.changed == {"acct_1"}
    assert profile.traits == {"plan": ("pro", NOW - MINUTE)}
    assert (profile.version, profile.status, profile.pending_since) == (1, Status.PENDING, NOW)


async def test_call_without_traits_creates_a_profile(database: Database) -> None:
    """An identified person is known."""
    await database.write(open_account)

    await database.write(take, identify())

    assert (await database.read(stored)).traits == {}


async def test_calls_of_a_batch_merge(database: Database) -> None:
    """Calls of one batch merge as if they had come one by one."""
    await database.write(open_account)

    await database.write(
        take,
        identify(plan="pro", at=NOW),
        identify("x@y.z", n=1),
        identify(plan="free", at=NOW - 1),
        identify(seats=5),
    )

    assert (await database.read(stored)).values() == {"plan": "pro", "seats": 5}
    assert (await database.read(stored, "x@y.z")).values() == {"n": 1}


async def test_repeated_call_changes_nothing(database: Database) -> None:
    """A call without differences makes nothing due."""
    await database.write(open_account)
    await database.write(take, identify(plan="pro"))
    await database.write(profiles.settle, await database.read(stored), Status.IN_SYNC)

    taken = await database.write(take, identify(plan="pro"), identify(plan="old", at=NOW - 1))

    profile = await database.read(stored)
    assert taken.changed == set()
    assert (profile.version, profile.status) == (1, Status.IN_SYNC)


async def test_same_value_at_a_later_time_is_not_due(database: Database) -> None:
    """The later time of the same value outdates calls in between, and makes nothing due."""
    await database.write(open_account)
    await database.write(take, identify(plan="pro", at=NOW - 10))
    await database.write(profiles.settle, await database.read(stored), Status.IN_SYNC)
    await database.write(take, identify(plan="pro", at=NOW))

    taken = await database.write(take, identify(plan="free", at=NOW - 5))

    assert taken.changed == set()
    assert (await database.read(stored)).traits == {"plan": ("pro", NOW)}


async def test_accounts_are_isolated(database: Database) -> None:
    """The same email in two accounts is two profiles."""
    await database.write(open_account)
    await database.write(open_account, "acct_2")

    taken = await database.write(take, identify(plan="a"), identify(plan="b", account="acct_2"))

    assert taken.changed == {"acct_1", "acct_2"}
    assert (await database.read(stored)).values() == {"plan": "a"}
    assert (await database.read(stored, "a@b.c", "acct_2")).values() == {"plan": "b"}


async def test_change_during_settling_stays_due(database: Database) -> None:
    """Settling names its version: a change in between is not settled."""
    await database.write(open_account)
    await database.write(take, identify(plan="pro"))
    in_flight = await database.read(stored)
    await database.write(take, identify(plan="free", at=NOW + 1))

    assert await database.write(profiles.settle, in_flight, Status.IN_SYNC) is False
    assert [each.id for each in await database.read(profiles.due, "acct_1", NOW, None, 10)] == [in_flight.id]

    assert await database.write(profiles.settle, await database.read(stored), Status.IN_SYNC) is True
    assert await database.read(profiles.due, "acct_1", NOW, None, 10) == []


async def test_longest_due_profiles_go_first(database: Database) -> None:
    """The profile that is due longest is evaluated first; a postponed one later."""
    await database.write(open_account)
    for n, email in enumerate(["c@x.y", "a@x.y", "b@x.y"]):
        await database.write(take, identify(email, received_at=NOW + n, at=NOW))

    due = await database.read(profiles.due, "acct_1", NOW + 10, None, 2)
    await database.write(profiles.postpone, due[0].id, NOW + 5, "it failed")
    later = await database.read(profiles.due, "acct_1", NOW + 10, None, 3)

    assert [each.email for each in due] == ["c@x.y", "a@x.y"]
    assert [each.email for each in later] == ["a@x.y", "b@x.y", "c@x.y"]
    assert [(each.attempts, each.status_reason) for each in later] == [(0, None), (0, None), (1, "it failed")]
    assert await database.read(profiles.due, "acct_1", NOW - 1, None, 3) == []


async def test_attempts_are_counted(database: Database) -> None:
    """An unmatched profile counts its attempts, and is due again later."""
    await database.write(open_account)
    await database.write(take, identify(plan="pro"))
    for _ in range(2):
        profile = await database.read(stored)
        await database.write(profiles.settle, profile, Status.UNMATCHED, due_at=NOW + MINUTE)

    profile = await database.read(stored)
    assert (profile.status, profile.attempts) == (Status.UNMATCHED, 2)
    assert await database.read(profiles.due, "acct_1", NOW, None, 1) == []
    assert len(await database.read(profiles.due, "acct_1", NOW + MINUTE, None, 1)) == 1


#: Characters that both databases store: ingest replaces the others.
STORABLE = st.characters(exclude_categories=["Cs"], exclude_characters="\0")

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(STORABLE),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(STORABLE), inner, max_size=3),
    max_leaves=5,
)


@given(json_values)
def test_any_trait_can_be_stored(value: JsonValue) -> None:
    """A trait of any storable value, without U+0000, is loaded as it was stored."""
    assert repr(json_codec.load(json_codec.dump(value))) == repr(value)

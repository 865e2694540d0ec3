"""Ingest of calls: identities, held calls, erasures."""

import asyncio
from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, StaticPool, create_engine, select

from prosperstack_destination.clock import DAY
from prosperstack_destination.store import (
    accounts,
    activity,
    held_calls,
    profile_queries,
    profiles,
    remote_erasures,
    sources,
    subscribers,
)
from prosperstack_destination.store.accounts import OnDelete
from prosperstack_destination.store.database import Database
from prosperstack_destination.store.merge import MAX_IDS
from prosperstack_destination.store.merge_calls import ingest, ingest_calls
from prosperstack_destination.store.models import Call, CallSource, Delete, IdKind, SourceKind, Status
from prosperstack_destination.store.subscribers import SubscriberSnapshot
from prosperstack_destination.store.tables import held, identities, metadata
from support.accounts import open_account
from support.clocks import NEW_YEAR
from support.intake import ACCOUNT, apply_values, identify, outcomes, pseudonym, stored, take

pytestmark = pytest.mark.anyio

NOW = NEW_YEAR
AUDIENCE = CallSource(SourceKind.AUDIENCE, "power_users")


def delete(user_id: str = "u1", at: int = NOW) -> Delete:
    return Delete(ACCOUNT, user_id, at, NOW)


def whole(connection: Connection) -> str:
    """Return the whole database as text."""
    return repr([connection.execute(select(table)).all() for table in metadata.sorted_tables])


@pytest.fixture
async def store(database: Database) -> Database:
    await database.write(open_account)
    return database


async def test_known_id_replaces_the_email(store: Database) -> None:
    """A call with a known userId, else a known anonymousId, reaches the email of that ID."""
    await store.write(take, identify("a@b.c", user_id="u1", anonymous_id="x1"))

    by_user = await store.write(take, identify(None, user_id="u1", plan="pro"))
    by_browser = await store.write(take, identify(None, user_id="unknown", anonymous_id="x1", seats=5))

    assert outcomes(by_user) == outcomes(by_browser) == ["accepted"]
    assert (await store.read(stored)).values() == {"plan": "pro", "seats": 5}


async def test_unknown_id_is_reported(store: Database) -> None:
    """A call about an unknown person stores nothing and reports it; other calls of the batch count."""
    taken = await store.write(take, identify(None, user_id="u1", plan="pro"), identify("x@y.z"))

    assert outcomes(taken) == ["unknown", "accepted"]
    assert "u1" not in await store.read(whole)


async def test_id_is_known_within_its_batch(store: Database) -> None:
    """A call may rely on an identity from an earlier call of its batch."""
    taken = await store.write(take, identify("a@b.c", user_id="u1"), identify(None, user_id="u1", plan="pro"))

    assert outcomes(taken) == ["accepted", "accepted"]
    assert (await store.read(stored)).values() == {"plan": "pro"}


async def test_id_follows_its_new_email(store: Database) -> None:
    """After a known userId came with another email, later calls without one go to that."""
    await store.write(take, identify("old@b.c", user_id="u1", at=NOW - 20))
    await store.write(take, identify("new@b.c", user_id="u1", at=NOW - 10))
    await store.write(take, identify("old@b.c", user_id="u1", at=NOW - 15))  # a straggler
    await store.write(take, identify(None, user_id="u1", plan="pro"))

    assert (await store.read(stored, "new@b.c")).values() == {"plan": "pro"}
    assert (await store.read(stored, "old@b.c")).values() == {}


async def test_older_call_does_not_move_an_id(store: Database) -> None:
    """An ID that came with its email again is not moved by an older call with another email."""
    for at in (NOW - 30, NOW - 10):
        await store.write(take, identify("a@b.c", user_id="u1", at=at))
    await store.write(take, identify("x@y.z", user_id="u1", at=NOW - 20))

    await store.write(take, identify(None, user_id="u1", plan="pro"))
    assert (await store.read(stored, "a@b.c")).values() == {"plan": "pro"}


emails = st.sampled_from(["a@b.c", "x@y.z", "m@n.o"])
contributions = st.lists(
    st.builds(
        lambda email, user, at: identify(email, user_id=user, at=NOW - at),
        emails,
        st.sampled_from(["u1", "u2"]),
        st.integers(0, 5),
    ),
    min_size=1,
    max_size=6,
)


@cache
def empty_store() -> Engine:
    """A store in memory with one account and no profiles."""
    engine = create_engine("sqlite://", poolclass=StaticPool)
    with engine.begin() as connection:
        metadata.create_all(connection)
        open_account(connection)
    return engine


@given(contributions, st.data())
def test_identities_are_independent_of_order(calls: list[Call], data: st.DataObject) -> None:
    """For any order, batches and repetition of calls, IDs have the same emails and profiles the same traits."""
    shuffled = data.draw(st.permutations(calls + data.draw(st.lists(st.sampled_from(calls), max_size=3))))
    cut = data.draw(st.integers(0, len(shuffled)))
    seen = []
    for batches in ([calls], [shuffled[:cut], shuffled[cut:]]):
        with empty_store().connect() as connection:  # without a commit: the next example finds it empty again
            for batch in batches:
                if batch:
                    ingest_calls(connection, batch, pseudonym)
            known = connection.execute(
                select(identities.c.external_id, identities.c.email).order_by(identities.c.external_id)
            ).all()
            ids = [
                profiles.drafts(connection, ACCOUNT, [email], NOW).get(email)
                for email in ("a@b.c", "x@y.z", "m@n.o")
            ]
            seen.append((known, [draft and draft.traits for draft in ids]))

    assert seen[0] == seen[1]


async def test_engage_call_is_held_until_an_email_is_known(store: Database) -> None:
    """Calls of Engage for an unknown ID are stored, merged, and applied when an email comes with the ID."""
    for at, member in ((NOW - 5, True), (NOW - 9, False)):
        taken = await store.write(take, identify(None, user_id="u1", source=AUDIENCE, at=at, power_users=member))
        assert outcomes(taken) == ["held"]

    await store.write(take, identify("a@b.c", user_id="u1", plan="pro"))

    assert (await store.read(stored)).values() == {"plan": "pro", "power_users": True}
    assert await store.read(lambda connection: connection.execute(select(held)).all()) == []


async def test_held_call_is_released_within_its_batch(store: Database) -> None:
    """Engage sends a person twice, and both calls may come in one batch."""
    member = identify(None, user_id="u1", source=AUDIENCE, power_users=True)
    taken = await store.write(take, member, identify("a@b.c", user_id="u1", source=AUDIENCE, power_users=True))

    assert outcomes(taken) == ["held", "accepted"]
    assert (await store.read(stored)).values() == {"power_users": True}


async def test_held_call_expires(store: Database) -> None:
    """A held call is dropped after a month."""
    await store.write(take, identify(None, user_id="u1", source=AUDIENCE, power_users=True))
    later = NOW + held_calls.RETENTION + DAY
    await store.write(
        take, identify(None, user_id="u2", source=AUDIENCE, at=later, received_at=later, power_users=True)
    )

    kept = await store.read(lambda connection: connection.scalars(select(held.c.external_id)).all())
    assert kept == ["u2"]


async def erasable(store: Database) -> None:
    """A person with a userId, two emails, and a subscriber with applied values."""
    await store.write(take, identify("old@b.c", user_id="u1", at=NOW - 30, plan="free"))
    await store.write(take, identify("a@b.c", user_id="u1", anonymous_id="x1", at=NOW - 20, plan="pro"))
    await store.write(
        subscribers.replace_for_email, ACCOUNT, "a@b.c", [SubscriberSnapshot("subr_1", "a@b.c", {})], NOW
    )
    await store.write(apply_values, ACCOUNT, "subr_1", {"plan": "pro", "seats": 1}, observed=None, now=NOW)


async def test_deletion_erases_the_person(store: Database) -> None:
    """Profiles, IDs and emails, also former ones, are erased, and the applied values are queued for clearing."""
    await erasable(store)

    taken = await store.write(take, delete(at=NOW - 10))

    left = await store.read(whole)
    assert outcomes(taken) == ["erased"]
    assert not any(trace in left for trace in ("u1", "x1", "pro'", "@b.c"))
    assert await store.read(profiles.find, ACCOUNT, "a@b.c") is None
    assert await store.read(profiles.find, ACCOUNT, "old@b.c") is None
    [to_clear] = await store.read(remote_erasures.due, ACCOUNT, NOW, 10)
    assert (to_clear.subscriber_id, to_clear.properties, to_clear.delete_subscriber) == (
        "subr_1",
        ("plan", "seats"),
        False,
    )


async def test_older_call_does_not_restore_an_erased_person(store: Database) -> None:
    """A call from before the deletion is ignored, by userId and by email; a later one counts."""
    await erasable(store)
    await store.write(take, delete(at=NOW - 10))

    late = [identify("a@b.c", at=NOW - 15), identify("new@b.c", user_id="u1", at=NOW - 10)]
    taken = await store.write(take, *late, identify("a@b.c", user_id="u1", at=NOW - 5, plan="new"))

    assert outcomes(taken) == ["outdated", "outdated", "accepted"]
    assert (await store.read(stored)).values() == {"plan": "new"}


async def test_unknown_person_can_be_deleted(store: Database) -> None:
    """A deletion of an unknown ID is no error, and outdates calls that arrive later."""
    taken = await store.write(take, delete("u9", at=NOW - 10), identify("z@b.c", user_id="u9", at=NOW - 11))

    assert outcomes(taken) == ["erased", "outdated"]


@pytest.mark.parametrize(
    ("on_delete", "cleared"),
    [(OnDelete.CLEAR, [False]), (OnDelete.DELETE_SUBSCRIBER, [True]), (OnDelete.NOTHING, [])],
)
async def test_deletion_follows_the_accounts_setting(
    store: Database, on_delete: OnDelete, cleared: list[bool]
) -> None:
    """By the account's setting the properties are cleared, the subscriber is deleted, or ProsperStack is
    unchanged.
    """
    await erasable(store)
    await store.write(accounts.set_on_delete, ACCOUNT, on_delete)
    await store.write(take, delete())

    due = await store.read(remote_erasures.due, ACCOUNT, NOW, 10)
    assert [each.delete_subscriber for each in due] == cleared


async def test_deletion_is_in_the_audit_log(store: Database) -> None:
    """The audit log says what was done, without personal data."""
    await erasable(store)
    await store.write(take, delete())

    [entry] = await store.read(activity.recent_actions, ACCOUNT, 10)
    assert (entry.actor, entry.action) == ("segment", "erase")
    assert entry.details == {
        "subject": pseudonym("user:u1")[:12],
        "profiles": 2,
        "subscribers": 1,
        "in_prosperstack": "clear",
    }


async def test_sources_are_counted(store: Database) -> None:
    """An account's sources have their latest calls, their counts, and the members of audiences."""
    source = CallSource(SourceKind.SOURCE, "project-1", "analytics.js 3.8.2")
    members = [identify(f"{n}@b.c", source=AUDIENCE, power_users=True) for n in range(5)]
    await store.write(take, identify(source=source), *members)
    later = NOW + 60
    await store.write(
        take,
        identify("0@b.c", source=AUDIENCE, at=later, received_at=later, power_users=False),
        identify("1@b.c", source=AUDIENCE, at=later, received_at=later, power_users=True),
        identify("2@b.c", source=AUDIENCE, at=later, received_at=later, power_users="true"),
    )

    audience, project = await store.read(sources.of_account, ACCOUNT)
    assert (audience.kind, audience.key, audience.calls, audience.members) == ("audience", "power_users", 8, 4)
    assert (audience.first_at, audience.last_at) == (NOW, later)
    assert (project.kind, project.key, project.name, project.calls) == ("source", "project-1", source.name, 1)


async def test_number_of_sources_is_bounded(store: Database) -> None:
    """A script that makes up sources does not fill the database."""
    calls = [identify(source=CallSource(SourceKind.SOURCE, f"p{n}")) for n in range(sources.MAX_SOURCES + 20)]
    await store.write(take, *calls)

    assert len(await store.read(sources.of_account, ACCOUNT)) == sources.MAX_SOURCES


async def test_call_after_a_deletion_in_its_batch_counts(store: Database) -> None:
    """The calls of a batch, deletions included, count in their order."""
    await store.write(
        take,
        identify("a@b.c", user_id="u1", at=NOW - 9, plan="before"),
        delete(at=NOW - 5),
        identify("a@b.c", user_id="u1", at=NOW - 1, seats=1),
    )

    profile = await store.read(stored)
    assert (profile.values(), profile.status) == ({"seats": 1}, Status.PENDING)


async def ingest_concurrently(url: str, *batches: list[Call]) -> None:
    """Ingest batches by several connections at once, as replicas do."""
    replicas = [Database(url) for _ in batches]
    try:
        await asyncio.gather(
            *(ingest(each, batch, pseudonym) for each, batch in zip(replicas, batches, strict=True))
        )
    finally:
        for each in replicas:
            await each.close()


async def test_replicas_merge_the_same_people(store: Database, database_url: str) -> None:
    """Concurrent calls about the same people at several replicas all count, in any order."""
    people = [f"{n}@b.c" for n in range(40)]
    batches: list[list[Call]] = [
        [replace(identify(each, user_id=f"u{each}", at=NOW - n), traits={f"t{n}": n, "plan": n}) for each in order]
        for n in range(6)
        for order in (people, people[::-1])
    ]
    await ingest_concurrently(database_url, *batches)

    for each in people:
        profile = await store.read(stored, each)
        assert profile.values() == {"plan": 0, **{f"t{n}": n for n in range(6)}}


async def test_replicas_agree_on_an_identity(store: Database, database_url: str) -> None:
    """An ID that comes with several emails at once belongs to the email of its latest call."""
    batches: list[list[Call]] = [[identify(f"{n}@b.c", user_id="u1", at=NOW - n)] for n in (3, 0, 5, 1, 4, 2)]
    await ingest_concurrently(database_url, *batches)

    await store.write(take, identify(None, user_id="u1", plan="pro"))
    assert (await store.read(stored, "0@b.c")).values() == {"plan": "pro"}


async def test_replicas_release_held_calls(store: Database, database_url: str) -> None:
    """Of two concurrent calls about a new person, with and without the email, neither stays held."""
    people = [f"u{n}" for n in range(20)]
    without: list[Call] = [identify(None, user_id=each, source=AUDIENCE, power_users=True) for each in people]
    having: list[Call] = [identify(f"{each}@b.c", user_id=each) for each in people]
    await ingest_concurrently(database_url, without, having, without, having)

    for each in people:
        assert (await store.read(stored, f"{each}@b.c")).values() == {"power_users": True}


async def test_replicas_do_not_restore_erased_people(store: Database, database_url: str) -> None:
    """Calls from before a deletion that are ingested at the same moment are erased or ignored."""
    older: list[Call] = [identify("a@b.c", user_id="u1", at=NOW - 5, plan="pro")]
    await ingest_concurrently(database_url, older, [delete(at=NOW)], older, older)

    profile = await store.read(profiles.find, ACCOUNT, "a@b.c")
    assert profile is None


async def test_person_after_a_deletion_counts_as_lost(store: Database) -> None:
    """An erased person's subscribers are unknown, and are looked up after a new call; others' are not."""
    await erasable(store)
    await store.write(take, delete(at=NOW - 10))
    await store.write(take, identify("a@b.c", plan="back"), identify("new@b.c", plan="new"))

    lost = [(await store.read(stored, email)).lost_at for email in ("a@b.c", "new@b.c")]
    assert lost == [NOW, None]


async def test_number_of_ids_is_bounded(database: Database) -> None:
    """A person keeps the latest IDs: beyond the bound the oldest of either kind is dropped."""
    await database.write(open_account)
    calls = [identify(at=NEW_YEAR + n, anonymous_id=f"browser {n}") for n in range(MAX_IDS)]
    await database.write(take, *calls, identify(at=NEW_YEAR + MAX_IDS, user_id="ann"))

    profile = await database.read(stored)
    detail = await database.read(profile_queries.detail, profile.id)

    assert len(detail.ids) == MAX_IDS
    assert (IdKind.ANONYMOUS, "browser 0") not in detail.ids
    assert detail.ids[IdKind.ANONYMOUS, "browser 1"] == NEW_YEAR + 1
    assert detail.ids[IdKind.USER, "ann"] == NEW_YEAR + MAX_IDS


async def test_full_profile_keeps_traits_that_the_account_maps(database: Database) -> None:
    """Mapped traits are kept before others, also of held calls; dropped ones are counted."""
    await database.write(open_account)
    many = dict.fromkeys((f"t{n:04}" for n in range(1_200)), True)
    waiting = replace(identify(None, user_id="u1", source=AUDIENCE), traits={**many, "zz_plan": "pro"})
    named, full = identify(user_id="u1", at=NEW_YEAR - 1, zz_name="Jo"), replace(identify(), traits=many)
    calls = [waiting, named, full]
    read = {"zz_name", "zz_plan"}

    taken = await database.write(ingest_calls, calls, pseudonym, lambda *_: read.__contains__, exclusive=True)

    profile = await database.read(stored)
    assert len(profile.traits) == 1_000
    assert {name: profile.traits[name][0] for name in read} == {"zz_name": "Jo", "zz_plan": "pro"}
    assert taken.dropped >= 202

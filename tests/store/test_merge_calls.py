"""Taking calls in: whose they are, what is held, who is forgotten."""

import asyncio
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, create_engine, select

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
from prosperstack_destination.store.merge_calls import ingest, ingest_calls
from prosperstack_destination.store.models import Call, CallSource, Delete, IdKind, SourceKind, Status
from prosperstack_destination.store.profiles import MAX_IDS
from prosperstack_destination.store.subscribers import SubscriberSnapshot
from prosperstack_destination.store.tables import held, identities, metadata
from support.accounts import open_account
from support.clocks import NEW_YEAR
from support.intake import ACCOUNT, identify, outcomes, pseudonym, stored, take

pytestmark = pytest.mark.anyio

NOW = NEW_YEAR
AUDIENCE = CallSource(SourceKind.AUDIENCE, "power_users")


def delete(user_id: str = "u1", at: int = NOW) -> Delete:
    return Delete(ACCOUNT, user_id, at, NOW)


def whole(connection: Connection) -> str:
    """Everything in the database, as text."""
    return repr([connection.execute(select(table)).all() for table in metadata.sorted_tables])


@pytest.fixture
async def store(database: Database) -> Database:
    await database.write(open_account)
    return database


async def test_a_known_id_stands_in_for_the_email(store: Database) -> None:
    """A call with a known userId, or failing that a known anonymousId, reaches the email it came with."""
    await store.write(take, identify("a@b.c", user_id="u1", anonymous_id="x1"))

    by_user = await store.write(take, identify(None, user_id="u1", plan="pro"))
    by_browser = await store.write(take, identify(None, user_id="unknown", anonymous_id="x1", seats=5))

    assert outcomes(by_user) == outcomes(by_browser) == ["accepted"]
    assert (await store.read(stored)).values() == {"plan": "pro", "seats": 5}


async def test_an_unknown_id_is_told(store: Database) -> None:
    """A call about nobody that is known keeps nothing, and says so; other calls with it are taken."""
    taken = await store.write(take, identify(None, user_id="u1", plan="pro"), identify("x@y.z"))

    assert outcomes(taken) == ["unknown", "accepted"]
    assert "u1" not in await store.read(whole)


async def test_an_id_is_known_within_its_own_batch(store: Database) -> None:
    """Of two calls in one batch the second may rely on what the first one said."""
    taken = await store.write(take, identify("a@b.c", user_id="u1"), identify(None, user_id="u1", plan="pro"))

    assert outcomes(taken) == ["accepted", "accepted"]
    assert (await store.read(stored)).values() == {"plan": "pro"}


async def test_an_id_follows_its_new_email(store: Database) -> None:
    """When a known userId comes with another email, later calls without one follow it."""
    await store.write(take, identify("old@b.c", user_id="u1", at=NOW - 20))
    await store.write(take, identify("new@b.c", user_id="u1", at=NOW - 10))
    await store.write(take, identify("old@b.c", user_id="u1", at=NOW - 15))  # a straggler
    await store.write(take, identify(None, user_id="u1", plan="pro"))

    assert (await store.read(stored, "new@b.c")).values() == {"plan": "pro"}
    assert (await store.read(stored, "old@b.c")).values() == {}


async def test_a_call_in_between_does_not_take_an_id_away(store: Database) -> None:
    """An id that came with its email again since is not taken away by an older call with another."""
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


@given(contributions, st.data())
def test_whose_an_id_is_does_not_depend_on_the_order(calls: list[Call], data: st.DataObject) -> None:
    """However calls are shuffled, cut up and repeated, ids have the same emails and profiles the same traits."""
    shuffled = data.draw(st.permutations(calls + data.draw(st.lists(st.sampled_from(calls), max_size=3))))
    cut = data.draw(st.integers(0, len(shuffled)))
    seen = []
    for batches in ([calls], [shuffled[:cut], shuffled[cut:]]):
        engine = create_engine("sqlite://")
        with engine.begin() as connection:
            metadata.create_all(connection)
            open_account(connection)
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
        engine.dispose()

    assert seen[0] == seen[1]


async def test_engage_is_held_until_an_email_is_known(store: Database) -> None:
    """What Engage says of an unknown id is kept, merged, and applied when an email comes with the id."""
    for at, member in ((NOW - 5, True), (NOW - 9, False)):
        taken = await store.write(take, identify(None, user_id="u1", source=AUDIENCE, at=at, power_users=member))
        assert outcomes(taken) == ["held"]

    await store.write(take, identify("a@b.c", user_id="u1", plan="pro"))

    assert (await store.read(stored)).values() == {"plan": "pro", "power_users": True}
    assert await store.read(lambda connection: connection.execute(select(held)).all()) == []


async def test_what_is_held_and_learned_in_one_batch(store: Database) -> None:
    """Engage sends a person twice, and both calls may come in one batch."""
    member = identify(None, user_id="u1", source=AUDIENCE, power_users=True)
    taken = await store.write(take, member, identify("a@b.c", user_id="u1", source=AUDIENCE, power_users=True))

    assert outcomes(taken) == ["held", "accepted"]
    assert (await store.read(stored)).values() == {"power_users": True}


async def test_what_is_held_is_bounded_in_time(store: Database) -> None:
    """What nobody claims for a month is dropped."""
    await store.write(take, identify(None, user_id="u1", source=AUDIENCE, power_users=True))
    later = NOW + held_calls.RETENTION + DAY
    await store.write(
        take, identify(None, user_id="u2", source=AUDIENCE, at=later, received_at=later, power_users=True)
    )

    kept = await store.read(lambda connection: connection.scalars(select(held.c.external_id)).all())
    assert kept == ["u2"]


async def erasable(store: Database) -> None:
    """A person with a userId, two emails, and a subscriber that was written to."""
    await store.write(take, identify("old@b.c", user_id="u1", at=NOW - 30, plan="free"))
    await store.write(take, identify("a@b.c", user_id="u1", anonymous_id="x1", at=NOW - 20, plan="pro"))
    await store.write(
        subscribers.replace_for_email, ACCOUNT, "a@b.c", [SubscriberSnapshot("subr_1", "a@b.c", {})], NOW
    )
    await store.write(
        subscribers.mark_applied, ACCOUNT, "subr_1", {"plan": "pro", "seats": 1}, observed=None, now=NOW
    )


async def test_a_deletion_leaves_nothing_of_the_person(store: Database) -> None:
    """Profiles, ids, emails, also former ones: all are gone, and what was written is to be cleared."""
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


async def test_older_calls_do_not_bring_the_person_back(store: Database) -> None:
    """A call from before the deletion is ignored, by userId and by email; one from after it is taken."""
    await erasable(store)
    await store.write(take, delete(at=NOW - 10))

    late = [identify("a@b.c", at=NOW - 15), identify("new@b.c", user_id="u1", at=NOW - 10)]
    taken = await store.write(take, *late, identify("a@b.c", user_id="u1", at=NOW - 5, plan="new"))

    assert outcomes(taken) == ["outdated", "outdated", "accepted"]
    assert (await store.read(stored)).values() == {"plan": "new"}


async def test_somebody_unknown_is_deleted_as_well(store: Database) -> None:
    """A deletion of an unknown id is no error, and counts against calls that are still under way."""
    taken = await store.write(take, delete("u9", at=NOW - 10), identify("z@b.c", user_id="u9", at=NOW - 11))

    assert outcomes(taken) == ["erased", "outdated"]


@pytest.mark.parametrize(
    ("on_delete", "cleared"),
    [(OnDelete.CLEAR, [False]), (OnDelete.DELETE_SUBSCRIBER, [True]), (OnDelete.NOTHING, [])],
)
async def test_what_a_deletion_does_in_prosperstack(
    store: Database, on_delete: OnDelete, cleared: list[bool]
) -> None:
    """Per account the properties are cleared, the subscriber is deleted, or nothing is done there."""
    await erasable(store)
    await store.write(accounts.set_on_delete, ACCOUNT, on_delete)
    await store.write(take, delete())

    due = await store.read(remote_erasures.due, ACCOUNT, NOW, 10)
    assert [each.delete_subscriber for each in due] == cleared


async def test_a_deletion_is_in_the_audit_trail(store: Database) -> None:
    """The trail says what was done, and has nothing of the person."""
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


async def test_sources_are_remembered(store: Database) -> None:
    """An account knows what sends to it, when, how often, and who is in an audience."""
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


async def test_made_up_sources_are_bounded(store: Database) -> None:
    """A script that makes up sources does not fill the database with them."""
    calls = [identify(source=CallSource(SourceKind.SOURCE, f"p{n}")) for n in range(sources.MAX_SOURCES + 20)]
    await store.write(take, *calls)

    assert len(await store.read(sources.of_account, ACCOUNT)) == sources.MAX_SOURCES


async def test_someone_erased_in_a_batch_may_come_back_in_it(store: Database) -> None:
    """Calls of a batch are taken in their order, deletions among them."""
    await store.write(
        take,
        identify("a@b.c", user_id="u1", at=NOW - 9, plan="before"),
        delete(at=NOW - 5),
        identify("a@b.c", user_id="u1", at=NOW - 1, seats=1),
    )

    profile = await store.read(stored)
    assert (profile.values(), profile.status) == ({"seats": 1}, Status.PENDING)


async def taken_at_once(url: str, *batches: list[Call]) -> None:
    """Take batches in over databases of their own, as replicas do."""
    replicas = [Database(url) for _ in batches]
    try:
        await asyncio.gather(
            *(ingest(each, batch, pseudonym) for each, batch in zip(replicas, batches, strict=True))
        )
    finally:
        for each in replicas:
            await each.close()


async def test_replicas_merge_the_same_people(store: Database, database_url: str) -> None:
    """Replicas that take in calls about the same people at once lose none of them, in whatever order they come."""
    people = [f"{n}@b.c" for n in range(40)]
    batches: list[list[Call]] = [
        [replace(identify(each, user_id=f"u{each}", at=NOW - n), traits={f"t{n}": n, "plan": n}) for each in order]
        for n in range(6)
        for order in (people, people[::-1])
    ]
    await taken_at_once(database_url, *batches)

    for each in people:
        profile = await store.read(stored, each)
        assert profile.values() == {"plan": 0, **{f"t{n}": n for n in range(6)}}


async def test_replicas_agree_whose_an_id_is(store: Database, database_url: str) -> None:
    """An id that comes with several emails at once belongs to the one that it came with last."""
    batches: list[list[Call]] = [[identify(f"{n}@b.c", user_id="u1", at=NOW - n)] for n in (3, 0, 5, 1, 4, 2)]
    await taken_at_once(database_url, *batches)

    await store.write(take, identify(None, user_id="u1", plan="pro"))
    assert (await store.read(stored, "0@b.c")).values() == {"plan": "pro"}


async def test_replicas_lose_nothing_that_is_held(store: Database, database_url: str) -> None:
    """Of two calls about a new person at once, with and without the email, neither is held for ever."""
    people = [f"u{n}" for n in range(20)]
    without: list[Call] = [identify(None, user_id=each, source=AUDIENCE, power_users=True) for each in people]
    having: list[Call] = [identify(f"{each}@b.c", user_id=each) for each in people]
    await taken_at_once(database_url, without, having, without, having)

    for each in people:
        assert (await store.read(stored, f"{each}@b.c")).values() == {"power_users": True}


async def test_replicas_do_not_bring_the_erased_back(store: Database, database_url: str) -> None:
    """Calls from before a deletion that are taken in at the same moment are erased, or ignored."""
    older: list[Call] = [identify("a@b.c", user_id="u1", at=NOW - 5, plan="pro")]
    await taken_at_once(database_url, older, [delete(at=NOW)], older, older)

    profile = await store.read(profiles.find, ACCOUNT, "a@b.c")
    assert profile is None


async def test_whoever_comes_back_after_a_deletion_counts_as_lost(store: Database) -> None:
    """With whoever was erased it was forgotten who their subscribers are; with nobody else."""
    await erasable(store)
    await store.write(take, delete(at=NOW - 10))
    await store.write(take, identify("a@b.c", plan="back"), identify("new@b.c", plan="new"))

    lost = [(await store.read(stored, email)).lost_at for email in ("a@b.c", "new@b.c")]
    assert lost == [NOW, None]


async def test_ids_of_a_person_are_bounded(database: Database) -> None:
    """A person keeps the ids that came last: past so many the one that came longest ago goes, of either kind."""
    await database.write(open_account)
    calls = [identify(at=NEW_YEAR + n, anonymous_id=f"browser {n}") for n in range(MAX_IDS)]
    await database.write(take, *calls, identify(at=NEW_YEAR + MAX_IDS, user_id="ann"))

    profile = await database.read(stored)
    detail = await database.read(profile_queries.detail, profile.id)

    assert len(detail.ids) == MAX_IDS
    assert (IdKind.ANONYMOUS, "browser 0") not in detail.ids
    assert detail.ids[IdKind.ANONYMOUS, "browser 1"] == NEW_YEAR + 1
    assert detail.ids[IdKind.USER, "ann"] == NEW_YEAR + MAX_IDS


async def test_a_full_profile_keeps_what_the_account_reads(database: Database) -> None:
    """What an account reads of traits is kept before others, also of calls that were held; the rest is counted."""
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

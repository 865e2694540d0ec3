"""Tests of actions on people and accounts."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection

from admin.test_people import ANN, NOW, open_with_catalog
from prosperstack_destination.admin import actions, people
from prosperstack_destination.admin.comparison import PropertyState
from prosperstack_destination.admin.people import NextStep
from prosperstack_destination.clock import HOUR, MINUTE
from prosperstack_destination.errors import NotFoundError
from prosperstack_destination.store import (
    account_stats,
    accounts,
    activity,
    problems,
    profiles,
    queue,
    requeue,
    subscribers,
    subscription_states,
)
from prosperstack_destination.store.account_stats import ReportedLimit
from prosperstack_destination.store.accounts import Account, AccountStatus
from prosperstack_destination.store.database import Database
from prosperstack_destination.store.models import Lane, Profile, Status
from prosperstack_destination.store.problems import RecordedProblem
from prosperstack_destination.store.queue import QueueSizes
from prosperstack_destination.store.subscribers import SubscriberSnapshot
from prosperstack_destination.store.subscription_states import SubscriptionState
from support.clocks import NEW_YEAR
from support.intake import ACCOUNT, apply_values, identify, pseudonym, stored, take

pytestmark = pytest.mark.anyio

BOB, ZOE = "bob@example.com", "zoe@example.com"
REJECTED = problems.rejection_reason("no")


@pytest.fixture
async def account(database: Database) -> Account:
    return await database.write(open_with_catalog)


def settled(connection: Connection, email: str, status: Status = Status.IN_SYNC) -> Profile:
    """Somebody with whom everything is done."""
    take(connection, identify(email, user_id=email, plan="x"))
    profile = stored(connection, email)
    profiles.settle(connection, profile, status)
    return stored(connection, email)


def with_rejection(connection: Connection, email: str, subscriber: str) -> Profile:
    """The same, but for a value that ProsperStack rejected."""
    profile = settled(connection, email)
    subscribers.replace_for_email(connection, ACCOUNT, email, [SubscriberSnapshot(subscriber, email, {})], NEW_YEAR)
    subscribers.mark_rejected(connection, ACCOUNT, subscriber, "plan", "x", "no")
    state = SubscriptionState({"tier": 1}, {"seats": (5, "no")})
    subscription_states.settle(connection, ACCOUNT, subscriber, state, NEW_YEAR)
    problems.replace(connection, ACCOUNT, {profile.id: [RecordedProblem("plan", "plan", "x", REJECTED, NEW_YEAR)]})
    return profile


async def due(database: Database) -> list[str]:
    return sorted(each.email for each in await database.read(profiles.due, ACCOUNT, NOW, None, 100))


async def trail(database: Database) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (each.actor, each.action, {**each.details})
        for each in await database.read(activity.recent_actions, ACCOUNT, 9)
    ]


async def set_aside(database: Database, subscriber: str) -> list[bool]:
    """True if anything of a subscriber's, and of their subscriptions', is set aside."""
    [theirs] = [
        each
        for email in (ANN, BOB)
        for each in await database.read(subscribers.with_email, ACCOUNT, email)
        if each.id == subscriber
    ]
    state = await database.read(subscription_states.of_subscriber, ACCOUNT, subscriber)
    return [bool(theirs.rejected), bool(state.rejected)]


async def test_sync_now_looks_the_person_up_first(database: Database, account: Account) -> None:
    """Sync moves a person to the front and looks it up again; a waiting account is retried."""
    profile = await database.write(settled, ANN, Status.UNMATCHED)
    await database.write(profiles.mark_looked_up, profile, NOW - 1, NOW - 1)
    profile = await database.read(stored, ANN)
    await database.write(accounts.set_status, ACCOUNT, AccountStatus.RETRYING, reason="away", until=NOW + HOUR)
    await database.write(actions.prioritize, account, profile.id, "ann", NOW)
    person = await database.read(people.by_id, account, profile.id, NOW)
    waits = await database.read(accounts.get, ACCOUNT)

    first = (await database.read(queue.waiting, ACCOUNT, NOW, [])).snapshot(QueueSizes()).unknown_cancelling

    assert (person.profile.lane, person.profile.status) == (Lane.CANCELLING, Status.UNKNOWN)
    assert (person.profile.version, person.profile.pending_since) == (profile.version + 1, NOW)
    assert person.next_step is NextStep.LOOK_UP
    assert first is not None
    assert first.profile_id == profile.id
    assert waits is not None
    assert (waits.status, waits.status_until) == (AccountStatus.RETRYING, None)
    assert await trail(database) == [("ann", "sync now", {"profile": profile.id})]


async def test_sync_now_keeps_edits_and_rejections(database: Database, account: Account) -> None:
    """Sync overwrites no edit made in ProsperStack, and sends no rejected value."""
    profile = await database.write(with_rejection, ANN, "subr_1")
    await database.write(actions.prioritize, account, profile.id, "ann", NOW)
    person = await database.read(people.by_id, account, profile.id, NOW)
    states = {row.key: row.state for row in person.subscribers[0].rows}

    assert states["plan"] is PropertyState.SET_ASIDE


async def test_retry_of_a_person_sends_rejected_values(database: Database, account: Account) -> None:
    """Retrying a person sends the rejected values once more, and touches no other person."""
    ann = await database.write(with_rejection, ANN, "subr_1")
    await database.write(with_rejection, BOB, "subr_2")
    await database.write(actions.retry_person, account, ann.id, "ann", NOW)

    assert await due(database) == [ANN]
    assert await set_aside(database, "subr_1") == [False, False]
    assert await set_aside(database, "subr_2") == [True, True]
    assert (await database.read(stored, ANN)).lane is Lane.LIVE
    assert await trail(database) == [("ann", "retry", {"profiles": 1, "profile": ann.id})]


async def test_retry_of_a_problem_takes_its_people(database: Database, account: Account) -> None:
    """Retrying a problem retries the people who have it for that reason."""
    await database.write(with_rejection, ANN, "subr_1")
    bob = await database.write(with_rejection, BOB, "subr_2")
    other = RecordedProblem("plan", "plan", "x", "another reason", NEW_YEAR)
    await database.write(problems.replace, ACCOUNT, {bob.id: [other]})

    [group] = [each for each in await database.read(problems.grouped, ACCOUNT) if each.is_rejected]
    count = await actions.retry_group(database, account, group.property, group.reason, "ann", NOW)

    assert (count, await due(database)) == (1, [ANN])
    assert await set_aside(database, "subr_1") == [False, False]
    assert await set_aside(database, "subr_2") == [True, True]
    assert await actions.retry_group(database, account, "plan", "gone", "ann", NOW) == 0


async def test_retry_of_all_takes_each_failed_person_once(database: Database, account: Account) -> None:
    """Retrying all takes each person with a problem, a failure or a rejected email once, and no other."""
    await database.write(with_rejection, ANN, "subr_1")
    await database.write(settled, BOB, Status.REJECTED)
    await database.write(settled, "fine@example.com")
    await database.write(take, identify(ZOE, plan="x"))
    zoe = await database.read(stored, ZOE)
    await database.write(profiles.postpone, zoe.id, NOW + HOUR, "away")
    count = await actions.retry_all(database, account, "ann", NOW, batch=2)

    assert (count, await due(database)) == (3, [ANN, BOB, ZOE])
    assert (await database.read(stored, ZOE)).attempts == 0
    assert await set_aside(database, "subr_1") == [False, False]


async def test_waiting_account_is_retried(database: Database, account: Account) -> None:
    """A waiting or stopped account is retried now, with its actor in the audit log; an active one is not."""
    assert not await database.write(actions.retry_account, account, "ann", NOW)
    await database.write(accounts.set_status, ACCOUNT, AccountStatus.KEY_REFUSED, reason="no", until=NOW + HOUR)
    assert await database.write(actions.retry_account, account, "ann", NOW)

    assert await database.read(queue.accounts_with_work, NOW) == [ACCOUNT]
    assert await trail(database) == [("ann", "retry account", {})]


async def test_replay_queues_a_lookup_in_the_bulk_lane(database: Database, account: Account) -> None:
    """A replay looks every person up again, after live changes; a waiting person keeps its place."""

    def in_sync(connection: Connection) -> Profile:
        profile = settled(connection, ANN)
        subscribers.replace_for_email(
            connection, ACCOUNT, ANN, [SubscriberSnapshot("subr_1", ANN, {"plan": "x"})], NEW_YEAR
        )
        apply_values(connection, ACCOUNT, "subr_1", {"plan": "x"}, observed=None, now=NEW_YEAR)
        return profile

    ann = await database.write(in_sync)
    await database.write(take, identify(BOB, plan="x"))
    before = await database.read(people.by_id, account, ann.id, NOW)
    await actions.replay_all(database, account, "ann", NOW)
    after = await database.read(people.by_id, account, ann.id, NOW)

    assert (before.next_step, after.next_step) == (NextStep.NOTHING, NextStep.LOOK_UP)
    assert after.profile.lane is Lane.BULK
    assert (await database.read(stored, BOB)).lane is Lane.LIVE


async def test_replay_forgets_applied_values_at_a_known_cost(database: Database, account: Account) -> None:
    """A replay has a cost at the account's own rate, and forgets applied and rejected values."""
    ann = await database.write(with_rejection, ANN, "subr_1")
    await database.write(with_rejection, BOB, "subr_2")
    await database.write(account_stats.record_rate_limits, {ACCOUNT: ReportedLimit(100, 100, 60.0, NEW_YEAR)})
    everybody = await database.read(actions.replay_cost, account, 0.1)
    one = await database.read(actions.replay_cost, account, 0.1, ann.id)
    await database.write(actions.replay, account, "ann", NOW, ann.id)
    due_then = await due(database)
    state = await database.read(subscription_states.of_subscriber, ACCOUNT, "subr_1")

    assert (everybody.profiles, everybody.max_requests) == (2, 4)
    assert everybody.max_seconds == pytest.approx(4 / 1.5)  # 90 of 100 a minute are ours
    assert (one.profiles, one.max_requests) == (1, 2)
    assert due_then == [ANN]
    assert (state.applied, state.rejected) == ({}, {})
    assert await set_aside(database, "subr_2") == [True, True]
    assert await actions.replay_all(database, account, "ann", NOW) == 2
    assert await set_aside(database, "subr_2") == [False, False]
    assert [details["profiles"] for _, _, details in await trail(database)] == [2, 1]


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 10])
async def test_every_person_is_replayed_once(database: Database, limit: int) -> None:
    """With any batch size every person of the account is replayed once, and none of another account."""
    await database.write(open_with_catalog)
    await database.write(open_with_catalog, "acct_2")
    people_ = [f"p{number}@x.y" for number in range(4)]
    await database.write(
        take, *(identify(each, account=one, plan="x") for one in (ACCOUNT, "acct_2") for each in people_)
    )
    counts, after = [], ""
    while True:
        count, last = await database.write(requeue.replay_page, ACCOUNT, after, NOW, limit)
        counts.append(count)
        if last is None:
            break
        after = last
    versions = [(await database.read(stored, each, one)).version for one in (ACCOUNT, "acct_2") for each in people_]

    assert sum(counts) == 4
    assert max(counts) <= limit
    assert versions == [2] * 4 + [1] * 4


@pytest.mark.usefixtures("account")
async def test_costs_use_the_reserve_of_the_account(database: Database) -> None:
    """Costs are computed with the reserve of the account."""
    await database.write(settled, ANN)
    await database.write(accounts.set_reserve, ACCOUNT, 0.5)
    chosen = await database.read(accounts.get, ACCOUNT)
    assert chosen is not None

    assert (await database.read(actions.replay_cost, chosen, 0.1)).max_seconds == pytest.approx(2 / (50 / 60))


async def test_person_is_erased_by_email_user_id_or_profile(database: Database, account: Account) -> None:
    """A person is erased by email, user ID or profile; repeating it changes nothing."""
    await database.write(settled, ANN)
    await database.write(settled, BOB)
    zoe = await database.write(settled, ZOE)
    by_email = await database.write(actions.erase, account, f" {ANN.upper()}", pseudonym, "ann", NOW)
    by_user = await database.write(actions.erase_user, account, BOB, pseudonym, "ann", NOW)
    by_profile = await database.write(actions.erase_profile, account, zoe.id, pseudonym, "ann", NOW)
    again = await database.write(actions.erase_user, account, BOB, pseudonym, "ann", NOW + MINUTE)

    assert [each.profiles for each in (by_email, by_user, by_profile, again)] == [1, 1, 1, 0]
    assert await due(database) == []
    assert {action for _, action, _ in await trail(database)} == {"erase"}
    await database.write(take, identify(ANN, received_at=NOW + MINUTE, plan="older"))
    assert await database.read(profiles.find, ACCOUNT, ANN) is None


@pytest.mark.usefixtures("account")
@pytest.mark.parametrize(
    "work",
    [
        lambda connection, account, who: actions.prioritize(connection, account, who, "ann", NOW),
        lambda connection, account, who: actions.retry_person(connection, account, who, "ann", NOW),
        lambda connection, account, who: actions.replay(connection, account, "ann", NOW, who),
        lambda connection, account, who: actions.erase_profile(connection, account, who, pseudonym, "ann", NOW),
    ],
)
async def test_profile_of_another_account_is_refused(
    database: Database, work: Callable[[Connection, Account, int], object]
) -> None:
    """Actions on a profile of another account are refused, and change nothing."""
    other = await database.write(open_with_catalog, "acct_2")
    profile = await database.write(settled, ANN)

    with pytest.raises(NotFoundError, match="no profile"):
        await database.write(work, other, profile.id)
    assert await database.read(stored, ANN) == profile
    assert await database.read(activity.recent_actions, "acct_2", 5) == []

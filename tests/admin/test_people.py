"""Tests of the data of one person."""

from dataclasses import replace

import pytest
from sqlalchemy import Connection

from prosperstack_destination.account_mapping import apply, dump_catalog
from prosperstack_destination.admin import people
from prosperstack_destination.admin.comparison import PropertyState
from prosperstack_destination.admin.people import ExternalIdView, NextStep, PersonView
from prosperstack_destination.clock import HOUR, MINUTE
from prosperstack_destination.errors import NotFoundError
from prosperstack_destination.mapping.catalog import Catalog, Property, PropertyType
from prosperstack_destination.mapping.mapping_file import check_mapping
from prosperstack_destination.store import accounts, problems, profiles, subscribers, subscription_states
from prosperstack_destination.store.accounts import Account
from prosperstack_destination.store.database import Database
from prosperstack_destination.store.models import CallSource, IdKind, Lane, SourceKind, Status
from prosperstack_destination.store.problems import RecordedProblem
from prosperstack_destination.store.subscribers import SubscriberSnapshot
from prosperstack_destination.store.subscription_states import SubscriptionState
from support.accounts import open_account
from support.clocks import NEW_YEAR
from support.intake import ACCOUNT, identify, stored, take

pytestmark = pytest.mark.anyio

ANN = "ann@example.com"
NOW = NEW_YEAR + HOUR
AUDIENCE = CallSource(SourceKind.AUDIENCE, "vip")
CATALOG = Catalog(
    [
        Property("preferred_name", "Preferred name", PropertyType.TEXT),
        Property("logins", "Logins", PropertyType.NUMBER),
        Property("plan", "Plan", PropertyType.TEXT),
    ]
)
SUBSCRIPTION = Catalog([Property("seats", "Seats", PropertyType.NUMBER)])


def open_with_catalog(connection: Connection, account_id: str = ACCOUNT) -> Account:
    """An account whose properties are listed."""
    open_account(connection, account_id)
    accounts.set_catalog(connection, account_id, dump_catalog(CATALOG), NEW_YEAR)
    account = accounts.get(connection, account_id)
    assert account is not None
    return account


def states(person: PersonView) -> list[dict[str, str]]:
    return [{row.key: row.state.value for row in side.rows} for side in person.subscribers]


@pytest.fixture
async def account(database: Database) -> Account:
    return await database.write(open_with_catalog)


async def test_person_has_all_stored_data(database: Database, account: Account) -> None:
    """A person has traits, times, IDs, subscribers, problems and the next step."""
    await database.write(
        take,
        identify(ANN, user_id="u1", anonymous_id="b1", preferred_name="Ann", logins="many", other=[1]),
        identify(ANN, user_id="u2", at=NEW_YEAR - 1, source=AUDIENCE, vip=True),
    )
    seen = [
        SubscriberSnapshot("subr_1", ANN, {"preferred_name": "Ann"}),
        SubscriberSnapshot("subr_2", ANN, {"preferred_name": "A"}),
    ]
    await database.write(subscribers.replace_for_email, ACCOUNT, ANN, seen, NEW_YEAR)
    person = await database.read(people.find, account, NOW, email=f" {ANN.upper()} ")

    assert person.profile.email == ANN
    assert [(each.name, each.value, each.at) for each in person.traits] == [
        ("logins", "many", NEW_YEAR),
        ("other", [1], NEW_YEAR),
        ("preferred_name", "Ann", NEW_YEAR),
        ("vip", True, NEW_YEAR - 1),
    ]
    [vip] = [each.source for each in person.traits if each.source is not None]
    assert (vip.kind, vip.members) == (SourceKind.AUDIENCE, 1)
    assert person.ids == (
        ExternalIdView(IdKind.USER, "u1", NEW_YEAR),
        ExternalIdView(IdKind.ANONYMOUS, "b1", NEW_YEAR),
        ExternalIdView(IdKind.USER, "u2", NEW_YEAR - 1),
    )
    assert [side.subscriber_id for side in person.subscribers] == ["subr_1", "subr_2"]
    assert states(person) == [
        {"preferred_name": "same", "logins": "problem", "plan": "not_fed"},
        {"preferred_name": "to_be_sent", "logins": "problem", "plan": "not_fed"},
    ]
    assert [(each.property, each.since) for each in person.problems] == [("logins", NOW)]
    assert (person.next_step, person.next_attempt_at) == (NextStep.UPDATE, None)
    assert (person.profile.status, person.profile.lane) == (Status.PENDING, Lane.LIVE)
    assert person.profile.pending_since == NEW_YEAR


async def test_failed_attempt_has_reason_and_retry_time(database: Database, account: Account) -> None:
    """After a failed attempt the person has the reason and the time of the next one; a problem keeps its age."""
    await database.write(take, identify(ANN, logins="many", plan="x"))
    profile = await database.read(stored, ANN)
    reason = (await database.read(people.find, account, NOW, email=ANN)).problems[0].reason
    met = RecordedProblem("logins", "logins", "lots", reason, NEW_YEAR)
    await database.write(problems.replace, ACCOUNT, {profile.id: [met]})
    await database.write(profiles.postpone, profile.id, NOW + MINUTE, "ProsperStack is away.")
    person = await database.read(people.by_id, account, profile.id, NOW)
    later = await database.read(people.by_id, account, profile.id, NOW + MINUTE)

    assert person.next_attempt_at == NOW + MINUTE
    assert later.next_attempt_at is None
    assert person.in_words.endswith("ProsperStack is away.")
    assert person.profile.attempts == 1
    assert (person.problems[0].since, person.problems[0].value) == (NEW_YEAR, "many")
    assert person.next_step is NextStep.LOOK_UP
    assert states(person) == [{"preferred_name": "not_fed", "logins": "problem", "plan": "no_subscriber"}]


@pytest.mark.parametrize(
    ("status", "step"),
    [(Status.UNMATCHED, NextStep.LOOK_UP), (Status.REJECTED, NextStep.WAIT_FOR_CALL)],
)
async def test_unmatched_person_waits_for_a_subscriber(
    database: Database, account: Account, status: Status, step: NextStep
) -> None:
    """An unmatched person waits for a subscriber, and a person with a rejected email for a call."""
    await database.write(take, identify(ANN, plan="x"))
    profile = await database.read(stored, ANN)
    await database.write(profiles.mark_looked_up, profile, NOW, NOW)
    profile = await database.read(stored, ANN)
    looked_up = await database.read(people.by_id, account, profile.id, NOW)
    await database.write(profiles.settle, profile, status, reason="why", due_at=NOW + HOUR)
    person = await database.read(people.by_id, account, profile.id, NOW)

    assert looked_up.next_step is NextStep.WAIT_FOR_SUBSCRIBER
    assert (person.next_step, person.next_attempt_at) == (step, NOW + HOUR)
    assert person.in_words.endswith("why")


async def test_subscription_properties_are_listed(database: Database, account: Account) -> None:
    """Subscription properties with a rule are listed with their applied values."""

    def with_rule(connection: Connection) -> Account:
        accounts.set_subscription_catalog(connection, ACCOUNT, dump_catalog(SUBSCRIPTION))
        mapping = check_mapping({"rules": [{"property": "subscription.seats", "from": "traits.seats"}]})
        apply(connection, account, mapping.rules, author="me", now=NEW_YEAR)
        found = accounts.get(connection, ACCOUNT)
        assert found is not None
        return found

    account = await database.write(with_rule)
    await database.write(take, identify(ANN, seats=5))
    await database.write(
        subscribers.replace_for_email, ACCOUNT, ANN, [SubscriberSnapshot("subr_1", ANN, {})], NEW_YEAR
    )
    before = await database.read(people.find, account, NOW, email=ANN)
    await database.write(subscription_states.settle, ACCOUNT, "subr_1", SubscriptionState({"seats": 5}), NOW)
    after = await database.read(people.find, account, NOW, email=ANN)

    assert [states(each)[0]["subscription.seats"] for each in (before, after)] == ["to_be_sent", "same"]
    assert (before.next_step, after.next_step) == (NextStep.UPDATE_SUBSCRIPTIONS, NextStep.NOTHING)


async def test_user_id_leads_to_its_current_email(database: Database, account: Account) -> None:
    """A user ID leads to its current email, and to an earlier one if only that has a profile."""
    await database.write(take, identify("old@example.com", user_id="u1", plan="x"))
    old = await database.read(people.find, account, NOW, user_id="u1")
    await database.write(take, identify(ANN, at=NOW, received_at=NOW, user_id="u1", plan="y"))
    now = await database.read(people.find, account, NOW, user_id="u1")
    await database.write(profiles.erase, ACCOUNT, [ANN])
    back = await database.read(people.find, account, NOW, user_id="u1")

    assert [each.profile.email for each in (old, now, back)] == ["old@example.com", ANN, "old@example.com"]


async def test_unknown_person_is_explained(database: Database, account: Account) -> None:
    """An unknown person is not found, with the reason; people of another account are unknown."""
    other = await database.write(open_with_catalog, "acct_2")
    await database.write(take, identify(ANN, user_id="u1", plan="x"))
    await database.write(take, identify(None, user_id="held", source=AUDIENCE, vip=True))
    profile = await database.read(stored, ANN)

    for wanted in ({"email": ANN}, {"user_id": "u1"}):
        with pytest.raises(NotFoundError, match="in acct_2"):
            await database.read(people.find, other, NOW, **wanted)
    with pytest.raises(NotFoundError, match="no profile"):
        await database.read(people.by_id, other, profile.id, NOW)
    with pytest.raises(NotFoundError, match=r"traits \(1\) are held"):
        await database.read(people.find, account, NOW, user_id="held")
    with pytest.raises(NotFoundError, match="No profile"):
        await database.read(people.find, other, NOW, user_id="held")


async def test_account_without_catalog_has_no_rows(database: Database, account: Account) -> None:
    """Without a catalog a person has no rows and no next step."""
    await database.write(take, identify(ANN, plan="x"))
    person = await database.read(people.find, replace(account, catalog=None), NOW, email=ANN)

    assert [side.rows for side in person.subscribers] == [()]
    assert person.next_step is NextStep.NOTHING
    assert PropertyState.SAME not in {row.state for side in person.subscribers for row in side.rows}

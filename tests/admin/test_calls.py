"""Tests of recent calls, on both engines."""

import json
from dataclasses import replace

import pytest
from sqlalchemy import Connection

from prosperstack_destination.admin import calls
from prosperstack_destination.admin.calls import CallFilter, CallView, ExplainedCallView
from prosperstack_destination.clock import DAY, SECOND
from prosperstack_destination.errors import NotFoundError
from prosperstack_destination.store import accounts, activity, pseudonyms, recent_calls
from prosperstack_destination.store.accounts import Account
from prosperstack_destination.store.activity import Event, EventKind
from prosperstack_destination.store.database import Database
from prosperstack_destination.store.models import IdKind
from prosperstack_destination.store.recent_calls import CallOutcome, Channel, IncomingCall
from support.accounts import open_account
from support.clocks import NEW_YEAR
from support.intake import ACCOUNT, identify, pseudonym, take
from support.recent_calls import arrival, keep_calls

pytestmark = pytest.mark.anyio

U1 = (IdKind.USER, "u1")
CATALOG = json.dumps(
    [{"id": "p", "key": "plan", "name": "Plan", "type": "text", "entity": "subscriber", "format": None}]
)


def body(**fields: object) -> str:
    return json.dumps({"type": "identify", "userId": "u1", "traits": {"plan": "pro", "loose": 1}, **fields})


@pytest.fixture
async def store(database: Database) -> Database:
    """Two accounts; the first one knows a@b.c by an id."""
    await database.write(open_account)
    await database.write(open_account, "acct_2")
    await database.write(take, identify(user_id="u1"))
    return database


def account(connection: Connection, account_id: str = ACCOUNT) -> Account:
    found = accounts.get(connection, account_id)
    assert found is not None
    return found


async def listed(store: Database, question: CallFilter | None = None, now: int = NEW_YEAR) -> list[CallView]:
    def work(connection: Connection) -> list[CallView]:
        return calls.list_calls(
            connection, account(connection), question or CallFilter(), pseudonym, now, reveal=True
        )

    return await store.read(work)


async def explained(store: Database, account_id: str = ACCOUNT, *, reveal: bool = True) -> ExplainedCallView:
    """The only call, in full, as an account sees it."""

    def work(connection: Connection) -> ExplainedCallView:
        call_id = recent_calls.newest_id(connection, ACCOUNT)
        return calls.explain_call(connection, account(connection, account_id), call_id, pseudonym, reveal=reveal)

    return await store.read(work)


async def kept(store: Database, call: IncomingCall) -> None:
    await store.write(keep_calls, [call])


async def test_calls_with_only_an_id_are_found_by_email(store: Database) -> None:
    """A search by email also finds the calls that named only an ID of the person, and refused ones."""
    await kept(store, arrival(None, ids=(U1,), fate=CallOutcome.REFUSED, body="1"))
    await kept(store, arrival("x@y.z", body="2"))
    await kept(store, arrival(body="3"))

    assert [each.arrived for each in await listed(store, CallFilter(email=" A@b.c "))] == [3, 1]
    assert [
        each.arrived for each in await listed(store, CallFilter(email="a@b.c", outcome=CallOutcome.REFUSED))
    ] == [1]
    assert [each.arrived for each in await listed(store, CallFilter(email="x@y.z"))] == [2]
    assert await listed(store, now=NEW_YEAR + DAY + 1) == []  # older than a day, though not deleted yet


async def test_call_shows_later_events_of_the_person(store: Database) -> None:
    """A call shows the later events of the person, by the current email of its ID."""
    subject = pseudonyms.of_email(pseudonym, "a@b.c")
    event = Event(ACCOUNT, NEW_YEAR, EventKind.REQUEST, "200", subject, {"ms": 5})
    await kept(store, arrival(None, ids=(U1,), fate=CallOutcome.HELD, body=body()))
    await store.write(
        activity.append,
        [
            replace(event, at=NEW_YEAR - 1, outcome="before"),
            event,
            replace(event, subject="another"),
            replace(event, account_id="acct_2"),
            replace(event, at=NEW_YEAR + SECOND, kind=EventKind.DELIVERY, outcome="delivered"),
        ],
    )

    assert [each.outcome for each in (await explained(store)).afterwards] == ["200", "delivered"]


async def test_accepted_call_is_explained_and_masked(store: Database) -> None:
    """An accepted call is explained by the current mapping, and masked unless it is revealed."""
    await store.write(accounts.set_catalog, ACCOUNT, CATALOG, NEW_YEAR)
    await kept(store, arrival(None, ids=(U1,), fate=CallOutcome.ACCEPTED, body=body()))
    revealed, masked = (await explained(store)).explanation, (await explained(store, reveal=False)).explanation

    assert revealed is not None
    assert masked is not None
    assert [(each.property, each.value) for each in revealed.properties] == [("plan", "pro")]
    assert [(each.property, each.value) for each in masked.properties] == [("plan", "p…")]
    assert (revealed.email and revealed.email.value, masked.email and masked.email.value) == ("a@b.c", "a…")
    assert (revealed.user_id, masked.user_id) == ("u1", "u…")
    assert [each.trait for each in masked.ignored] == ["loose"]


@pytest.mark.parametrize(
    ("fate", "text", "field"),
    [
        (CallOutcome.REFUSED, body(traits=[1]), "traits"),
        (CallOutcome.REFUSED, body(userId="nobody"), "traits.email"),
        (CallOutcome.REFUSED, "{", None),
        (CallOutcome.SKIPPED, body(integrations={"ProsperStack": False}), None),
        (CallOutcome.ERASED, '{"type": "delete", "userId": "u1"}', None),
        (CallOutcome.OUTDATED, "", None),
        (CallOutcome.IGNORED, '{"type": "track"}', None),
    ],
)
async def test_call_without_effect_has_no_explanation(
    store: Database, fate: CallOutcome, text: str, field: str | None
) -> None:
    """A call without effect has no explanation; an invalid call has its field, if there is one."""
    await kept(store, replace(arrival(None, ids=(U1,), fate=fate, body=text), channel=Channel.TRACKING))
    found = await explained(store)

    assert (found.explanation, found.field) == (None, field)
    assert (found.arrived is None) == (text == "")


async def test_call_of_another_account_is_not_found(store: Database) -> None:
    """A call is found in its own account only."""
    await kept(store, arrival())

    with pytest.raises(NotFoundError, match="no call"):
        await explained(store, "acct_2")

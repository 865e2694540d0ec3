"""Tests of the texts about a person."""

from dataclasses import replace

import pytest

from prosperstack_destination.admin.comparison import PropertyComparison, PropertyState
from prosperstack_destination.admin.people import NextStep, PersonView, SubscriberView
from prosperstack_destination.clock import MINUTE
from prosperstack_destination.dashboard.person_text import (
    DIFFERENT_STATES,
    PROPERTY_LABELS,
    STATUS_LABELS,
    Headline,
    HeadlineTone,
    describe,
    headline,
)
from prosperstack_destination.mapping.catalog import Property, PropertyType
from prosperstack_destination.mapping.projection import DesiredValue, MatchedBy
from prosperstack_destination.store.accounts import Account, AccountStatus
from prosperstack_destination.store.activity import Event, EventKind
from prosperstack_destination.store.models import Lane, Profile, Status
from support.clocks import NEW_YEAR

NOW = NEW_YEAR
ACCOUNT = Account("acct_1", "", "test", False, AccountStatus.ACTIVE, None, None, None, None)
PROFILE = Profile(
    id=1,
    account_id="acct_1",
    email="a@b.c",
    address="a@b.c",
    user_id=None,
    traits={},
    version=1,
    status=Status.IN_SYNC,
    status_reason=None,
    pending_since=None,
    changed_at=NOW,
    lane=Lane.LIVE,
    looked_up_at=None,
    attempts=0,
)


def row(state: PropertyState, key: str = "plan") -> PropertyComparison:
    """Property with a state."""
    fed = state not in (PropertyState.PROBLEM, PropertyState.NOT_FED)
    desired = DesiredValue("x", key, MatchedBy.KEY) if fed else None
    return PropertyComparison(key, Property(key, key, PropertyType.TEXT), desired, None, None, state)


def person(
    status: Status = Status.IN_SYNC,
    *rows: PropertyComparison,
    lane: Lane = Lane.LIVE,
    reason: str | None = None,
    step: NextStep = NextStep.UPDATE,
    again: int | None = None,
) -> PersonView:
    """Profile of a status."""
    profile = replace(PROFILE, status=status, lane=lane, status_reason=reason)
    return PersonView(profile, (), (), (SubscriberView("subr_1", NOW, rows),), (), step, again, None)


def test_every_state_has_a_label() -> None:
    """Every state of a profile and of a property has a label."""
    assert STATUS_LABELS.keys() == set(Status)
    assert PROPERTY_LABELS.keys() == set(PropertyState)
    for state in DIFFERENT_STATES:
        assert PROPERTY_LABELS[state][1] in {HeadlineTone.CALM, HeadlineTone.WARN, HeadlineTone.BAD}


@pytest.mark.parametrize(
    ("rows", "words", "tone", "more"),
    [
        ([row(PropertyState.SAME)], "Up to date", HeadlineTone.GOOD, "all values from Segment"),
        ([row(PropertyState.EDITED_THERE)], "Up to date", HeadlineTone.GOOD, "One property is kept as edited"),
        ([row(PropertyState.NOT_FED)], "Nothing to deliver", HeadlineTone.PALE, "feeds a property"),
        ([], "Nothing to deliver", HeadlineTone.PALE, "feeds a property"),
        ([row(PropertyState.PROBLEM)], "Up to date except one property", HeadlineTone.WARN, "each with a solution"),
        (
            [row(PropertyState.PROBLEM), row(PropertyState.SET_ASIDE, "b"), row(PropertyState.SET_ASIDE, "b")],
            "Up to date except 2 properties",
            HeadlineTone.WARN,
            "each with a solution",
        ),
    ],
)
def test_settled_person_is_up_to_date(
    rows: list[PropertyComparison], words: str, tone: HeadlineTone, more: str
) -> None:
    """A settled person is up to date, except for problems."""
    found = headline(person(Status.IN_SYNC, *rows), ACCOUNT, NOW)

    assert (found.title, found.tone) == (words, tone)
    assert more in found.details


@pytest.mark.parametrize("status", [Status.PENDING, Status.READY, Status.UNKNOWN])
def test_waiting_person_has_its_next_step(status: Status) -> None:
    """A waiting person has its next step and its place behind live changes."""
    live = headline(person(status, step=NextStep.LOOK_UP), ACCOUNT, NOW)
    bulk = headline(person(status, lane=Lane.BULK), ACCOUNT, NOW)
    first = headline(person(status, lane=Lane.CANCELLING), ACCOUNT, NOW)

    assert live.title == bulk.title == "Waiting for delivery"
    assert "looks the subscriber up" in live.details
    assert bulk.details == "The next request delivers all changes. Newer changes of other people go first."
    assert first == Headline("Next in the queue", HeadlineTone.CALM, "The next request delivers all changes.")


@pytest.mark.parametrize(
    ("status", "until", "words", "tone"),
    [
        (AccountStatus.KEY_REFUSED, None, "Waiting: the account is stopped", HeadlineTone.BAD),
        (AccountStatus.NOT_PERMITTED, NOW + MINUTE, "Waiting: the account is stopped", HeadlineTone.BAD),
        (AccountStatus.RETRYING, NOW + MINUTE, "Waiting: requests to ProsperStack fail", HeadlineTone.WARN),
        (AccountStatus.RETRYING, NOW, "Waiting for delivery", HeadlineTone.CALM),
    ],
)
def test_person_waits_for_a_stopped_account(
    status: AccountStatus, until: int | None, words: str, tone: HeadlineTone
) -> None:
    """A person of a stopped account waits for the account, with its reason and time."""
    account = replace(ACCOUNT, status=status, status_reason="why", status_until=until)
    found = headline(person(Status.READY), account, NOW)

    assert (found.title, found.tone) == (words, tone)
    if found.title != "Waiting for delivery":
        assert (found.details, found.retry_at) == ("why.", until)


def test_failed_person_has_reason_and_retry_time() -> None:
    """After a failed attempt the headline has the reason and the next attempt."""
    found = headline(person(Status.PENDING, reason="ProsperStack is away.", again=NOW + MINUTE), ACCOUNT, NOW)

    assert found == Headline("Waiting for a retry", HeadlineTone.WARN, "ProsperStack is away.", NOW + MINUTE)


def test_failed_person_whose_retry_is_due_has_the_reason() -> None:
    """While the next attempt is due or runs, the headline still has the reason of the last one."""
    failed = person(Status.READY, reason="ProsperStack is away.")
    failed = replace(failed, profile=replace(failed.profile, attempts=2))
    found = headline(failed, ACCOUNT, NOW)

    assert found == Headline("Waiting for a retry", HeadlineTone.WARN, "ProsperStack is away.", NOW)


def test_unmatched_person_has_pending_properties() -> None:
    """An unmatched person shows the properties for a future subscriber, and the next lookup."""
    rows = [row(PropertyState.NO_SUBSCRIBER, key) for key in "ab"]
    found = headline(person(Status.UNMATCHED, *rows, again=NOW + MINUTE), ACCOUNT, NOW)

    assert (found.title, found.retry_at) == ("No subscriber has this email", NOW + MINUTE)
    assert found.details == "When a subscriber has it, 2 properties are delivered."


def test_rejected_email_has_its_reason() -> None:
    """A rejected email shows ProsperStack's reason and what has to happen."""
    found = headline(person(Status.REJECTED, reason="ProsperStack rejects the email: no."), ACCOUNT, NOW)

    assert (found.title, found.tone) == ("Email rejected", HeadlineTone.BAD)
    assert found.details.startswith("ProsperStack rejects the email: no. It is retried")


@pytest.mark.parametrize(
    ("kind", "outcome", "details", "sentence"),
    [
        (EventKind.CALL, "accepted", {"traits": 1}, "Call accepted, with 1 trait"),
        (EventKind.CALL, "accepted", {"traits": 3}, "Call accepted, with 3 traits"),
        (EventKind.CALL, "strange", {}, "Call: strange"),
        (EventKind.DELIVERY, "unmatched", {}, "No subscriber has this email"),
        (EventKind.REQUEST, "200", {"request": "GET /subscribers"}, "Looked up in ProsperStack"),
        (EventKind.REQUEST, "200", {"request": "PATCH /x", "properties": ["a", "b"]}, "Delivered: a, b"),
        (
            EventKind.REQUEST,
            "200",
            {"request": "PATCH /x", "properties": ["a", "b", "c", "d", "e", "f"]},
            "Delivered: a, b, c, d, and 2 more",
        ),
        (EventKind.REQUEST, "204", {"request": "DELETE /x"}, "Request DELETE /x succeeded"),
        (EventKind.REQUEST, "none", {"request": "PATCH /x"}, "ProsperStack did not answer PATCH /x"),
        (
            EventKind.REQUEST,
            "400",
            {"request": "PATCH /x", "said": "no"},
            "ProsperStack answered 400 to PATCH /x: no",
        ),
        (EventKind.REQUEST, "500", {}, "ProsperStack answered 500 to a request"),
    ],
)
def test_every_event_has_a_text(
    kind: EventKind, outcome: str, details: dict[str, str | int], sentence: str
) -> None:
    """Each event has a text."""
    assert describe(Event("acct_1", NOW, kind, outcome, None, details)) == sentence

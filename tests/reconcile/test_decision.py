"""The decision for one profile."""

from dataclasses import replace

import pytest

from prosperstack_destination.clock import DAY, MINUTE
from prosperstack_destination.mapping.catalog import Catalog, Property, PropertyType
from prosperstack_destination.mapping.compiled_mapping import project
from prosperstack_destination.reconcile.decision import (
    Decision,
    InSync,
    NeedsLookup,
    NeedsUpdate,
    Unmatched,
    decide,
    lookup_retry_delay,
)
from prosperstack_destination.store.models import Lane, Profile, Status
from prosperstack_destination.store.subscribers import Subscriber
from support.clocks import NEW_YEAR

NOW = NEW_YEAR
LATER = NOW + 10
CATALOG = Catalog([Property("plan", "Plan", PropertyType.TEXT)])
PROFILE = Profile(
    id=1,
    account_id="acct_1",
    email="a@b.c",
    address="a@b.c",
    user_id=None,
    traits={"plan": ("pro", NOW)},
    version=1,
    status=Status.PENDING,
    status_reason=None,
    pending_since=NOW,
    changed_at=NOW,
    lane=Lane.LIVE,
    looked_up_at=None,
    attempts=0,
)
FREE = Subscriber("subr_free", "a@b.c", {"plan": "free"}, {}, {}, observed_at=NOW - 1)
PRO = Subscriber("subr_pro", "a@b.c", {"plan": "pro"}, {}, {}, observed_at=NOW)
PRO_BEFORE = replace(PRO, observed_at=NOW - 1)
EDITED = Subscriber("subr_edited", "a@b.c", {"plan": "vip"}, {"plan": "pro"}, {}, observed_at=NOW - 1)


@pytest.mark.parametrize(
    ("as_of", "looked_up_at", "subscribers", "decision"),
    [
        (None, None, [], NeedsLookup()),  # nothing is known yet
        (NOW - 1, None, [], NeedsLookup()),  # a subscriber may have come since
        (NOW, None, [], Unmatched(None)),  # no subscriber, until a listing shows one
        (None, NOW - 1, [], NeedsLookup()),
        (None, NOW, [], Unmatched(LATER + 10 * MINUTE)),  # a lookup found no subscriber, and no listing is complete
        (None, None, [FREE], NeedsUpdate(FREE, {"plan": "pro"})),  # the observation may be old
        (None, None, [PRO], InSync({"subr_pro": {"plan": "pro"}})),  # seen after the change
        (None, None, [PRO_BEFORE], NeedsLookup()),  # it may have been edited in between
        (NOW, None, [PRO_BEFORE], InSync({"subr_pro": {"plan": "pro"}})),  # a listing would have shown that
        (None, NOW, [PRO_BEFORE], InSync({"subr_pro": {"plan": "pro"}})),
        (None, None, [EDITED], InSync({})),  # was delivered, and edited by hand since
        (None, None, [PRO, FREE], NeedsUpdate(FREE, {"plan": "pro"})),  # every subscriber with the email
        (None, None, [PRO_BEFORE, FREE], NeedsLookup()),
        (None, None, [EDITED, PRO], InSync({"subr_pro": {"plan": "pro"}})),
    ],
)
def test_decision_depends_on_what_was_observed_when(
    as_of: int | None, looked_up_at: int | None, subscribers: list[Subscriber], decision: Decision
) -> None:
    """A difference is sent; a value in place counts if observed after the change; otherwise a lookup."""
    profile = replace(PROFILE, looked_up_at=looked_up_at)
    projection = project(profile.values(), CATALOG)

    assert decide(profile, projection, subscribers, CATALOG, as_of, LATER) == decision


def test_profile_without_desired_values_costs_no_request() -> None:
    """A profile whose traits feed no property costs no request, with or without a subscriber."""
    profile = replace(PROFILE, traits={"other": ("x", NOW)})

    assert decide(profile, project(profile.values(), CATALOG), [], CATALOG, None, NOW) == InSync({})


def test_unmatched_profile_is_looked_up_again_when_due() -> None:
    """Before the first complete listing only a lookup shows a new subscriber."""
    profile = replace(PROFILE, status=Status.UNMATCHED, looked_up_at=NOW)
    projection = project(profile.values(), CATALOG)

    assert decide(profile, projection, [], CATALOG, None, LATER) == NeedsLookup()
    assert decide(profile, projection, [], CATALOG, NOW, LATER) == Unmatched(None)


@pytest.mark.parametrize(
    ("looked_up_at", "subscribers", "decision"),
    [
        (None, [], NeedsLookup(by_email=True)),  # at once
        (NOW - 1, [], NeedsLookup(by_email=True)),  # before they were lost
        (NOW, [], Unmatched(NOW + 10 * MINUTE)),
        (NOW + 10 * MINUTE, [], Unmatched(NOW + 40 * MINUTE)),
        (NOW + 40 * MINUTE, [], Unmatched(NOW + 160 * MINUTE)),
        (NOW + 5 * DAY, [], Unmatched(NOW + 6 * DAY)),
        (NOW, [FREE], NeedsUpdate(FREE, {"plan": "pro"})),  # one of two was lost, or one is there again
    ],
)
def test_lost_subscriber_is_looked_up_at_growing_intervals(
    looked_up_at: int | None, subscribers: list[Subscriber], decision: Decision
) -> None:
    """Even with a new listing, only a lookup finds a subscriber that was reported as gone."""
    profile = replace(PROFILE, lost_at=NOW, looked_up_at=looked_up_at)
    projection = project(profile.values(), CATALOG)
    now = max(LATER, looked_up_at or 0)

    assert decide(profile, projection, subscribers, CATALOG, now, now) == decision
    if isinstance(decision, Unmatched):
        assert decision.lookup_at is not None
        again = decide(profile, projection, subscribers, CATALOG, now, decision.lookup_at)
        assert again == NeedsLookup(by_email=True)


def test_lookup_retry_delay_doubles_up_to_a_day() -> None:
    """An unmatched profile is looked up after ten minutes, then after twice as long, up to once a day."""
    waits = [lookup_retry_delay(attempts) for attempts in range(12)]

    assert waits[:3] == [10 * MINUTE, 20 * MINUTE, 40 * MINUTE]
    assert waits == sorted(waits)
    assert waits[-1] == lookup_retry_delay(10_000) == DAY

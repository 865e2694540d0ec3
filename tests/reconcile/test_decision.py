"""What a profile needs."""

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
    ("as_of", "looked_up_at", "subscribers", "verdict"),
    [
        (None, None, [], NeedsLookup()),  # nothing is known
        (NOW - 1, None, [], NeedsLookup()),  # they may have come since
        (NOW, None, [], Unmatched(None)),  # nobody: until the directory learns of somebody
        (None, NOW - 1, [], NeedsLookup()),
        (None, NOW, [], Unmatched(LATER + 10 * MINUTE)),  # a look-up found nobody, and there is no directory
        (None, None, [FREE], NeedsUpdate(FREE, {"plan": "pro"})),  # however old the observation is
        (None, None, [PRO], InSync({"subr_pro": {"plan": "pro"}})),  # seen after the change
        (None, None, [PRO_BEFORE], NeedsLookup()),  # somebody may have edited it in between
        (NOW, None, [PRO_BEFORE], InSync({"subr_pro": {"plan": "pro"}})),  # a listing would have shown that
        (None, NOW, [PRO_BEFORE], InSync({"subr_pro": {"plan": "pro"}})),
        (None, None, [EDITED], InSync({})),  # was delivered, and edited by hand since
        (None, None, [PRO, FREE], NeedsUpdate(FREE, {"plan": "pro"})),  # every subscriber with the email
        (None, None, [PRO_BEFORE, FREE], NeedsLookup()),
        (None, None, [EDITED, PRO], InSync({"subr_pro": {"plan": "pro"}})),
    ],
)
def test_what_a_profile_needs(
    as_of: int | None, looked_up_at: int | None, subscribers: list[Subscriber], verdict: Decision
) -> None:
    """A difference is sent; what seems to be there is believed if it was seen after the change; else look."""
    profile = replace(PROFILE, looked_up_at=looked_up_at)
    projection = project(profile.values(), CATALOG)

    assert decide(profile, projection, subscribers, CATALOG, as_of, LATER) == verdict


def test_nothing_is_asked_where_nothing_is_desired() -> None:
    """A profile whose traits feed no property costs no request, whether it has a subscriber or not."""
    profile = replace(PROFILE, traits={"other": ("x", NOW)})

    assert decide(profile, project(profile.values(), CATALOG), [], CATALOG, None, NOW) == InSync({})


def test_an_unmatched_profile_whose_time_has_come_is_looked_up_again() -> None:
    """Without a directory nobody else would learn that they became a subscriber."""
    profile = replace(PROFILE, status=Status.UNMATCHED, looked_up_at=NOW)
    projection = project(profile.values(), CATALOG)

    assert decide(profile, projection, [], CATALOG, None, LATER) == NeedsLookup()
    assert decide(profile, projection, [], CATALOG, NOW, LATER) == Unmatched(None)


@pytest.mark.parametrize(
    ("looked_up_at", "subscribers", "verdict"),
    [
        (None, [], NeedsLookup(by_email=True)),  # at once
        (NOW - 1, [], NeedsLookup(by_email=True)),  # that was before they were lost
        (NOW, [], Unmatched(NOW + 10 * MINUTE)),
        (NOW + 10 * MINUTE, [], Unmatched(NOW + 40 * MINUTE)),
        (NOW + 40 * MINUTE, [], Unmatched(NOW + 160 * MINUTE)),
        (NOW + 5 * DAY, [], Unmatched(NOW + 6 * DAY)),
        (NOW, [FREE], NeedsUpdate(FREE, {"plan": "pro"})),  # one of two was lost, or one is there again
    ],
)
def test_who_was_lost_is_looked_up_ever_more_rarely(
    looked_up_at: int | None, subscribers: list[Subscriber], verdict: Decision
) -> None:
    """However new the directory is, only a look-up tells of somebody who was said to be gone."""
    profile = replace(PROFILE, lost_at=NOW, looked_up_at=looked_up_at)
    projection = project(profile.values(), CATALOG)
    now = max(LATER, looked_up_at or 0)

    assert decide(profile, projection, subscribers, CATALOG, now, now) == verdict
    if isinstance(verdict, Unmatched):
        assert verdict.lookup_at is not None
        again = decide(profile, projection, subscribers, CATALOG, now, verdict.lookup_at)
        assert again == NeedsLookup(by_email=True)


def test_looking_again_takes_ever_longer() -> None:
    """Strangers are looked up after ten minutes, then after twice as long, up to once a day."""
    waits = [lookup_retry_delay(attempts) for attempts in range(12)]

    assert waits[:3] == [10 * MINUTE, 20 * MINUTE, 40 * MINUTE]
    assert waits == sorted(waits)
    assert waits[-1] == lookup_retry_delay(10_000) == DAY

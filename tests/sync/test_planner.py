"""The next step for a profile."""

from dataclasses import replace

import pytest

from prosperstack_destination.clock import DAY, MINUTE
from prosperstack_destination.mapping.catalog import Catalog, Property, PropertyType
from prosperstack_destination.mapping.projection import project
from prosperstack_destination.state.directory import Subscriber
from prosperstack_destination.state.profile import Profile, Status
from prosperstack_destination.sync.planner import (
    MISSED_FOR,
    OBSERVED_FOR,
    LookUp,
    Miss,
    Settle,
    Step,
    Update,
    look_again_after,
    next_step,
)
from support.clocks import NEW_YEAR

NOW = NEW_YEAR
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
    looked_up_at=None,
    attempts=0,
)
FREE = Subscriber("subr_free", "a@b.c", {"plan": "free"}, {}, {})
PRO = Subscriber("subr_pro", "a@b.c", {"plan": "pro"}, {}, {})
EDITED = Subscriber("subr_edited", "a@b.c", {"plan": "vip"}, {"plan": "pro"}, {})


@pytest.mark.parametrize(
    ("age", "attempts", "subscribers", "step"),
    [
        (None, 0, [], LookUp()),  # never looked up
        (0, 0, [], Miss(NOW + 10 * MINUTE)),  # looked up just now: nobody
        (0, 2, [], Miss(NOW + 40 * MINUTE)),
        (MISSED_FOR, 0, [], LookUp()),  # somebody may have come since
        (-1, 0, [], LookUp()),  # the clock was set back
        (0, 0, [FREE], Update(FREE, {"plan": "pro"})),
        (OBSERVED_FOR, 0, [FREE], LookUp()),  # too old to write on
        (-1, 0, [FREE], LookUp()),
        (OBSERVED_FOR, 0, [PRO], Settle({"subr_pro": {"plan": "pro"}})),  # but nothing has to be written
        (0, 0, [EDITED], Settle({})),
        (0, 0, [PRO, FREE], Update(FREE, {"plan": "pro"})),  # every subscriber with the email
        (0, 0, [EDITED, PRO], Settle({"subr_pro": {"plan": "pro"}})),
    ],
)
def test_the_next_step(age: int | None, attempts: int, subscribers: list[Subscriber], step: Step) -> None:
    """Look up before a write that would rely on nothing or on old news; write what differs; else settle."""
    profile = replace(PROFILE, looked_up_at=None if age is None else NOW - age, attempts=attempts)
    projection = project(profile.values(), CATALOG)

    assert next_step(profile, projection, subscribers, CATALOG, NOW) == step


def test_nothing_is_asked_where_nothing_is_desired() -> None:
    """A profile whose traits feed no property costs no request, whether it has a subscriber or not."""
    profile = replace(PROFILE, traits={"other": ("x", NOW)})

    assert next_step(profile, project(profile.values(), CATALOG), [], CATALOG, NOW) == Settle({})


def test_looking_again_takes_ever_longer() -> None:
    """Strangers are looked up after ten minutes, then after twice as long, up to once a day."""
    waits = [look_again_after(attempts) for attempts in range(12)]

    assert waits[:3] == [10 * MINUTE, 20 * MINUTE, 40 * MINUTE]
    assert waits == sorted(waits)
    assert waits[-1] == look_again_after(10_000) == DAY

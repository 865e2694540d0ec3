"""Tests of desired, observed and applied properties compared."""

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from prosperstack_destination.account_mapping import AccountMapping
from prosperstack_destination.admin.comparison import PropertyComparison, PropertyState, compare
from prosperstack_destination.mapping.catalog import Catalog, Property, PropertyType
from prosperstack_destination.mapping.coercion import PropertyValue
from prosperstack_destination.mapping.compiled_mapping import CompiledMapping
from prosperstack_destination.mapping.functions import NO_CONTEXT
from prosperstack_destination.mapping.projection import DesiredValue, MappingProblem, MatchedBy, Projection
from prosperstack_destination.mapping.rules import Rules
from prosperstack_destination.reconcile.decision import InSync, NeedsLookup, NeedsUpdate, decide, is_observed_after
from prosperstack_destination.store.models import Lane, Profile, Status
from prosperstack_destination.store.subscribers import Subscriber
from prosperstack_destination.store.subscription_states import SubscriptionState

CATALOG = Catalog(
    [
        Property("plan", "Plan", PropertyType.TEXT),
        Property("seats", "Seats", PropertyType.NUMBER),
        Property("pro", "Pro", PropertyType.BOOLEAN),
        Property("since", "Since", PropertyType.DATE),
    ]
)
THEIRS = Catalog([Property("seats", "Seats", PropertyType.NUMBER), Property("tier", "Tier", PropertyType.TEXT)])
MEANING = AccountMapping(CATALOG, THEIRS, Rules(), 0, frozenset(), CompiledMapping(CATALOG), NO_CONTEXT)


def projection(
    values: dict[str, Any], problems: tuple[str, ...] = (), subscription: dict[str, Any] | None = None
) -> Projection:
    def desired(named: dict[str, Any]) -> dict[str, DesiredValue]:
        return {key: DesiredValue(value, key, MatchedBy.KEY) for key, value in named.items()}

    found = tuple(MappingProblem(key, key, "x", "it cannot") for key in problems)
    return Projection(desired(values), found, desired(subscription or {}))


def subscriber(
    observed: dict[str, JsonValue] | None = None,
    applied: dict[str, JsonValue] | None = None,
    rejected: dict[str, JsonValue] | None = None,
) -> Subscriber:
    set_aside = {key: (value, "no") for key, value in (rejected or {}).items()}
    return Subscriber("subr_1", "a@b.c", observed or {}, applied or {}, set_aside)


def state_of(rows: tuple[PropertyComparison, ...], key: str) -> PropertyState:
    return next(row.state for row in rows if row.key == key)


def test_every_state_follows_the_reconciler() -> None:
    """The state of each property is that of the reconciler."""
    wanted = projection({"plan": "pro", "seats": 5, "pro": True}, problems=("since",))

    def states(**known: dict[str, JsonValue]) -> list[str]:
        return [row.state.value for row in compare(wanted, MEANING, subscriber(**known))]

    same: dict[str, JsonValue] = {"plan": "pro", "seats": 5, "pro": True}
    assert states() == ["to_be_sent"] * 3 + ["problem"]
    assert states(observed=same, applied=same) == ["same"] * 3 + ["problem"]
    assert states(observed={**same, "plan": "vip", "seats": None}, applied=same) == [
        *("edited_there", "edited_there", "same", "problem")
    ]
    assert states(applied={"pro": 1}, rejected={"plan": "pro", "seats": 4}) == [
        *("set_aside", "to_be_sent", "to_be_sent", "problem")
    ]
    assert [row.state for row in compare(wanted, MEANING, None)] == [PropertyState.NO_SUBSCRIBER] * 3 + [
        PropertyState.PROBLEM
    ]
    assert {row.state for row in compare(projection({}), MEANING, subscriber(same, same))} == {
        PropertyState.NOT_FED
    }


def test_obstacles_have_reasons() -> None:
    """A rejected value has ProsperStack's reason, and a mapping problem has its own."""
    wanted = projection({"plan": "pro"}, problems=("since",))
    plan, _, _, since = compare(wanted, MEANING, subscriber(rejected={"plan": "pro"}))

    assert (plan.reason, plan.problem) == ("no", None)
    assert (since.reason, since.problem) == ("it cannot", wanted.problems[0])
    assert since.desired is None


def test_older_observation_has_to_be_checked() -> None:
    """A value observed before the newest change has to be checked."""
    wanted = projection({"plan": "pro"})
    seen = subscriber({"plan": "pro"})

    assert state_of(compare(wanted, MEANING, seen), "plan") is PropertyState.SAME
    assert state_of(compare(wanted, MEANING, seen, confirmed=False), "plan") is PropertyState.TO_BE_CHECKED


def test_subscription_properties_follow_with_their_prefix() -> None:
    """Subscription properties with a rule follow under their names in rules, without observed values."""
    wanted = projection({}, problems=("subscription.tier",), subscription={"seats": 5})

    def rows(state: SubscriptionState | None) -> list[tuple[str, str]]:
        found = compare(wanted, MEANING, subscriber(), state)[len(CATALOG) :]
        assert all(row.observed is None for row in found)
        return [(row.key, row.state.value) for row in found]

    tier = ("subscription.tier", "problem")
    assert rows(None) == [("subscription.seats", "no_subscriber"), tier]
    assert rows(SubscriptionState()) == [("subscription.seats", "to_be_sent"), tier]
    assert rows(SubscriptionState({"seats": 5})) == [("subscription.seats", "same"), tier]
    assert rows(SubscriptionState({}, {"seats": (5, "no")})) == [("subscription.seats", "set_aside"), tier]
    assert rows(SubscriptionState({"seats": True})) == [("subscription.seats", "to_be_sent"), tier]


VALUES: dict[str, st.SearchStrategy[Any]] = {
    "plan": st.sampled_from([None, "pro", "free"]),
    "seats": st.sampled_from([None, 1, 2]),
    "pro": st.sampled_from([None, True, False]),
    "since": st.sampled_from([None, "2021-05-04", "2021-05-05"]),
}
SOME = st.fixed_dictionaries({}, optional=VALUES)
#: What ProsperStack may show: also what none of its types is.
SHOWN = st.fixed_dictionaries({}, optional={key: each | st.sampled_from(["x", 1]) for key, each in VALUES.items()})


@given(desired=SOME, observed=SHOWN, applied=SHOWN, rejected=SOME, observed_at=st.sampled_from([0, 2]))
def test_rows_equal_the_update_of_the_reconciler(
    desired: dict[str, PropertyValue],
    observed: dict[str, JsonValue],
    applied: dict[str, JsonValue],
    rejected: dict[str, JsonValue],
    observed_at: int,
) -> None:
    """Exactly the properties to be sent are in the reconciler's update; those to be checked cause a lookup."""
    profile = Profile(*(1, "acct_1", "a@b.c", "a@b.c", None, {}, 1, Status.PENDING, None, 1, 1, Lane.LIVE, None, 0))
    theirs = replace(subscriber(observed, applied, rejected), observed_at=observed_at)
    wanted = projection(desired)
    rows = compare(wanted, MEANING, theirs, confirmed=is_observed_after(profile, theirs, None))
    verdict = decide(profile, wanted, [theirs], CATALOG, None, 3)

    assert [row.key for row in rows] == [each.key for each in CATALOG]
    assert all((row.state is PropertyState.NOT_FED) == (row.key not in desired) for row in rows)
    to_send = {row.key: row.desired.value for row in rows if row.desired and row.state is PropertyState.TO_BE_SENT}
    states = {row.state for row in rows}
    match verdict:
        case NeedsUpdate(send=send):
            assert send == to_send != {}
        case NeedsLookup():
            assert to_send == {}
            assert PropertyState.TO_BE_CHECKED in states
        case InSync():
            assert to_send == {}
            assert PropertyState.TO_BE_CHECKED not in states
        case _:
            raise AssertionError(verdict)


@given(desired=SOME, observed=SHOWN, applied=SHOWN, rejected=SOME)
def test_sent_properties_become_the_same(
    desired: dict[str, PropertyValue],
    observed: dict[str, JsonValue],
    applied: dict[str, JsonValue],
    rejected: dict[str, JsonValue],
) -> None:
    """After the update nothing is left to be sent, and edited properties keep their state."""
    before = compare(projection(desired), MEANING, subscriber(observed, applied, rejected))
    sent = {row.key: row.desired.value for row in before if row.desired and row.state is PropertyState.TO_BE_SENT}
    after = compare(projection(desired), MEANING, subscriber(observed | sent, applied | sent, rejected))

    for then, now in zip(before, after, strict=True):
        assert now.state is (PropertyState.SAME if then.key in sent else then.state)

"""Three-way diff."""

import pytest
from pydantic import JsonValue

from prosperstack_destination.mapping.catalog import Catalog, Property, PropertyType
from prosperstack_destination.mapping.coercion import PropertyValue
from prosperstack_destination.reconcile.three_way_diff import PropertyDiff, diff
from prosperstack_destination.store.subscribers import Subscriber

CATALOG = Catalog(
    [
        Property("plan", "Plan", PropertyType.TEXT),
        Property("seats", "Seats", PropertyType.NUMBER),
        Property("pro", "Pro", PropertyType.BOOLEAN),
        Property("since", "Since", PropertyType.DATE),
    ]
)

Values = dict[str, JsonValue]


def subscriber(observed: Values, applied: Values, rejected: Values) -> Subscriber:
    return Subscriber("subr_1", "a@b.c", observed, applied, {k: (v, "no") for k, v in rejected.items()})


@pytest.mark.parametrize(
    ("desired", "observed", "applied", "rejected", "send", "settled"),
    [
        ({"plan": "pro"}, {}, {}, {}, {"plan": "pro"}, {}),  # new
        ({"plan": "pro"}, {"plan": "free"}, {"plan": "free"}, {}, {"plan": "pro"}, {}),  # changed
        ({"plan": "pro"}, {"plan": "pro"}, {}, {}, {}, {"plan": "pro"}),  # in place already
        ({"plan": "pro"}, {"plan": "pro"}, {"plan": "pro"}, {}, {}, {}),  # settled before
        ({"plan": "pro"}, {"plan": "vip"}, {"plan": "pro"}, {}, {}, {}),  # edited by hand: it stays
        ({"plan": "team"}, {"plan": "vip"}, {"plan": "pro"}, {}, {"plan": "team"}, {}),  # ... until now
        ({"plan": None}, {"plan": "pro"}, {"plan": "pro"}, {}, {"plan": None}, {}),  # deleted
        ({"plan": None}, {}, {}, {}, {}, {"plan": None}),  # nothing there to delete
        ({"plan": None}, {"plan": "vip"}, {"plan": None}, {}, {}, {}),  # deleted before, then by hand
        ({"plan": "bad"}, {}, {}, {"plan": "bad"}, {}, {}),  # rejected before
        ({"plan": "good"}, {}, {}, {"plan": "bad"}, {"plan": "good"}, {}),  # another value is tried
        ({"pro": True}, {"pro": 1}, {}, {}, {}, {"pro": True}),  # the same boolean
        ({"pro": True}, {}, {"pro": 1}, {}, {"pro": True}, {}),  # not the same value
        ({"seats": 5}, {"seats": "5"}, {}, {}, {}, {"seats": 5}),  # shown as text
        ({"seats": 5}, {"seats": 5.0}, {}, {}, {}, {"seats": 5}),
        ({"since": "2021-05-04"}, {"since": "2021-05-04T00:00:00Z"}, {}, {}, {}, {"since": "2021-05-04"}),
        ({"since": "2021-05-04"}, {"since": "garbage"}, {}, {}, {"since": "2021-05-04"}, {}),
        ({}, {"plan": "pro"}, {"plan": "free"}, {}, {}, {}),  # not desired: left alone
    ],
)
def test_only_changed_and_differing_values_are_sent(
    desired: dict[str, PropertyValue],
    observed: Values,
    applied: Values,
    rejected: Values,
    send: dict[str, PropertyValue],
    settled: dict[str, PropertyValue],
) -> None:
    """A changed value that differs is sent; one that is in place is stored without a request."""
    assert diff(desired, subscriber(observed, applied, rejected), CATALOG) == PropertyDiff(send, settled)

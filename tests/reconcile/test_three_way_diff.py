"""Three-way differences."""

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
        ({"plan": "pro"}, {"plan": "pro"}, {}, {}, {}, {"plan": "pro"}),  # there already
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
        ({}, {"plan": "pro"}, {"plan": "free"}, {}, {}, {}),  # not desired: none of our business
    ],
)
def test_what_is_sent(
    desired: dict[str, PropertyValue],
    observed: Values,
    applied: Values,
    rejected: Values,
    send: dict[str, PropertyValue],
    settled: dict[str, PropertyValue],
) -> None:
    """Sent is what is desired anew and is not there; what is there already is noted without a request."""
    assert diff(desired, subscriber(observed, applied, rejected), CATALOG) == PropertyDiff(send, settled)

"""Three-way diff of desired, applied and observed properties, like that of ``kubectl apply``."""

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from prosperstack_destination.mapping.catalog import Catalog, PropertyType
from prosperstack_destination.mapping.coercion import CoercionError, PropertyValue, coerce
from prosperstack_destination.store.subscribers import Subscriber


@dataclass(frozen=True, slots=True)
class PropertyDiff:
    """Difference between desired properties and one subscriber; both parts by property key."""

    #: Values to send: changed, and different from the observed value.
    send: Mapping[str, PropertyValue]
    #: Changed values that are observed already: to be stored as applied, without a request.
    settled: Mapping[str, PropertyValue]


def diff(desired: Mapping[str, PropertyValue], subscriber: Subscriber, catalog: Catalog) -> PropertyDiff:
    """Compare desired with applied and observed values.

    A property is sent only where its desired value changed since it was last applied *and* differs from the
    observed one: a value edited by hand in ProsperStack stays until Segment sends a new one. A rejected value is
    not sent again.
    """
    send: dict[str, PropertyValue] = {}
    settled: dict[str, PropertyValue] = {}
    for key, value in desired.items():
        if key in subscriber.applied and same(subscriber.applied[key], value):
            continue
        prop = catalog.get(key)
        if prop is not None and same(comparable(subscriber.observed.get(key), prop.type), value):
            settled[key] = value
            continue
        rejected = subscriber.rejected.get(key)
        if rejected is None or not same(rejected[0], value):
            send[key] = value
    return PropertyDiff(send, settled)


def comparable(observed: JsonValue, kind: PropertyType) -> JsonValue:
    """Return an observed value in the form of desired ones. ProsperStack may show a date as a datetime."""
    try:
        return coerce(observed, kind)
    except CoercionError:
        return observed


def same(one: JsonValue, other: JsonValue) -> bool:
    """Return whether two JSON values are equal; true is not 1."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)

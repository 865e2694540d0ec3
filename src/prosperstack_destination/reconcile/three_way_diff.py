"""What has to be sent to a subscriber: three-way, as ``kubectl apply`` is."""

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from prosperstack_destination.mapping.catalog import Catalog, PropertyType
from prosperstack_destination.mapping.coercion import CoercionError, PropertyValue, coerce
from prosperstack_destination.store.subscribers import Subscriber


@dataclass(frozen=True, slots=True)
class PropertyDiff:
    """Desired properties against one subscriber; both parts by property key."""

    #: To be sent: desired anew, and not what is there.
    send: Mapping[str, PropertyValue]
    #: Desired anew, and there already: to be noted as applied, at no cost.
    settled: Mapping[str, PropertyValue]


def diff(desired: Mapping[str, PropertyValue], subscriber: Subscriber, catalog: Catalog) -> PropertyDiff:
    """Compare what is desired with what was applied and what is observed.

    A property is sent only where its desired value changed since it was last applied *and* differs from what
    was observed: what somebody edited by hand in ProsperStack stays until Segment says something new. A value
    that ProsperStack rejected is not sent again.
    """
    send: dict[str, PropertyValue] = {}
    settled: dict[str, PropertyValue] = {}
    for key, value in desired.items():
        if key in subscriber.applied and same(subscriber.applied[key], value):
            continue
        target = catalog.get(key)
        if target is not None and same(comparable(subscriber.observed.get(key), target.type), value):
            settled[key] = value
            continue
        rejected = subscriber.rejected.get(key)
        if rejected is None or not same(rejected[0], value):
            send[key] = value
    return PropertyDiff(send, settled)


def comparable(observed: JsonValue, kind: PropertyType) -> JsonValue:
    """An observed value in the form that desired ones have (ProsperStack may show a date as a datetime)."""
    try:
        return coerce(observed, kind)
    except CoercionError:
        return observed


def same(one: JsonValue, other: JsonValue) -> bool:
    """Equal values; true is not 1."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)

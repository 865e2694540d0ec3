"""Text of an activity event, as a pure function."""

from collections.abc import Mapping
from typing import Final

from pydantic import JsonValue

from prosperstack_destination.store.events import Event, EventKind

#: Maximum property names in a text.
_MAX_NAMES: Final = 4
_EVENTS: Final[Mapping[tuple[EventKind, str], str]] = {
    (EventKind.CALL, "accepted"): "Call accepted",
    (EventKind.CALL, "held"): "Call held until its email is known",
    (EventKind.CALL, "outdated"): "Call ignored: it is older than the person's deletion",
    (EventKind.DELIVERY, "delivered"): "All properties delivered",
    (EventKind.DELIVERY, "unchanged"): "ProsperStack was already up to date",
    (EventKind.DELIVERY, "unmatched"): "No subscriber has this email",
    (EventKind.CANCEL_FLOW, "known"): "Cancel flow started: the newest properties were returned to ProsperStack",
    (EventKind.CANCEL_FLOW, "stranger"): "Cancel flow started by an unknown person",
    (
        EventKind.CANCEL_FLOW,
        "unavailable",
    ): "Cancel flow started: the database was too slow to answer",
}


def describe(event: Event) -> str:
    """Return the text of an event, without a full stop."""
    if event.kind is EventKind.REQUEST:
        return _describe_request(event)
    text = _EVENTS.get((event.kind, event.outcome), f"{event.kind.value.capitalize()}: {event.outcome}")
    count = event.details.get("traits")
    return f"{text}, with {count} {'trait' if count == 1 else 'traits'}" if isinstance(count, int) else text


def _describe_request(event: Event) -> str:
    """Return the text of a request to ProsperStack and its response."""
    request, response = str(event.details.get("request", "a request")), event.details.get("said")
    if event.outcome == "none":
        return f"ProsperStack did not answer {request}"
    if not event.outcome.startswith("2"):
        return f"ProsperStack answered {event.outcome} to {request}" + (f": {response}" if response else "")
    properties = event.details.get("properties")
    if isinstance(properties, list) and properties:
        return f"Delivered: {_name_properties(properties)}"
    return "Looked up in ProsperStack" if request.startswith("GET /subscribers") else f"Request {request} succeeded"


def _name_properties(properties: list[JsonValue]) -> str:
    more = len(properties) - _MAX_NAMES
    names = ", ".join(map(str, properties[:_MAX_NAMES]))
    return f"{names}, and {more} more" if more > 0 else names

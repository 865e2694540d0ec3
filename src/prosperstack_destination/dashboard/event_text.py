"""What happened, in sentences: a pure function of an event."""

from collections.abc import Mapping
from typing import Final

from pydantic import JsonValue

from prosperstack_destination.store.events import Event, EventKind

#: Properties that a sentence names.
_NAMED: Final = 4
_EVENTS: Final[Mapping[tuple[EventKind, str], str]] = {
    (EventKind.CALL, "accepted"): "A call came in",
    (EventKind.CALL, "held"): "A call came in, and is held until an email is known",
    (EventKind.CALL, "outdated"): "A call was left out, older than the person's deletion",
    (EventKind.DELIVERY, "delivered"): "ProsperStack has everything now",
    (EventKind.DELIVERY, "unchanged"): "ProsperStack had everything already",
    (EventKind.DELIVERY, "unmatched"): "No subscriber has the email",
    (EventKind.CANCEL_FLOW, "known"): "Began to cancel, and ProsperStack was told the newest properties",
    (EventKind.CANCEL_FLOW, "stranger"): "Began to cancel, and was not known here",
    (EventKind.CANCEL_FLOW, "unavailable"): "Began to cancel, and the database was too slow to tell of them",
}


def describe(event: Event) -> str:
    """What happened to a person, in a sentence without its end."""
    if event.kind is EventKind.REQUEST:
        return _asked(event)
    words = _EVENTS.get((event.kind, event.outcome), f"{event.kind.value.capitalize()}: {event.outcome}")
    count = event.details.get("traits")
    return f"{words}, with {count} {'trait' if count == 1 else 'traits'}" if isinstance(count, int) else words


def _asked(event: Event) -> str:
    """What ProsperStack was asked, and what came of it."""
    request, said = str(event.details.get("request", "a request")), event.details.get("said")
    if event.outcome == "none":
        return f"ProsperStack did not answer {request}"
    if not event.outcome.startswith("2"):
        return f"ProsperStack answered {event.outcome} to {request}" + (f": {said}" if said else "")
    properties = event.details.get("properties")
    if isinstance(properties, list) and properties:
        return f"Written: {_named(properties)}"
    return "Looked up in ProsperStack" if request.startswith("GET /subscribers") else f"ProsperStack did {request}"


def _named(properties: list[JsonValue]) -> str:
    more = len(properties) - _NAMED
    names = ", ".join(map(str, properties[:_NAMED]))
    return f"{names}, and {more} more" if more > 0 else names

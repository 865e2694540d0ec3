"""Email address of a call: its fields in order of preference, and the reasons of invalid values."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from pydantic import JsonValue

from prosperstack_destination.emails import is_email, trim_email
from prosperstack_destination.ingest.identify_call import MAX_ID, as_object, context_traits, find, object_field
from prosperstack_destination.ingest.request_body import json_kind

NO_INVALID_EMAILS: Final[Mapping[str, str]] = {}
#: Most parts of a call that are searched for emails, and most places that are named.
_SEARCHED: Final = 500
_NAMED: Final = 5


def find_email(call: Mapping[str, Any]) -> tuple[str | None, str | None, Mapping[str, str]]:
    """Return the email as sent (trimmed) and its place, or None for both, and the reasons of invalid values.

    A value that is not an email is skipped like null; its place and the reason are in the mapping.
    """
    first = object_field(call, "traits").get("email")
    if isinstance(first, str) and is_email(first):  # the usual case
        return first, "traits.email", NO_INVALID_EMAILS
    return first_email(_email_places(call))


def first_email(places: Iterable[tuple[str, JsonValue]]) -> tuple[str | None, str | None, Mapping[str, str]]:
    """Return the first email of some places: see `find_email`."""
    invalid_emails: dict[str, str] = {}
    for place, value in places:
        if isinstance(value, str):
            address = trim_email(value)
            if is_email(address):
                return address, place, invalid_emails
            if address:
                invalid_emails[place] = (
                    f"{place} is not an email address: it needs a name, one @, and a domain, and no spaces."
                )
        elif value is not None:
            invalid_emails[place] = f"{place} has to be an email address as text, not {json_kind(value)}."
    return None, None, invalid_emails


def _email_places(call: Mapping[str, Any]) -> Iterator[tuple[str, JsonValue]]:
    """Yield the places of an email and their values, the preferred place first. Most calls use only the first."""
    traits = object_field(call, "traits")
    yield "traits.email", find(traits, "email")
    yield "traits.traits.email", find(as_object(find(traits, "traits")), "email")
    context = context_traits(call)
    yield "context.traits.email", find(context, "email")
    yield "context.traits.traits.email", find(as_object(find(context, "traits")), "email")
    yield "email", call.get("email")
    whole = object_field(call, "context")
    for name in ("externalids", "externalid"):
        ids = find(whole, name)
        for each in ids if isinstance(ids, list) else [ids]:
            if isinstance(each, dict) and each.get("type") == "email":
                yield "context.externalIds", each.get("id")


def places_of_emails(raw: Mapping[str, JsonValue]) -> tuple[str, ...]:
    """Return places in a call where an email address is, so that its sender can move it. Never raises."""
    left: list[tuple[str, JsonValue]] = [("", dict(raw))]
    found: list[str] = []
    for _ in range(_SEARCHED):
        if not left or len(found) == _NAMED:
            break
        path, value = left.pop(0)
        if isinstance(value, dict):
            left += [(f"{path}.{name}" if path else name, part) for name, part in value.items()]
        elif isinstance(value, list):
            left += [(f"{path}[{number}]", part) for number, part in enumerate(value[:_SEARCHED])]
        elif isinstance(value, str) and "@" in value and email_in(value) is not None and len(path) <= MAX_ID:
            found.append(path)
    return tuple(found)


def email_in(text: str) -> str | None:
    """Return a text, trimmed, if it is an email address."""
    trimmed = trim_email(text)
    return trimmed if is_email(trimmed) else None

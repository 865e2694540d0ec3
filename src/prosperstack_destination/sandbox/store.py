"""Data of the sandbox: properties with strict values, subscribers and subscriptions, in memory."""

import math
import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from itertools import islice
from typing import Any, Final

#: Stored value: text, number, boolean, or an ISO 8601 date as text.
Value = str | int | float | bool
_BOOLEANS: Final = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}
#: Narrower than Python's parsers, which also accept "1_000", " 5 ", "20210504" and "2021-W18-2".
_NUMBER: Final = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_DATE: Final = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})([T ].+)?")


class InvalidValue(ValueError):
    """Error for a value that does not have its property's type."""


def validated(value: Any, kind: str) -> Value:
    """Return the value to store. Raises `InvalidValue` for a value that does not have the type.

    The sandbox is strict where the real API is lax, which reads any undocumented text as a boolean true. A datetime
    becomes its date as written, regardless of its zone.
    """
    match kind:
        case "text" if isinstance(value, str):
            return _text(value)
        case "number" if isinstance(value, int | float | str) and not isinstance(value, bool):
            return _number_value(value)
        case "boolean" if isinstance(value, bool):
            return value
        case "boolean" if isinstance(value, str) and value in _BOOLEANS:
            return _BOOLEANS[value]
        case "date" if isinstance(value, str):
            return _date(value)
    raise InvalidValue(f"must be a {kind}")


def formatted(value: Value, display: str | None) -> str:
    """Return a value as text for people; ``display`` is the property's format."""
    if isinstance(value, bool):
        return "Yes" if value else "No"
    if isinstance(value, int | float):
        return f"{'-' if value < 0 else ''}${abs(value):,.2f}" if display == "currency" else f"{value:,}"
    return value


def _text(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate: JSON can hold it, a response cannot
        raise InvalidValue("must be a text in Unicode") from None
    return text


def _number_value(value: int | float | str) -> int | float:
    if isinstance(value, str) and _NUMBER.fullmatch(value) is None:
        raise InvalidValue("must be a number")
    try:
        finite = math.isfinite(float(value))
    except OverflowError:  # an integer above the range of a float
        finite = False
    if not finite:  # Python parses NaN and 1e999, which JSON cannot hold
        raise InvalidValue("must be a finite number")
    if isinstance(value, str):
        return int(value) if value.removeprefix("-").isdigit() else float(value)
    return value


def _date(text: str) -> str:
    match = _DATE.fullmatch(text)
    try:
        if match is not None:
            datetime.fromisoformat(text)
            return date.fromisoformat(match[1]).isoformat()
    except ValueError:
        pass
    raise InvalidValue("must be an ISO 8601 date")


class Refused(Exception):
    """Request that the API answers with an error: a status and a text."""

    def __init__(self, status: int, error: str) -> None:
        super().__init__(error)
        self.status = status


def iso(moment: datetime) -> str:
    """Return a time in UTC as ISO 8601 with milliseconds, as in the API."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def whole_milliseconds(now: float) -> datetime:
    """Return seconds since the epoch as a time with the precision of the API, so that filters match shown times."""
    return datetime.fromtimestamp(int(now * 1000) / 1000, UTC)


@dataclass(slots=True)
class SandboxProperty:
    """Custom property."""

    #: Position in the order of creation.
    number: int
    id: str
    key: str
    name: str
    entity: str
    type: str
    format: str | None

    def shown(self) -> dict[str, object]:
        """Return the resource as JSON of the API."""
        return {
            "id": self.id,
            "key": self.key,
            "name": self.name,
            "entity": self.entity,
            "type": self.type,
            "format": self.format,
        }


@dataclass(slots=True)
class Record:
    """Subscriber or subscription: its fixed fields, and its custom properties by key."""

    #: Position in the order of creation, which lists follow. Updates do not change it, so a client that pages
    #: during writes sees every record once.
    number: int
    fields: dict[str, str]
    #: Times in UTC, as in filters. They are not text, because a filter compares every record.
    created_at: datetime
    updated_at: datetime
    #: Property at the time of the write, and value, by property key. A value stays, and is shown, after its
    #: property is deleted.
    values: dict[str, tuple[SandboxProperty, Value]] = field(default_factory=dict)

    def shown(self) -> dict[str, object]:
        """Return the resource as JSON of the API."""
        properties = [
            {"property": each.shown(), "value": value, "formatted_value": formatted(value, each.format)}
            for each, value in self.values.values()
        ]
        times = {"created_at": iso(self.created_at), "updated_at": iso(self.updated_at)}
        return {**self.fields, "properties": properties, **times}


class Records:
    """Subscribers or subscriptions in the order of creation, with indexes by field."""

    def __init__(self, *indexed: str) -> None:
        self._ordered: list[Record] = []
        self._by_id: dict[str, Record] = {}
        self._by_field: dict[str, dict[str, list[Record]]] = {name: {} for name in indexed}

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Record]:
        return iter(self._ordered)

    def add(self, record: Record) -> None:
        """Add a record. Its number has to be the highest."""
        self._ordered.append(record)
        self._by_id[record.fields["id"]] = record
        for name, index in self._by_field.items():
            index.setdefault(_is_selected(name, record.fields[name]), []).append(record)

    def get(self, record_id: str) -> Record:
        """Return the record with this ID. Raises `Refused` (404)."""
        record = self._by_id.get(record_id)
        if record is None:
            raise Refused(404, "Not found")
        return record

    def remove(self, record_id: str) -> None:
        """Delete a record. Raises `Refused` (404)."""
        record = self.get(record_id)
        del self._by_id[record_id]
        del self._ordered[bisect_left(self._ordered, record.number, key=_number)]
        for name, index in self._by_field.items():
            index[_is_selected(name, record.fields[name])].remove(record)

    def after(self, number: int, email: str | None = None, **fields: str | None) -> Iterator[Record]:
        """Yield the records after a number, in order, that match the email and all other given fields.

        Emails are compared case-insensitively; the reference does not define the comparison.
        """
        conditions = {"email": email, **fields}.items()
        wanted = {name: _is_selected(name, value) for name, value in conditions if value is not None}
        indexed = [self._by_field[name].get(wanted[name], []) for name in self._by_field if name in wanted]
        records = min(indexed, key=len, default=self._ordered)
        matching: Iterator[Record] = islice(records, bisect_right(records, number, key=_number), None)
        for name, value in wanted.items():
            matching = filter(_has(name, value), matching)
        return matching


def _is_selected(name: str, value: str) -> str:
    return value.lower() if name == "email" else value


def _has(name: str, value: str) -> Callable[[Record], bool]:
    return lambda record: _is_selected(name, record.fields[name]) == value


def _number(record: Record) -> int:
    return record.number


class AccountData:
    """Properties, subscribers and subscriptions of one API key."""

    def __init__(self) -> None:
        self.properties: dict[str, SandboxProperty] = {}
        self.subscribers = Records("email", "platform_id")
        self.subscriptions = Records("platform_id", "subscriber_id")

    def create_property(
        self, made_id: str, key: str, name: str, entity: str, kind: str, display: str | None
    ) -> SandboxProperty:
        """Create a property. Raises `Refused` (409) if its key exists."""
        if self._property(key, entity) is not None:
            raise Refused(409, f"A {entity} property with the key {key} exists")
        number = max((each.number for each in self.properties.values()), default=0) + 1
        created = SandboxProperty(number, made_id, key, name, entity, kind, display)
        self.properties[made_id] = created
        return created

    def delete_property(self, property_id: str) -> None:
        """Delete a property, and keep its values. Raises `Refused` (404)."""
        if self.properties.pop(property_id, None) is None:
            raise Refused(404, "Not found")

    def delete_subscriber(self, subscriber_id: str) -> None:
        """Delete a subscriber and their subscriptions. Raises `Refused` (404)."""
        self.subscribers.remove(subscriber_id)
        for each in list(self.subscriptions.after(0, subscriber_id=subscriber_id)):
            self.subscriptions.remove(each.fields["id"])

    def update(
        self, records: Records, entity: str, *, record_id: str, properties: dict[str, object], at: str
    ) -> Record:
        """Set properties by key: all of them, or none if one is invalid (`Refused`, 400).

        ``at`` is the current time, in ISO 8601. It becomes ``updated_at``, even if no value changes: the reference
        has no exception.
        """
        record = records.get(record_id)
        checked: dict[str, tuple[SandboxProperty, Value] | None] = {}
        for key, value in properties.items():
            known = self._property(key, entity)
            if known is None:
                raise Refused(400, f"{key}: there is no such {entity} property")
            try:
                checked[key] = None if value in (None, "") else (known, validated(value, known.type))
            except InvalidValue as error:
                raise Refused(400, f"{key}: {error}") from None
        for key, pair in checked.items():
            if pair is None:
                record.values.pop(key, None)
            else:
                record.values[key] = pair
        record.updated_at = datetime.fromisoformat(at)
        return record

    def _property(self, key: str, entity: str) -> SandboxProperty | None:
        matching = (each for each in self.properties.values() if (each.key, each.entity) == (key, entity))
        return next(matching, None)

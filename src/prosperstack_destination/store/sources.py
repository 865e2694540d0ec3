"""Transactions on sources of calls, and on the number of members of Engage audiences."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue
from sqlalchemy import ColumnElement, Connection, bindparam, case, func, insert, select, update

from prosperstack_destination.store.models import CallSource, SourceKind, Stamped
from prosperstack_destination.store.statements import PreparedStatement
from prosperstack_destination.store.tables import segment_connections, sources

#: Maximum number of stored sources of an account: a script may invent names.
MAX_SOURCES: Final = 1_000
#: Maximum stored length of a library name, in characters.
_MAX_NAME: Final = 100

_UPDATE: Final = PreparedStatement(
    lambda _: (
        update(sources)
        .where(
            sources.c.account_id == bindparam("the_account"),
            sources.c.kind == bindparam("the_kind"),
            sources.c.key == bindparam("the_key"),
        )
        .values(
            name=bindparam("new_name"),
            last_at=bindparam("new_last_at"),
            calls=sources.c.calls + bindparam("more_calls"),
            members=sources.c.members + bindparam("more_members"),
        )
    )
)


@dataclass(frozen=True, slots=True)
class KnownSource:
    """Stored source of an account."""

    kind: SourceKind
    key: str
    name: str
    #: In microseconds since the epoch.
    first_at: int
    last_at: int
    calls: int
    #: Present number of members of an audience.
    members: int

    @property
    def audience_members(self) -> int | None:
        """Number of members; None for a source that is not an audience."""
        return self.members if self.kind is SourceKind.AUDIENCE else None


def audiences(connection: Connection, account_id: str) -> frozenset[str]:
    """Return the traits that are Engage audiences."""
    found = select(sources.c.key).where(
        sources.c.account_id == account_id, sources.c.kind == SourceKind.AUDIENCE.value
    )
    return frozenset(connection.scalars(found))


def remove_members(connection: Connection, account_id: str, people: Iterable[Mapping[str, Stamped]]) -> None:
    """Remove erased people, given by their traits, from the member counts of their audiences."""
    known = audiences(connection, account_id)
    left = Counter(name for traits in people for name in traits.keys() & known if _is_member(traits[name]))
    for name, count in sorted(left.items()):
        this = (sources.c.account_id == account_id) & (sources.c.key == name)
        audience = this & (sources.c.kind == SourceKind.AUDIENCE.value)
        # Never below zero: held calls were not always counted.
        members = case((sources.c.members > count, sources.c.members - count), else_=0)
        connection.execute(update(sources).where(audience).values(members=members))


@dataclass(slots=True)
class _Count:
    name: str
    calls: int = 0
    members: int = 0


class SourceCounters:
    """Increments of an account's sources in a transaction."""

    def __init__(self) -> None:
        self._counts: dict[tuple[SourceKind, str], _Count] = {}

    @property
    def audiences(self) -> set[str]:
        """Traits of the audiences with an increment."""
        return {key for kind, key in self._counts if kind is SourceKind.AUDIENCE}

    def count(self, source: CallSource) -> None:
        """Count a call."""
        count = self._of(source)
        count.calls += 1
        count.name = source.name

    def count_membership(self, source: CallSource, before: Stamped | None, after: Stamped | None) -> None:
        """Count a member who enters or leaves an audience, by the values of its trait before and after."""
        self._of(source).members += _is_member(after) - _is_member(before)

    def _of(self, source: CallSource) -> _Count:
        key = (source.kind, source.key)
        count = self._counts.get(key)
        if count is None:
            count = self._counts[key] = _Count(source.name)
        return count

    def save(self, connection: Connection, account_id: str, now: int) -> None:
        """Write the increments."""
        for (kind, key), count in sorted(self._counts.items()):
            identity = {"the_account": account_id, "the_kind": kind.value, "the_key": key}
            changed = {"new_name": count.name[:_MAX_NAME], "new_last_at": now, "more_calls": count.calls}
            known = _UPDATE.run(connection, {**identity, **changed, "more_members": count.members})
            if known == 0:
                _add(connection, account_id, kind, key, count, now)


def _add(connection: Connection, account_id: str, kind: SourceKind, key: str, count: _Count, now: int) -> None:
    known = connection.scalar(select(func.count()).select_from(sources).where(sources.c.account_id == account_id))
    if (known or 0) >= MAX_SOURCES:
        return
    connection.execute(
        insert(sources).values(
            account_id=account_id,
            kind=kind.value,
            key=key,
            name=count.name[:_MAX_NAME],
            first_at=now,
            last_at=now,
            calls=count.calls,
            members=count.members,
        )
    )


def of_account(connection: Connection, account_id: str) -> list[KnownSource]:
    """Return an account's sources, the latest sender first."""
    return _select_sources(connection, account_id)


def unconnected(connection: Connection, account_id: str, limit: int) -> list[KnownSource]:
    """Return an account's sources without a connection made here, the latest sender first."""
    connected = select(segment_connections.c.source_id).where(segment_connections.c.account_id == account_id)
    by_hand = (sources.c.kind != SourceKind.SOURCE.value) | sources.c.key.not_in(connected)
    return _select_sources(connection, account_id, by_hand, limit=limit)


def _select_sources(
    connection: Connection, account_id: str, *conditions: ColumnElement[bool], limit: int | None = None
) -> list[KnownSource]:
    rows = connection.execute(
        select(sources)
        .where(sources.c.account_id == account_id, *conditions)
        .order_by(sources.c.last_at.desc(), sources.c.kind, sources.c.key)
        .limit(limit)
    )
    return [
        # Never below zero: members of a journey were not counted while it counted as a computed trait.
        KnownSource(
            *(SourceKind(row.kind), row.key, row.name, row.first_at, row.last_at), row.calls, max(row.members, 0)
        )
        for row in rows
    ]


def _is_member(stamped: Stamped | None) -> int:
    """Return 1 for a member, by the rule of `mapping.expression_runner`. Journeys send the text "true"."""
    value: JsonValue = None if stamped is None else stamped[0]
    return int(value is True or (isinstance(value, str) and value.strip().lower() == "true"))

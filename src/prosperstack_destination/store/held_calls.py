"""Transactions on held calls: traits that Engage sent for IDs whose email is not known yet."""

from collections.abc import Collection, Mapping
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, bindparam, delete, func, insert, select, tuple_, update

from prosperstack_destination.clock import DAY
from prosperstack_destination.store.identities import Key
from prosperstack_destination.store.merge import Reads, merge, reads_none
from prosperstack_destination.store.models import IdKind, TimedTraits
from prosperstack_destination.store.statements import PreparedStatement
from prosperstack_destination.store.tables import held
from prosperstack_destination.store.timed_traits import dump_traits, load_traits

#: Maximum number of held IDs of an account. Beyond it the longest unchanged are deleted.
MAX_HELD: Final = 100_000
#: Time that an ID is held without a new call, in microseconds.
RETENTION: Final = 30 * DAY

_IS_ANY_HELD: Final = PreparedStatement(
    lambda _: select(held.c.kind).where(held.c.account_id == bindparam("account")).limit(1)
)


def hold(
    connection: Connection,
    account_id: str,
    traits_by_key: Mapping[Key, TimedTraits],
    now: int,
    reads: Reads = reads_none,
) -> int:
    """Merge traits into the held ones, by ID. Return the number of dropped traits."""
    dropped = 0
    known = of_ids(connection, account_id, traits_by_key)
    inserts: list[dict[str, Any]] = []
    for key in sorted(traits_by_key):
        merged = merge(known.get(key, {}), traits_by_key[key], reads)
        dropped += merged.dropped
        traits = dump_traits(merged.traits)
        if key in known:
            connection.execute(update(held).where(_has_key(account_id, [key])).values(traits=traits, held_at=now))
        else:
            kind, external_id = key
            row = {"account_id": account_id, "kind": kind.value, "external_id": external_id}
            inserts.append({**row, "traits": traits, "held_at": now})
    if inserts:
        connection.execute(insert(held), inserts)
        _trim(connection, account_id, now)
    return dropped


def release(connection: Connection, account_id: str, keys: Collection[Key]) -> dict[Key, TimedTraits]:
    """Delete the held traits of these IDs and return them."""
    if not _IS_ANY_HELD.rows(connection, {"account": account_id}):
        return {}  # accounts without Engage: a query that costs little
    released = of_ids(connection, account_id, keys)
    forget(connection, account_id, list(released))
    return released


def forget(connection: Connection, account_id: str, keys: Collection[Key]) -> None:
    """Delete the held traits of these IDs."""
    if keys:
        connection.execute(delete(held).where(_has_key(account_id, keys)))


def of_ids(connection: Connection, account_id: str, keys: Collection[Key]) -> dict[Key, TimedTraits]:
    """Return the held traits of these IDs."""
    if not keys:
        return {}
    rows = connection.execute(select(held).where(_has_key(account_id, keys)))
    return {(IdKind(row.kind), row.external_id): load_traits(row.traits) for row in rows}


def _has_key(account_id: str, keys: Collection[Key]) -> ColumnElement[bool]:
    wanted = [(kind.value, external_id) for kind, external_id in keys]
    return (held.c.account_id == account_id) & tuple_(held.c.kind, held.c.external_id).in_(wanted)


def _trim(connection: Connection, account_id: str, now: int) -> None:
    """Delete entries beyond `RETENTION` and `MAX_HELD`."""
    of_account = held.c.account_id == account_id
    connection.execute(delete(held).where(of_account, held.c.held_at < now - RETENTION))
    count = connection.scalar(select(func.count()).select_from(held).where(of_account)) or 0
    if count > MAX_HELD:
        oldest = select(held.c.held_at).where(of_account).order_by(held.c.held_at).offset(count - MAX_HELD).limit(1)
        connection.execute(delete(held).where(of_account, held.c.held_at < oldest.scalar_subquery()))

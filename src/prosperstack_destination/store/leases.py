"""Transactions on leases, which decide the replica that spends an account's requests.

`reconcile.lease_protocol` makes the decisions. All times are by the database's clock, so replicas need not agree
on theirs.
"""

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, delete, insert, or_, select, update

from prosperstack_destination.clock import SECOND
from prosperstack_destination.errors import LeaseLost
from prosperstack_destination.store.statements import BulkSelect
from prosperstack_destination.store.tables import leases, replicas

_HELD: Final = BulkSelect(leases, ["account_id", "owner", "fence"], ["account_id"], lock="FOR KEY SHARE OF leases")
#: Duration of a lease, in microseconds. A dead replica's accounts wait this long, and for one heartbeat.
LEASE_TTL: Final = 5 * SECOND
#: Interval between two renewals, in microseconds: two may fail.
HEARTBEAT_INTERVAL: Final = 3 * SECOND // 2
#: Text of `LeaseLost`.
LOST: Final = "Another replica holds the account's lease now."
#: PostgreSQL advisory lock that serialises decisions about leases.
_LOCK: Final = 7_008_702
#: Lock timeout of a decision, and idle timeout after which a stalled process loses its transaction.
_LOOK_TIMEOUT: Final = "1s"


@dataclass(frozen=True, slots=True)
class Lease:
    """Lease of one account, as stored."""

    account_id: str
    #: ID of a replica.
    owner: str
    #: Counter that grows with each change of the owner; writes of an earlier owner have a lower fence.
    fence: int
    #: Expiry in microseconds of the database's clock; 0: released.
    expires_at: int


def lock_decisions(connection: Connection) -> None:
    """Serialise decisions about leases until the transaction ends."""
    if connection.dialect.name == "postgresql":
        for setting in ("lock_timeout", "idle_in_transaction_session_timeout"):
            connection.exec_driver_sql(f"SET LOCAL {setting} = '{_LOOK_TIMEOUT}'")
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")


def load(connection: Connection, wanted: Iterable[str]) -> dict[str, Lease]:
    """Return the leases that are not released, and those of these accounts."""
    wanted = list(wanted)
    asked = or_(leases.c.expires_at > 0, leases.c.account_id.in_(wanted)) if wanted else leases.c.expires_at > 0
    return {
        row.account_id: Lease(row.account_id, row.owner, row.fence, row.expires_at)
        for row in connection.execute(select(leases).where(asked))
    }


def store(connection: Connection, changed: Iterable[Lease]) -> Set[str]:
    """Store changed leases. Return the accounts whose leases were stored.

    A lease that another transaction holds (`assert_held`) is skipped, so that no decision waits for it.
    """
    by_account = {lease.account_id: lease for lease in changed}
    if not by_account:
        return set()
    there = select(leases.c.account_id).where(leases.c.account_id.in_(by_account))
    held = set(connection.scalars(there)) - set(connection.scalars(there.with_for_update(skip_locked=True)))
    for account in sorted(by_account.keys() - held):
        lease = by_account[account]
        values = {"owner": lease.owner, "fence": lease.fence, "expires_at": lease.expires_at}
        same = update(leases).where(leases.c.account_id == account).values(values)
        if connection.execute(same).rowcount == 0:
            connection.execute(insert(leases).values(account_id=account, **values))
    return by_account.keys() - held


def renew(connection: Connection, owner: str, expires_at: int) -> None:
    """Extend all leases of an owner, including those that its transactions hold."""
    of_replica = (leases.c.owner == owner) & (leases.c.expires_at > 0)
    connection.execute(update(leases).where(of_replica).values(expires_at=expires_at))


def still_held(connection: Connection, expected: Iterable[Lease]) -> Set[str]:
    """Keep leases from moving to another replica until the transaction ends; return the accounts of those held.

    It takes the weakest row lock, FOR KEY SHARE: `renew` does not wait for it, and `store` skips it.
    """
    keys = sorted((lease.account_id, lease.owner, lease.fence) for lease in expected)
    return {row.account_id for row in _HELD.rows(connection, keys)}


def assert_held(connection: Connection, account_id: str, owner: str, fence: int) -> None:
    """Keep a lease from moving, as `still_held` does. Raises `LeaseLost` if it has moved."""
    if not still_held(connection, [Lease(account_id, owner, fence, 0)]):
        raise LeaseLost(LOST)


def live_replicas(connection: Connection) -> Mapping[str, int]:
    """Return all replicas with their expiry times."""
    return {row.id: row.expires_at for row in connection.execute(select(replicas))}


def heartbeat(connection: Connection, replica: str, expires_at: int) -> None:
    """Record that a replica is alive until ``expires_at``."""
    if connection.execute(update(replicas).where(replicas.c.id == replica).values(expires_at=expires_at)).rowcount:
        return
    connection.execute(insert(replicas).values(id=replica, expires_at=expires_at))


def remove(connection: Connection, dead: Iterable[str]) -> None:
    """Delete replicas."""
    ids = list(dead)
    if ids:
        connection.execute(delete(replicas).where(replicas.c.id.in_(ids)))


def release_all(connection: Connection, replica: str) -> None:
    """Release all leases of a replica that stops."""
    connection.execute(update(leases).where(leases.c.owner == replica).values(expires_at=0))
    remove(connection, [replica])

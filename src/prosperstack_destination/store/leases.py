"""Units of work on leases: which replica spends an account's requests. `reconcile.lease_balancing` decides that.

All times are the database's own: replicas need not agree on theirs.
"""

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, delete, insert, or_, select, update

from prosperstack_destination.errors import LeaseLost
from prosperstack_destination.store.tables import leases, replicas

#: Who looks at the leases on PostgreSQL holds this advisory lock, so that they decide one after the other.
_LOCK: Final = 7_008_702
#: A look waits for nobody, and nobody waits for one that fell asleep: it loses its transaction after so long.
_LOOK_TIMEOUT: Final = "1s"


@dataclass(frozen=True, slots=True)
class Lease:
    """One account's lease, as it is stored."""

    account_id: str
    #: The id of a replica.
    owner: str
    #: Grows whenever the lease goes to somebody: what an earlier owner still writes is told by it.
    fence: int
    #: In microseconds of the database's clock; 0: it was given up.
    expires_at: int


def one_at_a_time(connection: Connection) -> None:
    """Wait until nobody else decides about leases; they wait until this transaction ends."""
    if connection.dialect.name == "postgresql":
        for setting in ("lock_timeout", "idle_in_transaction_session_timeout"):
            connection.exec_driver_sql(f"SET LOCAL {setting} = '{_LOOK_TIMEOUT}'")
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")


def load(connection: Connection, wanted: Iterable[str]) -> dict[str, Lease]:
    """The leases that were not given up, and whatever there is of these accounts."""
    wanted = list(wanted)
    asked = or_(leases.c.expires_at > 0, leases.c.account_id.in_(wanted)) if wanted else leases.c.expires_at > 0
    return {
        row.account_id: Lease(row.account_id, row.owner, row.fence, row.expires_at)
        for row in connection.execute(select(leases).where(asked))
    }


def store(connection: Connection, changed: Iterable[Lease]) -> Set[str]:
    """Keep leases as they are now; returns the accounts of those that were.

    One that a transaction holds just now (`must_hold`) stays as it is: whoever looks must not have to wait for it.
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
    """Have all leases of an owner last until then, also those that its transactions hold just now."""
    mine = (leases.c.owner == owner) & (leases.c.expires_at > 0)
    connection.execute(update(leases).where(mine).values(expires_at=expires_at))


def assert_held(connection: Connection, account_id: str, owner: str, fence: int) -> None:
    """Keep a lease from going to another replica until the transaction ends. Raises `LeaseLost` where it has.

    The lock is the weakest there is, a key's: `prolong` does not wait for it, and `store` steps around it.
    """
    mine = (leases.c.account_id == account_id) & (leases.c.owner == owner) & (leases.c.fence == fence)
    held = select(leases.c.fence).where(mine).with_for_update(read=True, key_share=True)
    if connection.execute(held).first() is None:
        raise LeaseLost("Another replica works at the account by now.")


def live_replicas(connection: Connection) -> Mapping[str, int]:
    """The replicas, each until when it counts as alive."""
    return {row.id: row.expires_at for row in connection.execute(select(replicas))}


def heartbeat(connection: Connection, replica: str, expires_at: int) -> None:
    """A replica is alive."""
    if connection.execute(update(replicas).where(replicas.c.id == replica).values(expires_at=expires_at)).rowcount:
        return
    connection.execute(insert(replicas).values(id=replica, expires_at=expires_at))


def remove(connection: Connection, dead: Iterable[str]) -> None:
    """Forget replicas."""
    ids = list(dead)
    if ids:
        connection.execute(delete(replicas).where(replicas.c.id.in_(ids)))


def leave(connection: Connection, replica: str) -> None:
    """A replica stops: whatever it holds is free at once."""
    connection.execute(update(leases).where(leases.c.owner == replica).values(expires_at=0))
    remove(connection, [replica])

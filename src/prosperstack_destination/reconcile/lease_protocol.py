"""The decisions of the lease protocol, as pure functions: which replica holds which accounts.

Replicas read the leases one after the other, in transactions, by the database's clock. A lease lasts `LEASE_TTL`,
and its owner renews it well before. Each new owner gets a higher fence; an owner's writes name its fence, in the
same transaction, so that a stalled owner cannot overwrite its successor's writes.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass, replace

from prosperstack_destination.store.leases import LEASE_TTL, Lease


@dataclass(frozen=True, slots=True)
class LeaseView:
    """Leases and replicas as one replica reads them."""

    #: The database's time, in microseconds.
    now: int
    #: The reading replica.
    replica: str
    #: All known replicas, each with the time until which it counts as live.
    replicas: Mapping[str, int]
    #: Stored leases by account, expired or not.
    leases: Mapping[str, Lease]
    #: Accounts whose leases this replica assumes to hold, with the fences.
    held: Mapping[str, int]
    #: Accounts with work.
    wanted: Set[str] = frozenset()
    #: Held accounts without a running worker.
    idle: Set[str] = frozenset()
    #: Idle accounts that had no work for a while.
    long_idle: Set[str] = frozenset()


@dataclass(frozen=True, slots=True)
class LeasePlan:
    """Changes that follow from a `LeaseView`."""

    #: Still held, to be renewed.
    kept: Set[str]
    #: New leases, to be stored.
    taken: tuple[Lease, ...]
    #: Released leases, to be stored.
    given_up: tuple[Lease, ...]
    #: Not held any more: another replica has them, or had.
    lost: Set[str]
    #: Held, but due to other replicas: their workers have to stop.
    draining: Set[str]
    #: Held by other replicas.
    elsewhere: Set[str]
    #: Replicas that are not live.
    dead: Set[str]


def is_live(expires_at: int, now: int) -> bool:
    """Return whether a lease or a replica has not expired. Setting the clock back expires it as well."""
    return 0 < expires_at - now <= LEASE_TTL


def plan_leases(view: LeaseView) -> LeasePlan:
    """Return one replica's changes."""
    mine = {
        account
        for account, fence in view.held.items()
        if (lease := view.leases.get(account)) and (lease.owner, lease.fence) == (view.replica, fence)
    }
    elsewhere = {
        account
        for account, lease in view.leases.items()
        if lease.owner != view.replica and is_live(lease.expires_at, view.now)
    }
    long_idle = view.long_idle & mine - view.wanted
    kept = mine - long_idle
    free = view.wanted - kept - elsewhere
    # Stored for this replica but unknown to it: the result of an earlier transaction was lost.
    stray = {
        account for account, lease in view.leases.items() if lease.owner == view.replica and lease.expires_at
    } - mine
    alive = {name for name, until in view.replicas.items() if is_live(until, view.now)} | {view.replica}
    quota = _quota(view.replica, alive, len(kept) + len(elsewhere) + len(free))
    surplus = _surplus(kept, view.idle, quota)
    handed_over = surplus & view.idle
    kept -= handed_over
    taken = sorted(free)[: max(quota - len(kept), 0)]
    stray -= set(taken)
    return LeasePlan(
        kept=kept,
        taken=tuple(_taken(view, account) for account in taken),
        given_up=tuple(
            replace(view.leases[name], expires_at=0) for name in sorted(long_idle | handed_over | stray)
        ),
        lost=view.held.keys() - mine,
        draining=surplus - handed_over,
        elsewhere=elsewhere,
        dead=view.replicas.keys() - alive,
    )


def with_stored(lease_plan: LeasePlan, stored: Set[str], held: Set[str]) -> LeasePlan:
    """Reduce a plan to the leases in ``stored``, which could be written; the next heartbeat handles the rest.

    A lease that could not be taken counts as held elsewhere until then; one that could not be given up stays held.
    """
    not_taken = {lease.account_id for lease in lease_plan.taken} - stored
    not_given_up = {lease.account_id for lease in lease_plan.given_up} - stored
    return replace(
        lease_plan,
        taken=tuple(lease for lease in lease_plan.taken if lease.account_id in stored),
        given_up=tuple(lease for lease in lease_plan.given_up if lease.account_id in stored),
        kept=lease_plan.kept | not_given_up & held,
        elsewhere=lease_plan.elsewhere | not_taken,
    )


def _quota(replica: str, alive: Set[str], accounts: int) -> int:
    """Return how many accounts a replica may hold: an even part, with the remainder going to the first ones."""
    part, rest = divmod(accounts, len(alive))
    return part + (sorted(alive).index(replica) < rest)


def _surplus(kept: Set[str], idle: Set[str], quota: int) -> Set[str]:
    """Return the held accounts above the quota; accounts without a running worker go first."""
    excess = max(len(kept) - quota, 0)
    return set(sorted(kept, key=lambda account: (account not in idle, account))[:excess])


def _taken(view: LeaseView, account: str) -> Lease:
    before = view.leases.get(account)
    fence = 1 if before is None else before.fence + 1
    return Lease(account, view.replica, fence, view.now + LEASE_TTL)

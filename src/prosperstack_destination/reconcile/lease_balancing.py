"""Which replica spends which account's requests: the protocol's decisions, as pure functions.

Replicas look at the leases one after the other, in transactions, and by the database's clock. A lease is taken for
`LEASE_FOR`, and renewed by its owner well before. Each time it goes to somebody its fence grows; what an owner
writes names its fence, in the same transaction, so that one which slept too long writes nothing over its
successor's work.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass, replace
from typing import Final

from prosperstack_destination.clock import SECOND
from prosperstack_destination.store.leases import Lease

#: For how long a lease is taken, in microseconds. A dead replica's accounts wait for so long, and for one look.
LEASE_TTL: Final = 5 * SECOND
#: How often a replica renews its leases, in microseconds: two may fail.
HEARTBEAT_INTERVAL: Final = 3 * SECOND // 2


@dataclass(frozen=True, slots=True)
class LeaseView:
    """What a replica sees in one look."""

    #: The database's time, in microseconds.
    now: int
    #: Whose look it is.
    replica: str
    #: All replicas that were heard of, each until when it counts as alive.
    replicas: Mapping[str, int]
    #: By account: what is stored, whether it has run out or not.
    leases: Mapping[str, Lease]
    #: The accounts that I hold as far as I know, with the fences.
    held: Mapping[str, int]
    #: Accounts that have something to do.
    wanted: Set[str] = frozenset()
    #: Of those that I hold: nobody is working at them just now.
    resting: Set[str] = frozenset()
    #: Of the resting: there was nothing to do for a while.
    retired: Set[str] = frozenset()


@dataclass(frozen=True, slots=True)
class LeasePlan:
    """What follows from a look."""

    #: Mine still, to be renewed.
    kept: Set[str]
    #: Mine from now on, as they are to be stored.
    taken: tuple[Lease, ...]
    #: To be stored: free for others from now on.
    given_up: tuple[Lease, ...]
    #: Not mine any more: another replica has them, or had.
    lost: Set[str]
    #: Mine, but others have too few: whoever works at them has to come to an end.
    draining: Set[str]
    #: In the hands of others.
    elsewhere: Set[str]
    #: Replicas that are dead.
    dead: Set[str]


def is_live(expires_at: int, now: int) -> bool:
    """Whether a lease, or a replica, still counts; not where the clock was set back since, either."""
    return 0 < expires_at - now <= LEASE_TTL


def plan_leases(seen: LeaseView) -> LeasePlan:
    """What one replica does after a look."""
    mine = {
        account
        for account, fence in seen.held.items()
        if (lease := seen.leases.get(account)) and (lease.owner, lease.fence) == (seen.replica, fence)
    }
    elsewhere = {
        account
        for account, lease in seen.leases.items()
        if lease.owner != seen.replica and is_live(lease.expires_at, seen.now)
    }
    retired = seen.retired & mine - seen.wanted
    kept = mine - retired
    free = seen.wanted - kept - elsewhere
    # Stored as mine, and I do not know of it: the answer to an earlier look was lost.
    stray = {
        account for account, lease in seen.leases.items() if lease.owner == seen.replica and lease.expires_at
    } - mine
    alive = {each for each, until in seen.replicas.items() if is_live(until, seen.now)} | {seen.replica}
    quota = _quota(seen.replica, alive, len(kept) + len(elsewhere) + len(free))
    surplus = _surplus(kept, seen.resting, quota)
    handed_over = surplus & seen.resting
    kept -= handed_over
    taken = sorted(free)[: max(quota - len(kept), 0)]
    stray -= set(taken)
    return LeasePlan(
        kept=kept,
        taken=tuple(_taken(seen, account) for account in taken),
        given_up=tuple(replace(seen.leases[each], expires_at=0) for each in sorted(retired | handed_over | stray)),
        lost=seen.held.keys() - mine,
        draining=surplus - handed_over,
        elsewhere=elsewhere,
        dead=seen.replicas.keys() - alive,
    )


def with_stored(moves: LeasePlan, stored: Set[str], held: Set[str]) -> LeasePlan:
    """What came of moves of which only the leases in ``stored`` could be kept: the next look finds the others.

    A lease that could not be taken counts as another's until then; one that could not be given up stays mine.
    """
    not_taken = {lease.account_id for lease in moves.taken} - stored
    not_given_up = {lease.account_id for lease in moves.given_up} - stored
    return replace(
        moves,
        taken=tuple(lease for lease in moves.taken if lease.account_id in stored),
        given_up=tuple(lease for lease in moves.given_up if lease.account_id in stored),
        kept=moves.kept | not_given_up & held,
        elsewhere=moves.elsewhere | not_taken,
    )


def _quota(me: str, alive: Set[str], accounts: int) -> int:
    """How many accounts are mine: an even part, the rest going to the first."""
    part, rest = divmod(accounts, len(alive))
    return part + (sorted(alive).index(me) < rest)


def _surplus(kept: Set[str], resting: Set[str], quota: int) -> Set[str]:
    """Which of mine are too many: those at which nobody works go first."""
    excess = max(len(kept) - quota, 0)
    return set(sorted(kept, key=lambda account: (account not in resting, account))[:excess])


def _taken(seen: LeaseView, account: str) -> Lease:
    before = seen.leases.get(account)
    fence = 1 if before is None else before.fence + 1
    return Lease(account, seen.replica, fence, seen.now + LEASE_TTL)

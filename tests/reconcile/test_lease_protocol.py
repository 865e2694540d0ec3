"""The lease protocol: which replica holds which accounts."""

from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from prosperstack_destination.clock import HOUR, SECOND
from prosperstack_destination.reconcile.lease_protocol import (
    LeaseView,
    is_live,
    plan_leases,
    with_stored,
)
from prosperstack_destination.store.leases import HEARTBEAT_INTERVAL, LEASE_TTL, Lease

NOW = 1_000 * HOUR
ACCOUNTS = [f"a{n}" for n in range(5)]


@dataclass
class Replica:
    """A replica with its leases alone."""

    name: str
    frozen: bool = False
    #: Fences by account, and the time until which each is surely held, by a monotonic clock.
    held: dict[str, int] = field(default_factory=dict)
    until: dict[str, int] = field(default_factory=dict)
    #: Accounts with a running worker.
    busy: set[str] = field(default_factory=set)


@dataclass
class World:
    """The database and the replicas."""

    #: The database's clock, which may be set, and a monotonic clock.
    now: int = NOW
    ticks: int = 0
    leases: dict[str, Lease] = field(default_factory=dict)
    beats: dict[str, int] = field(default_factory=dict)
    wanted: set[str] = field(default_factory=set)
    #: Leases that transactions hold, which may be those of replicas that sleep.
    in_use: set[str] = field(default_factory=set)

    def pass_time(self, microseconds: int) -> None:
        self.now += microseconds
        self.ticks += microseconds

    def rebalance(self, replica: Replica) -> None:
        """Do as `LeaseManager.rebalance` does in its transaction and after it."""
        idle = frozenset(replica.held.keys() - replica.busy)
        view = LeaseView(self.now, replica.name, self.beats, self.leases, replica.held, self.wanted, idle, idle)
        plan = plan_leases(view)
        changed = (*plan.taken, *plan.given_up)
        plan = with_stored(plan, {lease.account_id for lease in changed} - self.in_use, replica.held.keys())
        for dead in plan.dead:
            del self.beats[dead]
        self.beats[replica.name] = self.now + LEASE_TTL
        for account in plan.kept:
            self.leases[account] = Lease(account, replica.name, replica.held[account], self.now + LEASE_TTL)
        for lease in (*plan.taken, *plan.given_up):
            self.leases[lease.account_id] = lease
        replica.held = {lease: replica.held[lease] for lease in plan.kept} | {
            lease.account_id: lease.fence for lease in plan.taken
        }
        replica.until = dict.fromkeys(replica.held, self.ticks + LEASE_TTL)
        replica.busy = replica.busy & replica.held.keys() - plan.draining

    def may_write(self, replica: Replica, account: str) -> bool:
        """Return what `leases.assert_held` checks."""
        lease = self.leases.get(account)
        return lease is not None and (lease.owner, lease.fence) == (replica.name, replica.held.get(account))


class Sharing(RuleBasedStateMachine):
    """Replicas start, sleep, wake and die at any moment, and the database's clock is set."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.replicas: list[Replica] = []
        self.count = 0
        self.seen: dict[str, Lease] = {}

    @rule()
    def come(self) -> None:
        if len(self.replicas) < 4:
            self.count += 1
            self.replicas.append(Replica(f"r{self.count}"))

    @rule(wanted=st.sets(st.sampled_from(ACCOUNTS)))
    def want(self, wanted: set[str]) -> None:
        self.world.wanted = wanted

    @precondition(lambda self: self.replicas)
    @rule(data=st.data(), busy=st.booleans())
    def rebalance(self, data: st.DataObject, busy: bool) -> None:
        replica = data.draw(st.sampled_from(self.replicas))
        if not replica.frozen:
            self.world.rebalance(replica)
            if busy:
                replica.busy = set(replica.held) & self.world.wanted

    @precondition(lambda self: self.replicas)
    @rule(data=st.data())
    def die(self, data: st.DataObject) -> None:
        self.replicas.remove(data.draw(st.sampled_from(self.replicas)))

    @precondition(lambda self: self.replicas)
    @rule(data=st.data(), frozen=st.booleans())
    def freeze_or_wake(self, data: st.DataObject, frozen: bool) -> None:
        data.draw(st.sampled_from(self.replicas)).frozen = frozen

    @rule(accounts=st.sets(st.sampled_from(ACCOUNTS)))
    def use(self, accounts: set[str]) -> None:
        self.world.in_use = accounts

    @rule(seconds=st.integers(0, 8))
    def pass_time(self, seconds: int) -> None:
        self.world.pass_time(seconds * SECOND)

    @rule()
    def settle(self) -> None:
        """Once all awake replicas rebalance, the live ones soon hold all wanted accounts, evenly."""
        awake = [each for each in self.replicas if not each.frozen]
        self.world.in_use = set()
        for _ in range(LEASE_TTL // SECOND + 3):
            self.world.pass_time(SECOND)
            for replica in awake:
                replica.busy = set()
                self.world.rebalance(replica)
        if awake:
            holders = {account: each.name for each in awake for account in each.held}
            assert holders.keys() == self.world.wanted
            counts = [len(each.held) for each in awake]
            assert sum(counts) == len(self.world.wanted)
            assert max(counts) - min(counts) <= 1

    @invariant()
    def only_one_may_send(self) -> None:
        """Two replicas never both consider an account theirs."""
        for account in ACCOUNTS:
            sure = [each.name for each in self.replicas if each.until.get(account, 0) > self.world.ticks]
            assert len(sure) <= 1, (account, sure)

    @invariant()
    def only_one_may_write(self) -> None:
        """Of all replicas that consider an account theirs, awake or not, the database accepts one's writes."""
        for account in ACCOUNTS:
            assert sum(self.world.may_write(each, account) for each in self.replicas) <= 1

    @invariant()
    def fences_only_grow(self) -> None:
        """Each new lease has a fence of its own, also for an earlier owner."""
        for account, lease in self.world.leases.items():
            before = self.seen.get(account)
            if before is not None:
                again = before.expires_at == 0 and lease.expires_at > 0
                assert lease.fence >= before.fence + (again or before.owner != lease.owner)
            self.seen[account] = lease


class SharingWithClockSet(Sharing):
    """The protocol with the database's clock set back and forth, where the fence alone protects."""

    @rule(hours=st.sampled_from([-1, 1]))
    def set_clock(self, hours: int) -> None:
        self.world.now += hours * HOUR

    def only_one_may_send(self) -> None:
        """Not guaranteed here: a replica learns of a lost account at its next heartbeat."""


TestSharing = Sharing.TestCase
TestSharing.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestSharingWithClockSet = SharingWithClockSet.TestCase
TestSharingWithClockSet.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)


def test_lease_of_the_far_future_is_expired() -> None:
    """After the database's clock was set back, earlier leases do not last for an hour."""
    assert is_live(NOW + LEASE_TTL, NOW)
    assert not is_live(NOW + LEASE_TTL + 1, NOW)
    assert not is_live(NOW, NOW)


def test_lease_survives_two_failed_renewals() -> None:
    """A lease survives two failed renewals, and a dead replica's account is taken within ten seconds."""
    assert LEASE_TTL >= 3 * HEARTBEAT_INTERVAL
    assert LEASE_TTL + HEARTBEAT_INTERVAL < 10 * SECOND


@pytest.mark.parametrize(
    ("others", "mine", "wanted", "takes"),
    [
        (0, 0, 5, 5),  # alone: all of them
        (1, 0, 5, 3),  # of two, r0 is the first: the half, rounded up
        (4, 0, 5, 1),
        (1, 2, 4, 0),  # has its half already
    ],
)
def test_free_accounts_are_shared_evenly(others: int, mine: int, wanted: int, takes: int) -> None:
    """A replica takes free accounts until it has an even part."""
    held = {f"a{n}": 1 for n in range(mine)}
    view = LeaseView(
        NOW,
        "r0",
        {f"r{n + 1}": NOW + 1 for n in range(others)},
        {account: Lease(account, "r0", 1, NOW + 1) for account in held},
        held,
        {f"a{n}" for n in range(wanted)},
    )

    assert len(plan_leases(view).taken) == takes


def test_unknown_lease_is_taken_again_or_given_up() -> None:
    """A lease that is stored for a replica that does not know of it is taken again or given up."""
    stray = {"a": Lease("a", "r0", 4, NOW + 1)}

    assert plan_leases(LeaseView(NOW, "r0", {}, stray, {}, {"a"})).taken == (Lease("a", "r0", 5, NOW + LEASE_TTL),)
    assert plan_leases(LeaseView(NOW, "r0", {}, stray, {})).given_up == (Lease("a", "r0", 4, 0),)

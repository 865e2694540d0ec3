"""Which replica spends which account's requests."""

from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from prosperstack_destination.clock import HOUR, SECOND
from prosperstack_destination.reconcile.lease_balancing import (
    HEARTBEAT_INTERVAL,
    LEASE_TTL,
    LeaseView,
    is_live,
    plan_leases,
    with_stored,
)
from prosperstack_destination.store.leases import Lease

NOW = 1_000 * HOUR
ACCOUNTS = [f"a{n}" for n in range(5)]


@dataclass
class Replica:
    """A replica, as far as leases go."""

    name: str
    frozen: bool = False
    #: Fences by account, and until when each is surely ours, by a clock that never steps.
    held: dict[str, int] = field(default_factory=dict)
    until: dict[str, int] = field(default_factory=dict)
    #: Accounts at which somebody works.
    busy: set[str] = field(default_factory=set)


@dataclass
class World:
    """The database and the replicas."""

    #: The database's clock, which may be set, and a clock that is not.
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

    def look(self, me: Replica) -> None:
        """What `LeaseManager.look` does in its transaction and after it."""
        resting = frozenset(me.held.keys() - me.busy)
        seen = LeaseView(self.now, me.name, self.beats, self.leases, me.held, self.wanted, resting, resting)
        moves = plan_leases(seen)
        changed = (*moves.taken, *moves.given_up)
        moves = with_stored(moves, {each.account_id for each in changed} - self.in_use, me.held.keys())
        for dead in moves.dead:
            del self.beats[dead]
        self.beats[me.name] = self.now + LEASE_TTL
        for account in moves.kept:
            self.leases[account] = Lease(account, me.name, me.held[account], self.now + LEASE_TTL)
        for lease in (*moves.taken, *moves.given_up):
            self.leases[lease.account_id] = lease
        me.held = {each: me.held[each] for each in moves.kept} | {
            each.account_id: each.fence for each in moves.taken
        }
        me.until = dict.fromkeys(me.held, self.ticks + LEASE_TTL)
        me.busy = me.busy & me.held.keys() - moves.draining

    def may_write(self, me: Replica, account: str) -> bool:
        """What `leases.must_hold` says."""
        lease = self.leases.get(account)
        return lease is not None and (lease.owner, lease.fence) == (me.name, me.held.get(account))


class Sharing(RuleBasedStateMachine):
    """Replicas come, sleep, wake and die at any moment, and the database's clock is set."""

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
    def look(self, data: st.DataObject, busy: bool) -> None:
        replica = data.draw(st.sampled_from(self.replicas))
        if not replica.frozen:
            self.world.look(replica)
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
        """With everybody who is awake looking, everything wanted is soon in the hands of the living, evenly."""
        awake = [each for each in self.replicas if not each.frozen]
        self.world.in_use = set()
        for _ in range(LEASE_TTL // SECOND + 3):
            self.world.pass_time(SECOND)
            for replica in awake:
                replica.busy = set()
                self.world.look(replica)
        if awake:
            holders = {account: each.name for each in awake for account in each.held}
            assert holders.keys() == self.world.wanted
            counts = [len(each.held) for each in awake]
            assert sum(counts) == len(self.world.wanted)
            assert max(counts) - min(counts) <= 1

    @invariant()
    def only_one_may_send(self) -> None:
        """At no moment two replicas may both think that an account is theirs."""
        for account in ACCOUNTS:
            sure = [each.name for each in self.replicas if each.until.get(account, 0) > self.world.ticks]
            assert len(sure) <= 1, (account, sure)

    @invariant()
    def only_one_may_write(self) -> None:
        """Of all who think that they hold an account, awake or not, the database takes the writes of one."""
        for account in ACCOUNTS:
            assert sum(self.world.may_write(each, account) for each in self.replicas) <= 1

    @invariant()
    def fences_only_grow(self) -> None:
        """And whoever takes a lease, be it who had it before, has a fence of their own."""
        for account, lease in self.world.leases.items():
            before = self.seen.get(account)
            if before is not None:
                again = before.expires_at == 0 and lease.expires_at > 0
                assert lease.fence >= before.fence + (again or before.owner != lease.owner)
            self.seen[account] = lease


class SharingWithClockSet(Sharing):
    """The same with the database's clock set back and forth, where the fence alone is what holds."""

    @rule(hours=st.sampled_from([-1, 1]))
    def set_clock(self, hours: int) -> None:
        self.world.now += hours * HOUR

    def only_one_may_send(self) -> None:
        """Not promised: whoever has lost an account learns it at its next look."""


TestSharing = Sharing.TestCase
TestSharing.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestSharingWithClockSet = SharingWithClockSet.TestCase
TestSharingWithClockSet.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)


def test_a_lease_of_the_far_future_is_none() -> None:
    """Where the database's clock was set back, what was taken before does not last for an hour."""
    assert is_live(NOW + LEASE_TTL, NOW)
    assert not is_live(NOW + LEASE_TTL + 1, NOW)
    assert not is_live(NOW, NOW)


def test_two_renewals_may_fail() -> None:
    """A lease outlives two renewals that fail, and a dead replica's account is taken within ten seconds."""
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
def test_what_is_free_is_shared_evenly(others: int, mine: int, wanted: int, takes: int) -> None:
    """A replica takes what is free until it has an even part."""
    held = {f"a{n}": 1 for n in range(mine)}
    seen = LeaseView(
        NOW,
        "r0",
        {f"r{n + 1}": NOW + 1 for n in range(others)},
        {account: Lease(account, "r0", 1, NOW + 1) for account in held},
        held,
        {f"a{n}" for n in range(wanted)},
    )

    assert len(plan_leases(seen).taken) == takes


def test_an_answer_that_was_lost() -> None:
    """A lease that is stored as mine, and that I do not know of, is taken anew or given up."""
    stray = {"a": Lease("a", "r0", 4, NOW + 1)}

    assert plan_leases(LeaseView(NOW, "r0", {}, stray, {}, {"a"})).taken == (Lease("a", "r0", 5, NOW + LEASE_TTL),)
    assert plan_leases(LeaseView(NOW, "r0", {}, stray, {})).given_up == (Lease("a", "r0", 4, 0),)

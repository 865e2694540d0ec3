"""Benchmark of ProsperStack's requests, compared with the minimum and with a plain forwarder.

Virtual time, the sandbox's own rate limiter (100 a minute), the real reconciler, planner, budget and store: hours
run in seconds. Requests are counted by the simulated ProsperStack, not by us. A run in which any final value is
wrong fails.
"""

import argparse
import asyncio
import logging
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import structlog
from bench.prosperstack import SimulatedProsperStack
from bench.virtual_time import VirtualTimeLoop
from pydantic import JsonValue
from rich.console import Console
from rich.table import Table

from prosperstack_destination.prosperstack.budget import RateLimit
from prosperstack_destination.prosperstack.client import Guard
from prosperstack_destination.reconcile.reconciler import Reconciler
from prosperstack_destination.store import accounts
from prosperstack_destination.store.accounts import Account, AccountStatus
from prosperstack_destination.store.database import Database
from prosperstack_destination.store.merge_calls import ingest_calls
from prosperstack_destination.store.models import CallSource, Identify, SourceKind

#: 2026-01-01T00:00:00Z, in microseconds: when every run begins.
NEW_YEAR = 1_767_225_600_000_000
ACCOUNT = "acct_bench"
RESERVE = 0.1
#: Requests a minute that are ours.
RATE = 90
#: Calls that arrive within this are taken in together, in seconds.
TOGETHER = 0.25


@dataclass(frozen=True, slots=True)
class Arrival:
    """Call with its time of arrival."""

    #: In seconds after the beginning.
    at: float
    email: str
    traits: dict[str, JsonValue]
    #: When it happened, where that is not when it arrives.
    happened: float | None = None
    audience: str | None = None
    live: bool = False


@dataclass(slots=True)
class Workload:
    """Calls of a workload, and the subscribers in ProsperStack."""

    name: str
    aim: str
    emails: list[str]
    arrivals: list[Arrival]
    properties: dict[str, str]
    #: By email: the properties that are there already.
    initial: dict[str, dict[str, JsonValue]] = field(default_factory=dict)
    #: It runs at least so long, in hours; otherwise until nothing is left to do.
    hours: float = 0.0
    #: ProsperStack is down from, to, in minutes.
    outage: tuple[float, float] | None = None
    #: What the account's owner spends, a minute.
    owner: float = 0.0
    #: Directory listed before it begins: how many requests that took is not counted.
    warm: bool = False


@dataclass(slots=True)
class Result:
    """Result of a run."""

    workload: Workload
    requests: int
    lower_bound: int
    naive: int
    done_minutes: float
    #: From accept to delivered, of the live ones where there are any, in seconds.
    freshness: list[float]
    asked: dict[str, int]
    refused: int
    owner_refused: int
    owner_asked: int
    #: The part of the time in which nothing was left of the limit.
    exhausted: float
    wrong: int
    wall_seconds: float


class Run:
    """One workload against one simulated ProsperStack."""

    def __init__(self, workload: Workload, loop: VirtualTimeLoop, database: Database) -> None:
        self._workload = workload
        self._loop = loop
        self._database = database
        self._waiting: dict[tuple[str, str], tuple[JsonValue, float, bool]] = {}
        self._freshness: list[tuple[float, bool]] = []
        self._done_at = 0.0
        self._arrived = False
        self._everything = asyncio.Event()
        self._told: dict[tuple[str, str], tuple[float, JsonValue]] = {}
        self._owner_refused = self._owner_asked = 0
        self.prosperstack = SimulatedProsperStack(
            workload.emails, workload.properties, self._clock, self._delivered
        )
        for email, values in workload.initial.items():
            self.prosperstack.by_email[email].values |= values

    async def run(self) -> Result:
        """Let everything arrive, and wait until it is delivered."""
        began = time.perf_counter()
        await self._database.open()
        await self._database.write(accounts.add, _account(), key_hash=ACCOUNT, now=NEW_YEAR)
        reconciler = Reconciler(
            self._database,
            self._connect,
            replica="bench",
            reserve=RESERVE,
            bulk_share=0.25,
            clock=self._clock,
            ticks=self._loop.ticks,
        )
        reconciler.start()
        others = [asyncio.create_task(self._owner()), asyncio.create_task(self._outage())]
        if self._workload.warm:
            await self._warm_up(reconciler)
        start = self._loop.time()
        await self._arrive(reconciler, start)
        self._arrived = True
        if self._waiting:  # else all of it was delivered before the last call came, and nothing will be any more
            await self._everything.wait()
        await asyncio.sleep(max(start + self._workload.hours * 3600 - self._loop.time(), 0))
        await asyncio.sleep(30)
        for task in others:
            task.cancel()
        await reconciler.stop()
        return self._result(start, time.perf_counter() - began)

    async def _warm_up(self, reconciler: Reconciler) -> None:
        """Have the directory listed, as it is after the first day."""
        strangers = [Arrival(0, f"nobody{number}@nowhere.example", {"plan": "x"}) for number in range(40)]
        await self._take(reconciler, strangers, self._loop.time())
        await asyncio.sleep(len(self._workload.emails) / 100 / RATE * 60 + 120)
        self.prosperstack.asked.clear()
        self._told.clear()

    async def _arrive(self, reconciler: Reconciler, start: float) -> None:
        batch: list[Arrival] = []
        for arrival in [*self._workload.arrivals, None]:
            if batch and (arrival is None or arrival.at - batch[0].at > TOGETHER or len(batch) >= 1000):
                await asyncio.sleep(max(start + batch[-1].at - self._loop.time(), 0))
                await self._take(reconciler, batch, start)
                batch = []
            if arrival is not None:
                batch.append(arrival)

    async def _take(self, reconciler: Reconciler, batch: Sequence[Arrival], start: float) -> None:
        now = self._clock()
        calls = []
        for each in batch:
            happened = each.at if each.happened is None else each.happened
            at = min(NEW_YEAR + int((start + happened) * 1e6), now)
            source = None if each.audience is None else CallSource(SourceKind.AUDIENCE, each.audience)
            calls.append(Identify(ACCOUNT, each.email, each.email, each.traits, at, now, source=source))
            self._expect(each, happened)
        taken = await self._database.write(ingest_calls, calls, str)
        reconciler.wake(taken.changed)

    def _expect(self, arrival: Arrival, happened: float) -> None:
        person = self.prosperstack.by_email.get(arrival.email)
        for name, value in arrival.traits.items():
            key = (arrival.email, name)
            known = self._told.get(key)
            if known is not None and known[0] >= happened:
                continue
            self._told[key] = (happened, value)
            if person is None or name not in self._workload.properties:
                continue
            if person.values.get(name) != value:
                self._waiting[key] = (value, self._loop.time(), arrival.live)
            else:
                self._waiting.pop(key, None)

    def _delivered(self, email: str, properties: object) -> None:
        assert isinstance(properties, dict)
        for name, value in properties.items():
            waiting = self._waiting.get((email, name))
            if waiting is not None and waiting[0] == value:
                del self._waiting[email, name]
                if self._arrived and not self._waiting:
                    self._everything.set()
                self._freshness.append((self._loop.time() - waiting[1], waiting[2]))
                self._done_at = self._loop.time()

    def _result(self, start: float, wall_seconds: float) -> Result:
        workload, stack = self._workload, self.prosperstack
        differ = set()
        wrong = 0
        for (email, name), (_, value) in self._told.items():
            person = stack.by_email.get(email)
            if person is None or name not in workload.properties:
                continue
            if workload.initial.get(email, {}).get(name) != value:
                differ.add(email)
            wrong += person.values.get(name) != value
        asked_about = {each.email for each in workload.arrivals}
        learning = 0 if workload.warm else min(-(-len(workload.emails) // 100), len(asked_about))
        naive = sum(2 if each.email in stack.by_email else 1 for each in workload.arrivals)
        live = [seconds for seconds, is_live in self._freshness if is_live]
        return Result(
            workload=workload,
            requests=stack.asked.total(),
            lower_bound=len(differ) + learning,
            naive=naive,
            done_minutes=(self._done_at - start) / 60,
            freshness=live or [seconds for seconds, _ in self._freshness],
            asked=dict(stack.asked),
            refused=stack.refused,
            owner_refused=self._owner_refused,
            owner_asked=self._owner_asked,
            exhausted=stack.exhausted_seconds / max(self._done_at - start, 1),
            wrong=wrong,
            wall_seconds=wall_seconds,
        )

    async def _owner(self) -> None:
        """What the account's owner spends, at moments of its own."""
        chance = random.Random(7)
        while self._workload.owner:
            await asyncio.sleep(chance.expovariate(self._workload.owner / 60))
            self._owner_asked += 1
            self._owner_refused += not self.prosperstack.take()

    async def _outage(self) -> None:
        if self._workload.outage is not None:
            begins, ends = self._workload.outage
            await asyncio.sleep(begins * 60)
            self.prosperstack.down = True
            await asyncio.sleep((ends - begins) * 60)
            self.prosperstack.down = False

    def _connect(
        self, _: Account, on_answer: Callable[[RateLimit | None], None], _guard: Guard
    ) -> SimulatedProsperStack:
        self.prosperstack.on_limit = on_answer
        return self.prosperstack

    def _clock(self) -> int:
        return NEW_YEAR + self._loop.ticks()


def _account() -> Account:
    return Account(
        id=ACCOUNT,
        encrypted_key="",
        fingerprint="bench",
        live=False,
        status=AccountStatus.ACTIVE,
        status_reason=None,
        status_until=None,
        catalog=None,
        catalog_at=None,
    )


AUDIENCES = [f"audience_{number}" for number in range(1, 6)]


def first_sync(scale: float, name: str = "first-sync", aim: str = "requests <= 1.02, time <= 1.05") -> Workload:
    """18,000 people enter an audience: 3,000 are no subscribers, 3,000 are in ProsperStack as members already."""
    subscribers = [f"person{number}@example.com" for number in range(int(50_000 * scale))]
    chance = random.Random(1)
    known = chance.sample(subscribers, int(15_000 * scale))
    strangers = [f"stranger{number}@example.com" for number in range(int(3_000 * scale))]
    people = known + strangers
    chance.shuffle(people)
    seconds = 60 * scale  # Segment sends some hundred calls a second
    arrivals = [
        Arrival(seconds * place / len(people), email, {AUDIENCES[0]: True}, audience=AUDIENCES[0])
        for place, email in enumerate(people)
    ]
    initial: dict[str, dict[str, JsonValue]] = {
        email: {AUDIENCES[0]: True} for email in known[: int(3_000 * scale)]
    }
    return Workload(name, aim, subscribers, arrivals, {AUDIENCES[0]: "boolean", "plan": "text"}, initial)


def five_audiences(scale: float) -> Workload:
    """10,000 of 50,000 subscribers enter five audiences, each call at its own moment of an hour."""
    return _five(scale, "five-audiences", lambda chance, _: chance.uniform(0, 3600))


def five_bursts(scale: float) -> Workload:
    """The same, but each audience arrives as a burst of two minutes, one every twelve."""
    return _five(scale, "five-audiences, in bursts", lambda chance, number: number * 720 + chance.uniform(0, 120))


def _five(scale: float, name: str, when: Callable[[random.Random, int], float]) -> Workload:
    subscribers = [f"person{number}@example.com" for number in range(int(50_000 * scale))]
    chance = random.Random(2)
    people = chance.sample(subscribers, int(10_000 * scale))
    arrivals = [
        Arrival(when(chance, number) * scale, email, {audience: True}, audience=audience)
        for email in people
        for number, audience in enumerate(AUDIENCES)
    ]
    arrivals.sort(key=lambda each: each.at)
    return Workload(name, "requests <= 1.05", subscribers, arrivals, dict.fromkeys(AUDIENCES, "boolean"))


def steady(scale: float) -> Workload:
    """500 calls a minute for a day: 60% about strangers, 95% of the others change nothing."""
    chance = random.Random(3)
    subscribers = [f"person{number}@example.com" for number in range(20_000)]
    initial: dict[str, dict[str, JsonValue]] = {email: {"plan": "free"} for email in subscribers}
    minutes = int(24 * 60 * scale)
    arrivals = []
    counter = 0
    for place in range(500 * minutes):
        at = place * 60 / 500
        if chance.random() < 0.6:
            arrivals.append(Arrival(at, f"stranger{chance.randrange(100_000)}@example.com", {"plan": "pro"}))
            continue
        email = chance.choice(subscribers)
        value = initial[email]["plan"]
        if chance.random() < 0.05:
            counter += 1
            value = f"plan {counter}"
            initial[email] = {"plan": value}
        arrivals.append(Arrival(at, email, {"plan": value}, live=True))
    start: dict[str, dict[str, JsonValue]] = {email: {"plan": "free"} for email in subscribers}
    aim = "keeps up, p95 < 15 s"
    return Workload("steady", aim, subscribers, arrivals, {"plan": "text"}, start, hours=24 * scale, warm=True)


def live_in_bulk(scale: float) -> Workload:
    """A first sync, and five live changes a minute."""
    workload = first_sync(scale, "live-in-bulk", "live: p95 < 30 s")
    chance = random.Random(4)
    minutes = 130 * scale
    live = []
    at = 0.0
    while (at := at + chance.expovariate(5 / 60)) < minutes * 60:
        email = chance.choice(workload.emails)
        live.append(Arrival(at, email, {"plan": f"plan at {at:.1f}"}, live=True))
    arrivals = sorted([*workload.arrivals, *live], key=lambda each: each.at)
    return replace(workload, arrivals=arrivals)


def retries(scale: float, times: int = 3) -> Workload:
    """The calls of a first sync and of changes after it, each three times, shuffled over four hours."""
    workload = first_sync(scale, "retries", "as once")
    chance = random.Random(5)
    events = [replace(each, happened=each.at) for each in workload.arrivals]
    known = sorted(set(workload.emails) & {each.email for each in events})
    for number in range(int(3_000 * scale)):
        happened = chance.uniform(0, 3000)
        events.append(Arrival(0, chance.choice(known), {"plan": f"plan {number}"}, happened=happened))
    arrivals = []
    for each in events:
        after = sorted(chance.uniform(0, 4 * 3600 * scale) for _ in range(3))
        arrivals += [replace(each, at=(each.happened or 0) + delay) for delay in after[:times]]
    return replace(workload, arrivals=sorted(arrivals, key=lambda each: each.at))


def no_retries(scale: float) -> Workload:
    """What retries are compared with: the first of each three calls alone."""
    return replace(retries(scale, times=1), name="the same, once")


def shared(scale: float) -> Workload:
    """A first sync while the account's owner spends 40 requests a minute of the same limit."""
    workload = first_sync(scale, "shared", "owner's 429s < 1%, we use > 90% of the rest")
    return replace(workload, owner=40.0)


def outage(scale: float) -> Workload:
    """A first sync; ProsperStack is down for an hour in the middle."""
    workload = first_sync(scale, "outage", "time <= 1.1 x (work + outage)")
    return replace(workload, outage=(60 * scale, 120 * scale))


WORKLOADS: dict[str, Callable[[float], Workload]] = {
    "first-sync": first_sync,
    "five-audiences": five_audiences,
    "five-bursts": five_bursts,
    "steady": steady,
    "live-in-bulk": live_in_bulk,
    "retries": retries,
    "no-retries": no_retries,
    "shared": shared,
    "outage": outage,
}


def simulate(workload: Workload) -> Result:
    """Run a workload in virtual time, with a database of its own."""
    folder = Path(tempfile.mkdtemp(prefix="bench-sync-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))  # noqa: S108

    async def run(loop: VirtualTimeLoop) -> Result:
        database = Database(f"sqlite:///{folder / 'bench.db'}")
        try:
            return await Run(workload, loop, database).run()
        finally:
            await database.close()

    loop = VirtualTimeLoop()
    try:
        asyncio.set_event_loop(loop)
        return loop.run_until_complete(run(loop))
    finally:
        loop.close()
        shutil.rmtree(folder)


def main() -> None:
    """Simulate, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workloads", nargs="*", choices=[*WORKLOADS, []], help="all, if none is named")
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of people and of the time")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    console = Console(width=170)
    table = Table(title="How the requests are spent")
    for heading in (
        *("workload", "aim", "requests", "least", "ratio", "naive", "done, min", "least, min", "ratio"),
        *("p50, s", "p95, s", "429s", "wrong", "took, s"),
    ):
        table.add_column(heading, justify="left" if heading in ("workload", "aim") else "right")
    for name in options.workloads or WORKLOADS:
        result = simulate(WORKLOADS[name](options.scale))
        table.add_row(*_row(result))
        console.print(f"{name}: {result.asked}" + _owner(result), highlight=False)
    console.print(table)


def _row(result: Result) -> Iterable[str]:
    fresh = result.freshness or [0.0]
    least = result.lower_bound / (RATE if not result.workload.owner else 100 - result.workload.owner)
    quantiles = statistics.quantiles(fresh, n=20) if len(fresh) > 1 else fresh * 19
    return (
        result.workload.name,
        result.workload.aim,
        f"{result.requests:,}",
        f"{result.lower_bound:,}",
        f"{result.requests / max(result.lower_bound, 1):.3f}",
        f"{result.naive:,}",
        f"{result.done_minutes:.1f}",
        f"{least:.1f}",
        f"{result.done_minutes / max(least, 0.01):.3f}",
        f"{quantiles[9]:.1f}",
        f"{quantiles[18]:.1f}",
        f"{result.refused}",
        f"{result.wrong}",
        f"{result.wall_seconds:.0f}",
    )


def _owner(result: Result) -> str:
    if not result.owner_asked:
        return ""
    return (
        f"; the owner asked {result.owner_asked} times, {result.owner_refused} were refused; "
        f"nothing was left {result.exhausted:.2%} of the time"
    )


if __name__ == "__main__":
    main()

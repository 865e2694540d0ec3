"""Command that sends a repeatable mix of calls at a fixed rate, and measures the answers."""

import asyncio
import base64
import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from random import Random
from typing import Annotated, Any, Final

import httpx
import typer
from pydantic import JsonValue

from prosperstack_destination.auth.api_keys import TEST_KEY_PREFIX
from prosperstack_destination.cli import output
from prosperstack_destination.cli.session import SANDBOX_KEY, Json
from prosperstack_destination.errors import InvalidInput
from prosperstack_destination.http_client import create_http_client
from prosperstack_destination.sandbox.seed import emails_of

app = typer.Typer()

#: Most calls in flight. Later ones wait, and their wait counts as time of their answers.
CONCURRENCY: Final = 256
#: Calls in flight where no rate is given: as many as a few busy sources have.
UNPACED_CONCURRENCY: Final = 64
#: Traits that no property has, of the size of a usual call.
_OTHER_TRAITS: Final = {f"trait_{number}": "Lorem ipsum dolor sit amet, consectetur" for number in range(12)}
_AUDIENCES: Final = ("at_risk", "power_users", "trial_ends", "annual_plan")
#: Latencies are counted in steps of this many seconds.
_STEP: Final = 0.0001


class Kind(StrEnum):
    """Kind of a call."""

    #: A person's traits change.
    LIVE = "live"
    #: A person enters or leaves an audience of Engage.
    AUDIENCE = "audience"
    #: The call before comes once more, as Segment repeats it.
    REPEAT = "repeat"


@dataclass(frozen=True, slots=True)
class Load:
    """Calls to send: ``rate`` a second, 0 for as many as are answered, for ``seconds``, about ``people``."""

    people: int
    rate: float
    seconds: float
    mix: Mapping[Kind, float]
    seed: int


@dataclass(slots=True)
class Measurement:
    """Answers by status (0: none) and their latencies, from the time when each call was due."""

    statuses: Counter[int] = field(default_factory=Counter)
    _latencies: Counter[int] = field(default_factory=Counter)

    def add(self, status: int, seconds: float) -> None:
        """Count one answer."""
        self.statuses[status] += 1
        self._latencies[round(seconds / _STEP)] += 1

    def merge(self, other: "Measurement") -> None:
        """Count the answers of another measurement."""
        self.statuses.update(other.statuses)
        self._latencies.update(other._latencies)

    def percentile_ms(self, share: float) -> float:
        """Return the latency that a share of the calls does not exceed, in milliseconds; 0 without calls."""
        wanted = share * self.statuses.total()
        reached = 0
        for step in sorted(self._latencies):
            reached += self._latencies[step]
            if reached >= wanted:
                return round(step * _STEP * 1000, 1)
        return 0.0

    def facts(self, seconds: float) -> dict[str, JsonValue]:
        """Return the figures of a span of this many seconds."""
        return {
            "calls": self.statuses.total(),
            "per_second": round(self.statuses.total() / seconds, 1) if seconds else 0.0,
            "p50_ms": self.percentile_ms(0.5),
            "p95_ms": self.percentile_ms(0.95),
            "p99_ms": self.percentile_ms(0.99),
            "max_ms": self.percentile_ms(1),
            "statuses": {str(status or "none"): count for status, count in sorted(self.statuses.items())},
        }


@app.command()
def load(
    to: Annotated[str, typer.Option(help="URL to post the calls to.")] = "http://127.0.0.1:8700/identify",
    key: Annotated[str, typer.Option(envvar="SEGMENT_KEY", help="API key to authenticate with.")] = SANDBOX_KEY,
    people: Annotated[int, typer.Option(min=1, help="Number of people: the sandbox's first subscribers.")] = 1000,
    rate: Annotated[float, typer.Option(min=0, help="Calls a second; 0: as many as are answered.")] = 100.0,
    seconds: Annotated[float, typer.Option(min=0.1, help="Length, in seconds.")] = 30.0,
    mix: Annotated[
        str, typer.Option(help="Weights of live changes, audience memberships and repeated calls.")
    ] = "live=80,audience=15,repeat=5",
    seed: Annotated[int, typer.Option(help="The same seed gives the same calls; as of the sandbox.")] = 1,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two lines of figures.")] = 10.0,
    yes: Annotated[bool, typer.Option("--yes", help="Also with a key that is not one of test mode.")] = False,
    json: Json = False,
) -> None:
    """Send calls at a fixed rate, and measure the answers: to size a machine, against a sandbox."""
    wanted = Load(people, rate, seconds, parse_mix(mix), seed)
    if not run(wanted, to=to, key=key, every=every, confirmed=yes, as_json=json):
        raise typer.Exit(1)


def run(wanted: Load, *, to: str, key: str, every: float, confirmed: bool, as_json: bool) -> bool:
    """Send the calls and print the figures; return True if all were accepted.

    Raises `InvalidInput` for a key that may be one of live mode, unless that is ``confirmed``.
    """
    if not (confirmed or key.startswith(TEST_KEY_PREFIX)):
        raise InvalidInput(
            "The calls change subscribers: use a ProsperStack key of test mode (key_test_…), as the sandbox has, "
            "or --yes if this key leads to a sandbox."
        )
    columns = ("at_seconds", "per_second", "p50_ms", "p95_ms", "p99_ms", "max_ms", "statuses")
    spans: list[dict[str, JsonValue]] = []

    def report(at: float, facts: dict[str, JsonValue]) -> None:
        spans.append({"at_seconds": round(at, 1), **facts})
        if not as_json:
            output.console.print("  ".join(f"{name} {spans[-1][name]}" for name in columns))

    total, seconds = asyncio.run(send(wanted, to, key, every, report))
    facts = total.facts(seconds)
    if as_json:
        output.print_json({**facts, "spans": list(spans)})
    else:
        output.print_rows(tuple(facts), [[str(value) for value in facts.values()]], as_json=False)
    return total.statuses.keys() <= {200, 202}


def parse_mix(text: str) -> dict[Kind, float]:
    """Return the weights of kinds of calls, from text such as ``live=80,audience=15,repeat=5``.

    Raises `InvalidInput` for another kind, and for weights that are not numbers of at least 0.
    """
    found: dict[Kind, float] = {}
    for part in text.split(","):
        name, _, weight = part.partition("=")
        try:
            found[Kind(name.strip())] = float(weight)
        except ValueError:
            kinds = ", ".join(Kind)
            raise InvalidInput(f"{part!r} is not a part of a mix: name {kinds}, e.g. live=80,repeat=20") from None
    if min(found.values()) < 0 or not 0 < sum(found.values()) < float("inf"):
        raise InvalidInput(f"The weights of {text!r} have to be numbers from 0 on, and not all 0.")
    return found


def calls(wanted: Load) -> Iterator[dict[str, Any]]:
    """Yield calls without end; the same load yields the same calls, but for their times."""
    random = Random(wanted.seed)  # noqa: S311 -- a load that can be repeated
    emails = emails_of(wanted.people, wanted.seed)
    kinds, weights = list(wanted.mix), list(wanted.mix.values())
    latest: dict[str, Any] | None = None
    while True:
        kind = random.choices(kinds, weights)[0]
        if kind is not Kind.REPEAT or latest is None:
            email = random.choice(emails)
            latest = _membership(random, email) if kind is Kind.AUDIENCE else _traits(random, email)
            latest["messageId"] = f"load-{random.getrandbits(64):016x}"
            latest["timestamp"] = datetime.now(UTC).isoformat()
        yield latest


def _traits(random: Random, email: str) -> dict[str, Any]:
    traits = {
        "email": email,
        "Number of contacts": random.randrange(10_000),
        "Is professional": random.random() < 0.5,
        "Last contacted": f"2026-{random.randrange(1, 13):02}-{random.randrange(1, 29):02}",
        "Preferred name": f"Name {random.randrange(1_000)}",
        **_OTHER_TRAITS,
    }
    return {"type": "identify", "userId": f"user-{email}", "traits": traits}


def _membership(random: Random, email: str) -> dict[str, Any]:
    audience = random.choice(_AUDIENCES)
    return {
        "type": "identify",
        "userId": f"user-{email}",
        "traits": {"email": email, audience: random.random() < 0.7},
        "context": {"personas": {"computation_class": "audience", "computation_key": audience}},
    }


async def send(
    wanted: Load,
    to: str,
    key: str,
    every: float,
    report: Callable[[float, dict[str, JsonValue]], None],
    transport: httpx.AsyncBaseTransport | None = None,
) -> tuple[Measurement, float]:
    """Send the calls when they are due; return the figures and the length in seconds.

    ``report`` gets the figures of each ``every`` seconds.

    Latencies count from the time when a call was due, also where it had to wait for earlier ones: a service that
    stops for a second does not hide the calls of that second.
    """
    total, span = Measurement(), Measurement()
    slots = asyncio.Semaphore(CONCURRENCY if wanted.rate else UNPACED_CONCURRENCY)
    headers = {"Authorization": f"Basic {base64.b64encode(f'{key}:'.encode()).decode()}"}
    endless = calls(wanted)
    pending = itertools.chain([next(endless)], endless)  # the people are made before the clock starts
    async with create_http_client(transport) as http, asyncio.TaskGroup() as sending:

        async def one(call: dict[str, Any], due: float) -> None:
            try:
                status = (await http.post(to, json=call, headers=headers)).status_code
            except httpx.TransportError:
                status = 0
            finally:
                slots.release()
            span.add(status, time.monotonic() - due)

        started_at = span_at = time.monotonic()
        for number, call in enumerate(pending):
            offset = number / wanted.rate if wanted.rate else time.monotonic() - started_at
            if offset >= wanted.seconds:
                break
            due = started_at + offset
            await asyncio.sleep(max(due - time.monotonic(), 0))
            await slots.acquire()
            sending.create_task(one(call, due if wanted.rate else time.monotonic()))
            if time.monotonic() - span_at >= every:
                report(time.monotonic() - started_at, span.facts(time.monotonic() - span_at))
                total.merge(span)
                span, span_at = Measurement(), time.monotonic()
    total.merge(span)
    return total, time.monotonic() - started_at

"""A ProsperStack in memory, quick enough for millions of subscribers and years of requests.

It has the methods of the client, and the sandbox's rate limiter in front. What is asked is counted.
"""

import asyncio
import math
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from pydantic import JsonValue

from prosperstack_destination.errors import ProsperStackNotFound, ProsperStackRateLimited, ProsperStackUnavailable
from prosperstack_destination.prosperstack.budget import RateLimit
from prosperstack_destination.prosperstack.client import PAGE_SIZE, ProsperStackClient, SubscriberPage
from prosperstack_destination.prosperstack.models import Page, PropertyDefinition, Subscriber
from prosperstack_destination.sandbox.account import FixedWindow

#: How long an answer takes, in seconds.
LATENCY = 0.1

#: Told of each update that went through: the subscriber's email, and the properties sent.
OnUpdate = Callable[[str, Mapping[str, JsonValue]], None]


@dataclass(slots=True)
class Person:
    """One subscriber."""

    id: str
    email: str
    values: dict[str, JsonValue] = field(default_factory=dict)
    updated_at: int = 0


class SimulatedProsperStack(ProsperStackClient):
    """One account, by whatever clock its loop has."""

    def __init__(
        self, emails: Iterable[str], properties: Mapping[str, str], clock: Callable[[], int], on_update: OnUpdate
    ) -> None:
        self.people = {f"subr_{number}": Person(f"subr_{number}", email) for number, email in enumerate(emails)}
        self.by_email = {each.email: each for each in self.people.values()}
        self.window = FixedWindow(100, 60.0)
        #: How often it was asked what, of what counts as a request of ours.
        self.asked: Counter[str] = Counter()
        self.refused = 0
        self.down = False
        #: For how long nothing was left of a window.
        self.exhausted_seconds = 0.0
        self._ends_at = -math.inf
        self.on_limit: Callable[[RateLimit | None], None] = lambda _: None
        self._properties = properties
        self._clock = clock
        self._on_update = on_update
        self._order = list(self.people.values())
        self._updated: OrderedDict[str, None] = OrderedDict()

    def take(self) -> bool:
        """Anybody's request; whether the limit let it through."""
        now = self._clock() / 1e6
        if now >= self._ends_at:
            self._ends_at = now + self.window.window_seconds
        taken = self.window.take(now)
        if taken and self.window.headers(now)["RateLimit-Remaining"] == "0":
            self.exhausted_seconds += self._ends_at - now
        return taken

    async def list_properties(
        self, cursor: str | None = None, *, entity: str = "subscriber"
    ) -> Page[PropertyDefinition]:
        await self._gate("properties")
        found = [
            PropertyDefinition(id=key, key=key, name=key, entity="subscriber", type=kind)
            for key, kind in self._properties.items()
        ]
        return Page(data=tuple(found))

    async def list_subscribers(self, cursor: str | None = None, updated_since: int | None = None) -> SubscriberPage:
        await self._gate("listing")
        start = int(cursor or 0)
        if updated_since is None:
            found = self._order[start : start + PAGE_SIZE + 1]
        else:
            found = self._since(updated_since)[start : start + PAGE_SIZE + 1]
        more = str(start + PAGE_SIZE) if len(found) > PAGE_SIZE else None
        return SubscriberPage(tuple(map(_shown, found[:PAGE_SIZE])), more, self._clock())

    async def find_subscribers(self, email: str, cursor: str | None = None) -> Page[Subscriber]:
        await self._gate("look-up")
        found = self.by_email.get(email)
        return Page(data=() if found is None else (_shown(found),))

    async def update_subscriber(self, subscriber_id: str, properties: Mapping[str, JsonValue]) -> Subscriber:
        await self._gate("update")
        found = self.people.get(subscriber_id)
        if found is None:
            raise ProsperStackNotFound("Not found", status_code=404)
        found.values |= properties
        found.updated_at = self._clock()
        self._updated[subscriber_id] = None
        self._updated.move_to_end(subscriber_id)
        self._on_update(found.email, properties)
        return _shown(found)

    def _since(self, updated_since: int) -> list[Person]:
        found: list[Person] = []
        for subscriber_id in reversed(self._updated):
            person = self.people[subscriber_id]
            if person.updated_at < updated_since:
                break
            found.append(person)
        # In an order that stays, as pages need: that of creation.
        return sorted(found, key=lambda person: int(person.id.removeprefix("subr_")))

    async def _gate(self, what: str) -> None:
        await asyncio.sleep(LATENCY / 2)
        if self.down:
            self.asked["while down"] += 1
            await asyncio.sleep(LATENCY / 2)
            raise ProsperStackUnavailable("ProsperStack answered 503: it is down.", status_code=503)
        now = self._clock() / 1e6
        taken = self.take()
        told = RateLimit.from_headers(self.window.headers(now))
        await asyncio.sleep(LATENCY / 2)
        self.on_limit(told)
        if not taken:
            self.refused += 1
            raise ProsperStackRateLimited(
                "too many", retry_after=None if told is None else math.ceil(told.reset_seconds)
            )
        self.asked[what] += 1


def _shown(person: Person) -> Subscriber:
    values = tuple({"property": {"key": key}, "value": value} for key, value in person.values.items())
    return Subscriber.model_validate({"id": person.id, "email": person.email, "properties": values})

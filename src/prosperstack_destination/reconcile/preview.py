"""Scans of stored profiles that change nothing: previews of other rules, and coverage by the current ones."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

import structlog
from sqlalchemy import Connection

from prosperstack_destination.account_mapping import AccountMapping, load, mapping_input
from prosperstack_destination.errors import InvalidInput
from prosperstack_destination.mapping.catalog import Catalog
from prosperstack_destination.mapping.coercion import PropertyValue
from prosperstack_destination.mapping.compiled_mapping import CompiledMapping
from prosperstack_destination.mapping.coverage import Coverage
from prosperstack_destination.mapping.expression_runner import MappingInput
from prosperstack_destination.mapping.projection import Projection, differing_keys, same_values
from prosperstack_destination.mapping.rules import SUBSCRIPTION, Rules
from prosperstack_destination.prosperstack.forecast import Rate
from prosperstack_destination.reconcile.rate_limiter import account_rate
from prosperstack_destination.reconcile.three_way_diff import diff
from prosperstack_destination.store import accounts, profile_queries
from prosperstack_destination.store import subscribers as subscriber_rows
from prosperstack_destination.store.accounts import Account
from prosperstack_destination.store.database import Database, UnitOfWork
from prosperstack_destination.store.models import Status
from prosperstack_destination.store.profile_queries import ScannedProfile
from prosperstack_destination.store.subscribers import Subscriber

log = structlog.get_logger(__name__)

#: Number of examples.
EXAMPLES: Final = 10
#: Profiles that an approximate preview evaluates: of more, a sample.
SAMPLE: Final = 50_000


@dataclass(frozen=True, slots=True)
class Example:
    """One profile whose properties would change; both sides hold only differing values, None for no value.

    A property missing in ``after`` gets no value from the rules any more: ProsperStack keeps its value.
    """

    email: str
    before: dict[str, PropertyValue]
    after: dict[str, PropertyValue]


@dataclass(frozen=True, slots=True)
class Preview:
    """Effect of other rules."""

    #: Stored profiles, and how many were evaluated: fewer where the figures below are scaled up.
    profiles: int
    looked_at: int
    #: Profiles whose desired values would change, and their number per property.
    changed: int
    by_property: dict[str, int]
    examples: tuple[Example, ...]
    #: Mapping problems of the changed properties, before and after.
    problems_before: int
    problems_after: int
    #: Requests to ProsperStack that the change costs, and the account's rate per minute.
    requests: int
    requests_per_minute: float

    @property
    def raises_problems(self) -> bool:
        """True where there would be more mapping problems: the operator has to confirm."""
        return self.problems_after > self.problems_before

    @property
    def seconds(self) -> float:
        """Duration of the requests."""
        return self.requests / self.requests_per_minute * 60

    @property
    def exact(self) -> bool:
        """True where every profile was evaluated."""
        return self.looked_at >= self.profiles


@dataclass(slots=True)
class _PreviewCounts:
    looked_at: int = 0
    changed: int = 0
    by_property: Counter[str] = field(default_factory=Counter)
    examples: list[Example] = field(default_factory=list)
    problems_before: int = 0
    problems_after: int = 0
    requests: int = 0


async def preview(
    database: Database, account_id: str, rules: Rules, *, reserve: float, now: int, sample: int | None = SAMPLE
) -> Preview:
    """Return the effect of rules, computed page by page without writing.

    Rules see the day as of ``now`` (microseconds). ``sample`` is the approximate number of profiles to evaluate
    where there are more; None: all. ``reserve`` is the share of ProsperStack's rate limit that is left to the owner
    where the account sets none; the limit is the one reported last.
    """
    profiles = await database.read(profile_queries.count_all, account_id)
    one_in = 1 if sample is None else max(-(-profiles // sample), 1)
    count = _PreviewCounts()
    after: str | None = ""
    while after is not None:
        after = await database.read(_page, account_id, rules, after, one_in, count, now)
    rate = await database.read(_rate, account_id, reserve)
    return _scaled(count, profiles, rate.per_second * 60)


def _scaled(count: _PreviewCounts, profiles: int, rate: float) -> Preview:
    factor = profiles / count.looked_at if count.looked_at else 1.0
    return Preview(
        profiles=profiles,
        looked_at=count.looked_at,
        changed=round(count.changed * factor),
        by_property={key: round(number * factor) for key, number in count.by_property.most_common()},
        examples=tuple(count.examples),
        problems_before=round(count.problems_before * factor),
        problems_after=round(count.problems_after * factor),
        requests=round(count.requests * factor),
        requests_per_minute=rate,
    )


def _page(
    connection: Connection,
    account_id: str,
    rules: Rules,
    after: str,
    one_in: int,
    count: _PreviewCounts,
    now: int,
) -> str | None:
    mapping = load(connection, _account(connection, account_id))
    page = profile_queries.scan_page(connection, account_id, after, one_in=one_in)
    changed = _compare(page, *mapping.compiled.diff(mapping.with_rules(rules)), count, now)
    by_email = _subscribers(connection, account_id, [scanned.email for scanned, _, _ in changed])
    for scanned, old, new in changed:
        count.requests += _requests(scanned, old, new, by_email.get(scanned.email, []), mapping)
    return page[-1].email if page else None


def _rate(connection: Connection, account_id: str, reserve: float) -> Rate:
    return account_rate(connection, _account(connection, account_id), reserve)


def _account(connection: Connection, account_id: str) -> Account:
    account = accounts.get(connection, account_id)
    if account is None:
        raise InvalidInput(f"There is no account {account_id!r}.")
    return account


def count_problems(inputs: Iterable[MappingInput], old: CompiledMapping, new: CompiledMapping) -> tuple[int, int]:
    """Return the number of mapping problems under one compiled mapping and under another."""
    before = after = 0
    for person in inputs:
        before += len(old.project(person).problems)
        after += len(new.project(person).problems)
    return before, after


def _compare(
    page: Iterable[ScannedProfile], old: CompiledMapping, new: CompiledMapping, count: _PreviewCounts, now: int
) -> list[tuple[ScannedProfile, Projection, Projection]]:
    changed = []
    for profile in page:
        try:
            person = mapping_input(profile, now)
            before, after = old.project(person), new.project(person)
        except Exception as error:  # noqa: BLE001 -- an unexpected error for one profile must not stop the others
            log.error("a profile could not be previewed", profile_id=profile.id, error=type(error).__name__)
            continue
        count.looked_at += 1
        count.problems_before += len(before.problems)
        count.problems_after += len(after.problems)
        keys = [*differing_keys(before.desired, after.desired)]
        keys += [SUBSCRIPTION + key for key in differing_keys(before.subscription, after.subscription)]
        if keys:
            changed.append((profile, before, after))
            count.changed += 1
            count.by_property.update(keys)
            if len(count.examples) < EXAMPLES:
                count.examples.append(_example(profile.email, before, after, keys))
    return changed


def _example(email: str, before: Projection, after: Projection, keys: Sequence[str]) -> Example:
    old, new = _all_values(before), _all_values(after)
    return Example(email, {key: old.get(key) for key in keys}, {key: new[key] for key in keys if key in new})


def _all_values(projection: Projection) -> dict[str, PropertyValue]:
    of_subscriptions = {SUBSCRIPTION + key: value for key, value in projection.subscription_values().items()}
    return projection.values() | of_subscriptions


def _subscribers(connection: Connection, account_id: str, emails: Sequence[str]) -> dict[str, list[Subscriber]]:
    by_email: dict[str, list[Subscriber]] = {}
    for email in emails:
        by_email[email] = subscriber_rows.with_email(connection, account_id, email)
    return by_email


def _requests(
    scanned: ScannedProfile,
    old: Projection,
    new: Projection,
    subscribers: Sequence[Subscriber],
    mapping: AccountMapping,
) -> int:
    """Return the cost of one profile: an update per differing subscriber, a lookup where none is known."""
    if scanned.status in (Status.UNMATCHED, Status.REJECTED):
        return 0
    subscription = 2 * max(len(subscribers), 1) if not same_values(old.subscription, new.subscription) else 0
    if not subscribers:
        return subscription + 2  # a lookup and an update
    return subscription + _updates(new, subscribers, mapping.catalog)


def _updates(new: Projection, subscribers: Sequence[Subscriber], catalog: Catalog) -> int:
    return sum(1 for subscriber in subscribers if diff(new.values(), subscriber, catalog).send)


async def coverage(
    database: UnitOfWork, account_id: str, now: int, *, sample: int | None = SAMPLE
) -> tuple[Coverage, int]:
    """Return the coverage under the current mapping, and the number of profiles, as of ``now`` (microseconds).

    ``sample`` is the approximate number of profiles to count where there are more; None: all.
    """
    profiles = await database.read(profile_queries.count_all, account_id)
    one_in = 1 if sample is None else max(-(-profiles // sample), 1)
    result = await database.read(_empty_coverage, account_id)
    after: str | None = ""
    while after is not None:
        after = await database.read(_count_page, account_id, result, after, one_in, now)
    return result, profiles


def _empty_coverage(connection: Connection, account_id: str) -> Coverage:
    account = accounts.get(connection, account_id)
    if account is None:
        raise InvalidInput(f"There is no account {account_id!r}.")
    return Coverage(load(connection, account).compiled)


def _count_page(
    connection: Connection, account_id: str, result: Coverage, after: str, one_in: int, now: int
) -> str | None:
    page = profile_queries.scan_page(connection, account_id, after, one_in=one_in)
    for profile in page:
        try:
            result.count(profile.stamped(), mapping_input(profile, now))
        except Exception as error:  # noqa: BLE001 -- an unexpected error for one profile must not stop the others
            log.error("a profile could not be counted", profile_id=profile.id, error=type(error).__name__)
    return page[-1].email if page else None

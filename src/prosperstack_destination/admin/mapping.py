"""Mapping operations of operators: list properties again, parse, preview, try on one person, apply, roll back."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import structlog
from pydantic import JsonValue
from sqlalchemy import Connection

from prosperstack_destination import account_mapping
from prosperstack_destination.account_mapping import (
    MIN_REFRESH_INTERVAL,
    AccountMapping,
    ApplyResult,
    load,
    mapping_input,
    may_refresh,
)
from prosperstack_destination.admin.context import AdminContext
from prosperstack_destination.admin.coverage_cache import CoverageSnapshot, snapshot_of
from prosperstack_destination.emails import normalize_email
from prosperstack_destination.errors import NotFoundError, ProblemsRise, ProsperStackError
from prosperstack_destination.mapping.catalog import Property
from prosperstack_destination.mapping.coercion import PropertyValue
from prosperstack_destination.mapping.compiled_mapping import CompiledMapping
from prosperstack_destination.mapping.expression_runner import MappingInput
from prosperstack_destination.mapping.mapping_file import (
    KnownProperties,
    ParsedMapping,
    as_yaml,
    check_mapping,
    read_mapping,
)
from prosperstack_destination.mapping.projection import DesiredValue, Projection, same_values
from prosperstack_destination.mapping.rules import SUBSCRIPTION, Rules, dump_rules, load_rules
from prosperstack_destination.reconcile.preview import SAMPLE, Preview, coverage, preview
from prosperstack_destination.store import accounts, json_codec, mappings, profile_queries, profiles
from prosperstack_destination.store.accounts import STOPPED_STATUSES, Account
from prosperstack_destination.store.mappings import MappingVersion, RemapProgress

log = structlog.get_logger(__name__)


async def refresh_if_stale(services: AdminContext, account: Account) -> None:
    """Request a background refresh of the catalog if it is older than `LISTED_AGAIN_AFTER`.

    An idle account lists its properties once a day. The caller shows the stored catalog meanwhile. Safe to repeat.
    Raises `StoreUnavailable`.
    """
    before = services.clock() - MIN_REFRESH_INTERVAL
    if account.catalog_at is None or account.catalog_at > before:
        return
    if await services.database.write(accounts.expire_catalog, account.id, before):
        services.wake([account.id])


async def current_properties(services: AdminContext, account: Account) -> Account:
    """Return the account with its properties listed now.

    This sends at most one request every 10 s. If it fails, the stored properties stay.
    """
    latest = await services.database.read(accounts.get, account.id) or account
    if latest.status in STOPPED_STATUSES or not may_refresh(latest, services.clock()):
        return latest
    try:
        refreshed = await services.refresh_catalog(latest)
    except ProsperStackError as error:
        log.warning(
            "catalog refresh failed; using stored properties", account=account.fingerprint, reason=str(error)
        )
        return latest
    services.on_change()
    return refreshed


#: A proposed mapping: the text of a file, or data.
Proposed = str | dict[str, JsonValue]


async def parse(services: AdminContext, account: Account, proposed: Proposed) -> ParsedMapping:
    """Parse and validate a proposed mapping against the account's properties. Raises `InvalidMapping`.

    If it names an unknown property, the properties are listed again, at most once every few seconds.
    """
    parsed = await _parse(proposed, account_mapping.known_properties(account, services.clock()))
    if not parsed.unknown:
        return parsed
    account = await current_properties(services, account)
    return await _parse(proposed, account_mapping.known_properties(account, services.clock()))


async def _parse(proposed: Proposed, known: KnownProperties) -> ParsedMapping:
    if isinstance(proposed, str):  # slow for a long text, so not in the event loop
        return await asyncio.to_thread(read_mapping, proposed, known)
    return await asyncio.to_thread(check_mapping, proposed, known)


async def preview_for_account(
    services: AdminContext, account: Account, rules: Rules, *, exact: bool = False
) -> Preview:
    """Preview the effect of rules on the stored profiles; with many profiles on a sample, unless ``exact``."""
    async with services.scan_lock:
        sample = None if exact else SAMPLE
        return await preview(
            services.database, account.id, rules, reserve=services.reserve, now=services.clock(), sample=sample
        )


async def apply(
    services: AdminContext,
    account: Account,
    parsed: ParsedMapping,
    *,
    author: str,
    based_on: int | None,
    source: str | None,
    note: str = "",
    allow_unknown: bool,
    allow_problems: bool,
) -> ApplyResult:
    """Apply a mapping, also to every stored profile. ``source`` is the text of its file.

    Raises `InvalidMapping` for rules of unknown properties unless ``allow_unknown``, `MappingConflict` if the
    current version is not ``based_on`` (None: any), and `ProblemsRise` if the preview has more problems than now
    unless ``allow_problems``.
    """
    if not allow_unknown:
        account_mapping.reject_unknown(parsed)
    if not allow_problems:
        preview_result = await preview_for_account(services, account, parsed.rules)
        if preview_result.raises_problems:
            raise ProblemsRise(before=preview_result.problems_before, after=preview_result.problems_after)

    def work(connection: Connection) -> ApplyResult:
        return account_mapping.apply(
            connection,
            account,
            parsed.rules,
            author=author,
            now=services.clock(),
            source=source,
            based_on=based_on,
            note=note,
        )

    applied = await services.database.write(work)
    services.on_change()
    return applied


async def rollback(
    services: AdminContext, account: Account, version: int | None, *, author: str, based_on: int | None = None
) -> ApplyResult:
    """Apply an earlier version again, by default the previous one, as a new version.

    Raises `InvalidInput` for a version that does not exist, and `MappingConflict`.
    """

    def work(connection: Connection) -> ApplyResult:
        return account_mapping.rollback(
            connection, account, version, author=author, now=services.clock(), based_on=based_on
        )

    applied = await services.database.write(work)
    services.on_change()
    return applied


def of_version(connection: Connection, account: Account, version: int | None) -> MappingVersion:
    """Return the mapping with this version, by default the current one. Raises `NotFoundError`."""
    if version is None:
        return mappings.current(connection, account.id)
    found = mappings.of_version(connection, account.id, version)
    if found is None:
        raise NotFoundError(f"There is no version {version} of this account's mapping.")
    return found


@dataclass(frozen=True, slots=True)
class MappingView:
    """A mapping version with its content, as operators see it; version 0 means that none was applied."""

    stored: MappingVersion

    @property
    def version(self) -> int:
        """Number of the version."""
        return self.stored.version

    @property
    def author(self) -> str:
        """Name of the operator who applied it."""
        return self.stored.author

    @property
    def applied_at(self) -> int | None:
        """Time in microseconds since the epoch; None for version 0."""
        return self.stored.applied_at if self.stored.version else None

    @property
    def note(self) -> str:
        """Purpose of the change."""
        return self.stored.note

    @property
    def rules(self) -> int:
        """Number of rules."""
        return len(load_rules(self.stored.rules))

    @property
    def mapping(self) -> JsonValue:
        """Content as data, in the form of the mapping file."""
        content: JsonValue = json_codec.load(dump_rules(load_rules(self.stored.rules)))
        return content

    @property
    def yaml(self) -> str:
        """Text of the applied file, or text made from the rules."""
        return text_of(self.stored)


def load_mapping(connection: Connection, account: Account) -> tuple[AccountMapping, MappingVersion]:
    """Return an account's mapping, and its current version."""
    return load(connection, account), mappings.current(connection, account.id)


def history(connection: Connection, account: Account, limit: int, before: int | None = None) -> list[MappingView]:
    """Return the applied versions, newest first, before the version ``before``."""
    return [MappingView(each) for each in mappings.history(connection, account.id, limit, before=before)]


def current_and(
    connection: Connection, account: Account, version: int
) -> tuple[MappingVersion, MappingVersion | None]:
    """Return the current version, and the one with this number; None: the account has none."""
    return mappings.current(connection, account.id), mappings.of_version(connection, account.id, version)


def remap_of(connection: Connection, account: Account) -> RemapProgress | None:
    """Return the progress of the remap since the mapping or the catalog last changed; None: no remap yet."""
    return mappings.latest_remap(connection, account.id)


async def coverage_for_account(
    services: AdminContext, account: Account, *, exact: bool = False
) -> CoverageSnapshot:
    """Count the coverage of properties and traits; above 50,000 profiles of a sample, unless ``exact``."""
    await refresh_if_stale(services, account)
    async with services.scan_lock:
        sample = None if exact else SAMPLE
        found, profiles = await coverage(services.database, account.id, services.clock(), sample=sample)
    return await asyncio.to_thread(snapshot_of, found, 0, services.clock(), profiles)


def text_of(mapping: MappingVersion) -> str:
    """Return the text of the applied file, with its comments; text made from the rules if they came as data."""
    return _yaml_of(mapping.rules) if mapping.source is None else mapping.source


@lru_cache(maxsize=8)  # writing a large lookup table takes seconds
def _yaml_of(rules: str) -> str:
    return as_yaml(load_rules(rules))


#: People searched for one that the mapping changes.
MAX_SCANNED: Final = 100


@dataclass(frozen=True, slots=True)
class PropertyOutcome:
    """Outcome of the traits for one property."""

    #: None: no trait feeds it, or the trait cannot be converted.
    desired: DesiredValue | None
    #: Reason why the trait cannot be converted.
    problem: str | None

    @property
    def value(self) -> PropertyValue | None:
        """Desired value; None deletes it, or there is none."""
        return None if self.desired is None else self.desired.value


@dataclass(frozen=True, slots=True)
class Change:
    """One property before and after."""

    #: Key as in rules.
    key: str
    target: Property
    before: PropertyOutcome
    after: PropertyOutcome

    @property
    def differs(self) -> bool:
        """True if ProsperStack, or the list of problems, would change."""
        one, other = ({} if each.desired is None else {"": each.desired} for each in (self.before, self.after))
        return self.before.problem != self.after.problem or not same_values(one, other)

    @property
    def is_fed(self) -> bool:
        """True if a trait feeds the property, before or after."""
        return any(each.desired is not None or each.problem is not None for each in (self.before, self.after))


@dataclass(frozen=True, slots=True)
class TrialResult:
    """One person under the current mapping and under the proposed one."""

    email: str
    #: In the order of the catalog.
    changes: tuple[Change, ...]
    #: Data that expressions see of the person.
    context: Mapping[str, JsonValue]


def run_trial(connection: Connection, account: Account, rules: Rules, email: str, now: int) -> TrialResult | None:
    """Try rules on the person with an email, or whose email begins with it; "" picks a person that they change.

    Returns None if there is no such person. Only the first `MAX_SCANNED` people, in the order of their emails, are
    searched for one that the rules change. Rules see the day as of ``now`` (microseconds).
    """
    mapping = load(connection, account)
    trial = mapping.with_rules(rules)
    found = _person(connection, account, mapping.compiled, trial, normalize_email(email), now)
    if found is None:
        return None
    found_email, person = found
    before, after = mapping.compiled.project(person), trial.project(person)
    return TrialResult(found_email, _changes(mapping, before, after), person.context(mapping.audiences))


def _person(
    connection: Connection, account: Account, old: CompiledMapping, new: CompiledMapping, email: str, now: int
) -> tuple[str, MappingInput] | None:
    if not email:
        return _first_changed(connection, account, *old.diff(new), now)
    profile = profiles.find(connection, account.id, email)
    if profile is None:
        matches = profile_queries.list_page(connection, account.id, after="", limit=1, prefix=email).profiles
        profile = profiles.get(connection, matches[0].id) if matches else None
    return None if profile is None else (profile.email, mapping_input(profile, now))


def _first_changed(
    connection: Connection, account: Account, old: CompiledMapping, new: CompiledMapping, now: int
) -> tuple[str, MappingInput] | None:
    """Return the first person that the mapping changes; the first of all if it changes none."""
    first: tuple[str, MappingInput] | None = None
    for each in profile_queries.scan_page(connection, account.id, "", limit=MAX_SCANNED):
        person = mapping_input(each, now)
        first = first or (each.email, person)
        before, after = old.project(person), new.project(person)
        same = same_values(before.desired, after.desired) and same_values(before.subscription, after.subscription)
        if not same or before.problems != after.problems:
            return each.email, person
    return first


def _changes(mapping: AccountMapping, before: Projection, after: Projection) -> tuple[Change, ...]:
    sides = [(each, {problem.property: problem.reason for problem in each.problems}) for each in (before, after)]
    named = [(each.key, each, False) for each in mapping.catalog]
    named += [(SUBSCRIPTION + each.key, each, True) for each in mapping.subscription_catalog]
    changes = []
    for name, target, of_subscription in named:
        outcomes = [
            PropertyOutcome(
                (side.subscription if of_subscription else side.desired).get(target.key), reasons.get(name)
            )
            for side, reasons in sides
        ]
        changes.append(Change(name, target, *outcomes))
    return tuple(changes)

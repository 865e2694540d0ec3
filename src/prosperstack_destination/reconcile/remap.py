"""Remapping of an account's profiles after its mapping, catalog or audiences changed.

It runs in the background, a page at a time, and pauses as long as it works. Profiles whose desired values changed
become due; the others stay untouched, so that the reconciler sees only real differences.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Set
from dataclasses import dataclass, replace
from typing import Final

import structlog
from sqlalchemy import Connection

from prosperstack_destination.account_mapping import AccountMapping, begin_day, build, load, mapping_input
from prosperstack_destination.background import cancel
from prosperstack_destination.call_facts import facts_of, without_facts
from prosperstack_destination.clock import SECOND, Clock
from prosperstack_destination.errors import DestinationError, StoreUnavailable, UnreadableMapping
from prosperstack_destination.mapping.call_rules import CallRules, load_call_rules
from prosperstack_destination.mapping.compiled_mapping import CompiledMapping
from prosperstack_destination.mapping.expression_runner import MappingInput
from prosperstack_destination.mapping.projection import Projection, same_values
from prosperstack_destination.reconcile.backoff import backoff_seconds
from prosperstack_destination.store import accounts, mappings, problems, profile_queries, profiles
from prosperstack_destination.store.accounts import Account
from prosperstack_destination.store.database import Database
from prosperstack_destination.store.mappings import NO_MAPPING, PreviousMapping, RemapProgress
from prosperstack_destination.store.models import Stamped, Status
from prosperstack_destination.store.problems import RecordedProblem

log = structlog.get_logger(__name__)

#: Interval between two checks for accounts to remap, in seconds.
POLL_SECONDS: Final = 1.0
#: Pause after a page, as a multiple of the page's duration, so that other work gets the processor.
PAUSE_FACTOR: Final = 1.0
#: Statuses without a subscriber to write to: desired values are computed when there is one.
_WITHOUT_SUBSCRIBER: Final = frozenset({Status.UNMATCHED.value, Status.REJECTED.value})


@dataclass(frozen=True, slots=True)
class _RemappedPage:
    """Result of one page."""

    progress: RemapProgress
    after: str
    done: int
    #: Ids of profiles whose desired values or problems changed, to be made due.
    due: list[int]
    #: Ids of changed profiles without a subscriber, and their problems by id.
    changed: list[int]
    problems: dict[int, list[RecordedProblem]]
    last: bool
    #: Ids of profiles with parts that the mapping does not keep any more, and the function that removes these.
    outdated: list[int]
    without_outdated: "_Kept"


@dataclass(slots=True)
class _Fault:
    """Errors in a row of one account, the latest reason, and the time before which it is not tried, in ticks."""

    failures: int = 0
    reason: str = ""
    until: int = 0


class Remapper:
    """Remaps profiles in the background. ``wake`` gets the accounts that have due profiles.

    ``is_ours`` says whether this replica does the work; a second one does no harm. ``ticks`` is a monotonic clock
    in microseconds. A page that was stored is not repeated after a restart.
    """

    def __init__(
        self,
        database: Database,
        wake: Callable[[Iterable[str]], None],
        *,
        clock: Clock,
        ticks: Clock,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        is_ours: Callable[[], bool] = lambda: True,
    ) -> None:
        self._database = database
        self._wake = wake
        self._clock = clock
        self._ticks = ticks
        self._sleep = sleep
        self._is_ours = is_ours
        #: Accounts that could not be remapped.
        self._faults: dict[str, _Fault] = {}
        self._task: asyncio.Task[None] | None = None
        self._woken = asyncio.Event()

    def start(self) -> None:
        """Start the background task."""
        self._task = asyncio.create_task(self._run(), name="remapper")

    async def stop(self) -> None:
        """Stop; the next process repeats an unfinished page."""
        if self._task is not None:
            await cancel([self._task])

    def wake(self) -> None:
        """Check now for accounts to remap, also those that failed: their mapping may have changed."""
        for fault in self._faults.values():
            fault.until = 0
        self._woken.set()

    async def run_once(self) -> None:
        """Remap all accounts to the end, also those with a mapping that depends on the day once their day ended."""
        now = self._clock()
        for account in await self._database.read(accounts.with_ended_day, now):
            await self._database.write(begin_day, account, now)
        while pending := self._without_faults(await self._database.read(mappings.accounts_in_remap)):
            for account_id in sorted(pending):  # in turns, so that a large account does not delay a small one
                began = self._ticks()
                try:
                    await self._page(account_id)
                except StoreUnavailable:
                    raise
                except Exception as error:  # noqa: BLE001 -- an error for one account must not stop the others
                    self._back_off(account_id, error)
                else:
                    self._faults.pop(account_id, None)
                await self._sleep((self._ticks() - began) / SECOND * PAUSE_FACTOR)

    def _without_faults(self, account_ids: Iterable[str]) -> set[str]:
        """Return the accounts whose backoff has ended."""
        faulty = {each for each, fault in self._faults.items() if self._ticks() < fault.until}
        return set(account_ids) - faulty

    def _back_off(self, account_id: str, error: Exception) -> None:
        """Let an account wait after an error. The same error again is not logged."""
        reason = str(error) if isinstance(error, DestinationError) else type(error).__name__
        fault = self._faults.setdefault(account_id, _Fault())
        fault.failures += 1
        fault.until = self._ticks() + int(backoff_seconds(fault.failures) * SECOND)
        if reason != fault.reason:
            log.error("profiles could not be remapped", account_id=account_id, reason=reason)
        fault.reason = reason

    async def _run(self) -> None:
        while True:
            try:
                if self._is_ours():
                    await self.run_once()
            except DestinationError as error:
                log.warning("profiles cannot be remapped", reason=str(error))
            except Exception:
                log.exception("profiles could not be remapped")
            try:
                await asyncio.wait_for(self._woken.wait(), POLL_SECONDS)
            except TimeoutError:
                continue
            self._woken.clear()

    async def _page(self, account_id: str) -> None:
        page = await self._database.read(_remap_page, account_id, self._clock())
        if page is None:
            return
        stored = await self._database.write(_store_page, page, self._clock())
        if stored and page.due:
            self._wake([account_id])
        if stored and page.last:
            progress = page.progress
            log.info("profiles remapped", account_id=account_id, profiles=progress.done + page.done)


def _remap_page(connection: Connection, account_id: str, now: int) -> _RemappedPage | None:
    progress = mappings.latest_remap(connection, account_id)
    account = accounts.get(connection, account_id)
    if progress is None or account is None or progress.is_finished:
        return None
    mapping = load(connection, account)
    try:
        pairs = [
            (
                *mapping.compiled.diff(
                    _previous_mapping(connection, account, mapping, previous), other_day=previous.as_of is not None
                ),
                previous.as_of,
            )
            for previous in progress.previous
        ]
    except UnreadableMapping:
        pairs = []  # every profile may differ
    page = profile_queries.scan_page(connection, account_id, progress.after)
    due: list[int] = []
    changed: list[int] = []
    problems_by_profile: dict[int, list[RecordedProblem]] = {}
    kept = _Kept(mapping.compiled.facts, None if account.intake is None else load_call_rules(account.intake))
    outdated: list[int] = []
    for profile in page:
        try:
            person = mapping_input(profile, now)
            if kept.is_outdated(person):
                outdated.append(profile.id)
            if pairs and all(
                _is_unchanged(
                    current.project(person),
                    previous.project(person if as_of is None else replace(person, now=as_of)),
                )
                for current, previous, as_of in pairs
            ):
                continue
            if profile.status not in _WITHOUT_SUBSCRIBER:
                due.append(profile.id)
                continue
            projection = mapping.compiled.project(person)
        except Exception as error:  # noqa: BLE001 -- an unexpected error for one profile must not stop the others
            log.error("a profile could not be remapped", profile_id=profile.id, error=type(error).__name__)
            continue
        changed.append(profile.id)
        problems_by_profile[profile.id] = [
            RecordedProblem(problem.property, problem.trait, problem.value, problem.reason, now)
            for problem in projection.problems
        ]
    after = page[-1].email if page else progress.after
    last = len(page) < profile_queries.PAGE_SIZE
    return _RemappedPage(progress, after, len(page), due, changed, problems_by_profile, last, outdated, kept)


def _previous_mapping(
    connection: Connection, account: Account, mapping: AccountMapping, before: PreviousMapping
) -> CompiledMapping:
    version = mappings.of_version(connection, account.id, before.version) or NO_MAPPING
    return build(
        before.catalog,
        before.subscription,
        version.rules,
        before.version,
        frozenset(mapping.audiences),
        account.time_zone,
        account.hash_secret,
    ).compiled


def _is_unchanged(now: Projection, before: Projection) -> bool:
    """Return whether neither values nor problems differ."""
    return (
        same_values(now.desired, before.desired)
        and same_values(now.subscription, before.subscription)
        and repr(now.problems) == repr(before.problems)  # compared as text: NaN differs from itself
    )


def _store_page(connection: Connection, page: _RemappedPage, now: int) -> bool:
    """Store a page; return False where the mapping changed meanwhile, so that all profiles are remapped again."""
    account_id = page.progress.account_id
    stored = mappings.advance_remap(
        connection,
        page.progress,
        after=page.after,
        done=page.done,
        changed=len(page.due) + len(page.changed),
        finished_at=now if page.last else None,
    )
    if not stored:
        return False
    mappings.mark_profiles_due(connection, page.due, now)
    mappings.invalidate_profiles(connection, page.changed)
    problems.replace(connection, account_id, page.problems)
    if page.outdated:
        profiles.rewrite_traits(connection, page.outdated, page.without_outdated.cleaned)
    return True


@dataclass(frozen=True, slots=True)
class _Kept:
    """Parts of a profile that the current mapping keeps: facts for rules, and traits that it does not drop."""

    facts: Set[str]
    rules: CallRules | None

    def is_outdated(self, person: MappingInput) -> bool:
        """Return whether a profile has parts that are not kept."""
        if person.facts and not person.facts.keys() <= self.facts:
            return True
        return (
            self.rules is not None
            and self.rules.drops
            and self.rules.stored_without(person.traits) != person.traits
        )

    def cleaned(self, stored: Mapping[str, Stamped]) -> dict[str, Stamped]:
        """Return stored traits and facts without those that are not kept."""
        facts = {name: each for name, each in facts_of(stored).items() if name in self.facts}
        traits = without_facts(stored)
        if self.rules is not None and self.rules.drops:
            left = self.rules.stored_without({name: value for name, (value, _) in traits.items()})
            traits = {name: (value, traits[name][1]) for name, value in left.items()}
        return traits | facts

"""Going through all profiles of an account when what their traits mean has changed.

It runs beside the receiving, a page at a time, and rests as long as it works. What it finds to differ is due for
the reconciler; the rest is not touched, so that the reconciler sees only real differences.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Final

import structlog
from sqlalchemy import Connection

from prosperstack_destination.account_mapping import AccountMapping, build, load
from prosperstack_destination.clock import SECOND, Clock
from prosperstack_destination.errors import DestinationError
from prosperstack_destination.mapping.compiled_mapping import CompiledMapping
from prosperstack_destination.mapping.expression_runner import MappingInput
from prosperstack_destination.mapping.projection import Projection, same_values
from prosperstack_destination.store import accounts, mappings, problems, profile_scan, remap_progress
from prosperstack_destination.store.database import Database
from prosperstack_destination.store.mappings import NO_MAPPING
from prosperstack_destination.store.models import Status
from prosperstack_destination.store.problems import RecordedProblem
from prosperstack_destination.store.profile_scan import ScannedProfile
from prosperstack_destination.store.remap_progress import PreviousMapping, RemapProgress

log = structlog.get_logger(__name__)

#: How often accounts with something to go through are looked for, in seconds.
POLL_SECONDS: Final = 1.0
#: How long it rests after a page, as a multiple of how long the page took: others want the processor too.
REST: Final = 1.0
#: Nobody is there to be written to: what they should have is worked out when somebody is.
_NOBODY: Final = frozenset({Status.UNMATCHED.value, Status.SET_ASIDE.value})


@dataclass(frozen=True, slots=True)
class _Judged:
    """One page, looked at."""

    reprojection: RemapProgress
    after: str
    done: int
    #: Ids of profiles whose desired properties or problems are others now, to be looked at.
    due: list[int]
    #: Ids of those that nobody can be written for; their problems by id.
    changed: list[int]
    problems: dict[int, list[RecordedProblem]]
    last: bool


class Remapper:
    """Goes through profiles in the background. ``wake`` is told the accounts that have something due.

    ``is_ours`` says whether it is this process, of several, that does so; another beside it would do no harm.
    ``ticks`` is a monotonic clock in microseconds. What was done before the process ended is not done again.
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
        self._task: asyncio.Task[None] | None = None
        self._begun = asyncio.Event()

    def start(self) -> None:
        """Begin to look for something to go through."""
        self._task = asyncio.create_task(self._run(), name="reprojector")

    async def stop(self) -> None:
        """Stop; a page that is under way is looked at again by the next process."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def wake(self) -> None:
        """Look now: something is to be gone through."""
        self._begun.set()

    async def run_once(self) -> None:
        """Go through what there is, to its end."""
        failed: set[str] = set()  # they are tried again by the next run: a fault of one account stops no other
        while pending := set(await self._database.read(remap_progress.unfinished)) - failed:
            for account_id in sorted(pending):  # in turns: a large account must not hold up a small one
                began = self._ticks()
                try:
                    await self._page(account_id)
                except DestinationError:
                    raise
                except Exception as error:  # noqa: BLE001 -- whatever is wrong with one account
                    log.error(
                        "profiles could not be gone through", account_id=account_id, error=type(error).__name__
                    )
                    failed.add(account_id)
                await self._sleep((self._ticks() - began) / SECOND * REST)

    async def _run(self) -> None:
        while True:
            try:
                if self._is_ours():
                    await self.run_once()
            except DestinationError as error:
                log.warning("profiles cannot be gone through", reason=str(error))
            except Exception:
                log.exception("profiles could not be gone through")
            try:
                await asyncio.wait_for(self._begun.wait(), POLL_SECONDS)
            except TimeoutError:
                continue
            self._begun.clear()

    async def _page(self, account_id: str) -> None:
        judged = await self._database.read(_judge, account_id, self._clock())
        if judged is None:
            return
        noted = await self._database.write(_record, judged, self._clock())
        if noted and judged.due:
            self._wake([account_id])
        if noted and judged.last:
            found = judged.reprojection
            log.info("went through the profiles", account_id=account_id, profiles=found.done + judged.done)


def _judge(connection: Connection, account_id: str, at: int) -> _Judged | None:
    reprojection = remap_progress.of_account(connection, account_id)
    account = accounts.get(connection, account_id)
    if reprojection is None or account is None or reprojection.is_finished:
        return None
    meaning = load(connection, account)
    before = [_former(connection, account_id, meaning, each) for each in reprojection.before]
    pairs = [meaning.compiled.diff(former) for former in before]
    page = profile_scan.page(connection, account_id, reprojection.after)
    due: list[int] = []
    changed: list[int] = []
    found: dict[int, list[RecordedProblem]] = {}
    for each in page:
        try:
            person = input_of_scanned(each)
            if pairs and all(_same(now.project(person), former.project(person)) for now, former in pairs):
                continue
            if each.status not in _NOBODY:
                due.append(each.id)
                continue
            projected = meaning.compiled.project(person)
        except Exception as error:  # noqa: BLE001 -- whatever is wrong with one profile: the others go on
            log.error("a profile could not be gone through", profile_id=each.id, error=type(error).__name__)
            continue
        changed.append(each.id)
        found[each.id] = [
            RecordedProblem(one.property, one.trait, one.value, one.reason, at) for one in projected.problems
        ]
    after = page[-1].email if page else reprojection.after
    last = len(page) < profile_scan.PAGE
    return _Judged(reprojection, after, len(page), due, changed, found, last)


def input_of_scanned(scanned: ScannedProfile) -> MappingInput:
    """A profile as the mapping sees it."""
    return MappingInput(scanned.values(), scanned.user_id, scanned.anonymous_id)


def _former(
    connection: Connection, account_id: str, meaning: AccountMapping, before: PreviousMapping
) -> CompiledMapping:
    mapping = mappings.of_version(connection, account_id, before.version) or NO_MAPPING
    audiences = frozenset(meaning.audiences)
    return build(before.catalog, before.subscription, mapping.rules, before.version, audiences).compiled


def _same(now: Projection, before: Projection) -> bool:
    """Whether nothing differs, neither values nor problems."""
    return (
        same_values(now.desired, before.desired)
        and same_values(now.subscription, before.subscription)
        and repr(now.problems) == repr(before.problems)  # by text: NaN is not itself
    )


def _record(connection: Connection, judged: _Judged, now: int) -> bool:
    """Note a page. False: the meaning changed meanwhile, and all is gone through anew."""
    account_id = judged.reprojection.account_id
    noted = remap_progress.advance(
        connection,
        judged.reprojection,
        after=judged.after,
        done=judged.done,
        changed=len(judged.due) + len(judged.changed),
        finished_at=now if judged.last else None,
    )
    if not noted:
        return False
    remap_progress.mark_due(connection, judged.due, now)
    remap_progress.mark_changed(connection, judged.changed)
    problems.replace(connection, account_id, judged.problems)
    return True

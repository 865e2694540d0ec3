"""Actions of operators on people and accounts: sync now, retry, replay, erase.

Each is a unit of work of one transaction, or takes several transactions for many people. Each goes to the audit log
under the ``actor``'s name, without personal data. Inside the service call `AdminServices.wake` afterwards. A
separate process need not: the reconciler polls every second.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

import structlog
from pydantic import JsonValue
from sqlalchemy import Connection

from prosperstack_destination.account_mapping import load
from prosperstack_destination.background import cancel
from prosperstack_destination.clock import Clock
from prosperstack_destination.emails import normalize_email
from prosperstack_destination.errors import DestinationError, NotFoundError
from prosperstack_destination.prosperstack.forecast import forecast
from prosperstack_destination.reconcile.rate_limiter import account_rate
from prosperstack_destination.store import activity, erasure, profile_queries, profiles, remote_erasures, requeue
from prosperstack_destination.store.accounts import Account
from prosperstack_destination.store.database import Database, UnitOfWork
from prosperstack_destination.store.erasure import ErasureResult
from prosperstack_destination.store.models import Delete
from prosperstack_destination.store.pseudonyms import Pseudonym
from prosperstack_destination.store.statements import lock_account

#: People replayed in one transaction.
REPLAY_BATCH: Final = 2_000
#: People retried in one transaction.
RETRY_BATCH: Final = 2_000


@dataclass(frozen=True, slots=True)
class ReplayCost:
    """Upper bound of the cost of a replay."""

    profiles: int
    #: Upper bound: known subscribers without a difference cost no request.
    max_requests: int
    #: Time that these requests take at the account's rate, in seconds.
    max_seconds: float


def prioritize(connection: Connection, account: Account, profile_id: int, actor: str, now: int) -> None:
    """Move a person to the front: look up, then update, before all others. Safe to repeat.

    This costs one request, and one for each subscriber that differs. An account that waits after failures is
    retried as well. Edits made in ProsperStack are observed, and stay. Rejected values are not sent again: see
    `replay` and `retry_person`. Raises `NotFoundError`.
    """
    requeue.prioritize(connection, account.id, _email(connection, account, profile_id), now)
    requeue.retry_account(connection, account.id)
    _record(connection, account, actor, now, "sync now", {"profile": profile_id})


def retry_person(connection: Connection, account: Account, profile_id: int, actor: str, now: int) -> None:
    """Retry a person now, with values that ProsperStack rejected; retry the account if it waits.

    Raises `NotFoundError`. Safe to repeat.
    """
    requeue.retry_person(connection, account.id, _email(connection, account, profile_id), now)
    requeue.retry_account(connection, account.id)
    _record(connection, account, actor, now, "retry", {"profiles": 1, "profile": profile_id})


async def retry_all(store: UnitOfWork, account: Account, actor: str, now: int, batch: int = RETRY_BATCH) -> int:
    """Retry all people with a problem, a failed attempt or a rejected email, and return their number.

    Rejected values are sent once more, and the account is retried if it waits. Many people take many short
    transactions, so that calls are accepted meanwhile. Safe to repeat, also after an interruption.
    """
    people = await store.read(requeue.ids_with_failures, account.id)
    await store.write(remote_erasures.retry_failed, account.id, now)
    return await _retry(store, account, people, actor, now, {}, batch)


async def retry_group(store: UnitOfWork, account: Account, key: str, reason: str, actor: str, now: int) -> int:
    """Retry the people with one problem: a property and a reason, as `store.problems.grouped` groups them.

    Returns their number; 0 means that the problem is gone.
    """
    people = await store.read(requeue.ids_with_problem, account.id, key, reason)
    return await _retry(store, account, people, actor, now, {"property": key}, RETRY_BATCH)


async def _retry(
    store: UnitOfWork,
    account: Account,
    people: list[int],
    actor: str,
    now: int,
    details: dict[str, JsonValue],
    batch: int,
) -> int:
    count = 0
    for start in range(0, len(people), batch):
        some = people[start : start + batch]
        count += await store.write(requeue.retry, account.id, some, now)
    await store.write(requeue.retry_account, account.id)
    await store.write(_record, account, actor, now, "retry", {"profiles": count, **details})
    return count


def retry_account(connection: Connection, account: Account, actor: str, now: int) -> bool:
    """Retry an account that waits after failures or is stopped. Return whether it was. Safe to repeat."""
    waited = requeue.retry_account(connection, account.id)
    if waited:
        _record(connection, account, actor, now, "retry account", {})
    return waited


def replay_cost(
    connection: Connection, account: Account, reserve: float, profile_id: int | None = None
) -> ReplayCost:
    """Return the upper bound of the cost of replaying one person, or all people; it changes nothing.

    ``reserve``: the part of the rate limit kept free if the account has none of its own. Raises `NotFoundError` if
    the account has no such profile.
    """
    count = 1
    if profile_id is None:
        count = profile_queries.count_all(connection, account.id)
    else:
        _email(connection, account, profile_id)
    most = forecast(count, account_rate(connection, account, reserve), matching=count, subscribers=None)
    # A lookup and an update; for subscriptions, a listing and an update more.
    times = 2 if load(connection, account).rules.for_subscriptions else 1
    return ReplayCost(count, most.requests * times, most.seconds * times)


def replay(connection: Connection, account: Account, actor: str, now: int, profile_id: int) -> None:
    """Compare one person with ProsperStack again.

    Differences are written, also over edits made in ProsperStack: show the cost first (`replay_cost`). Raises
    `NotFoundError` if the account has no such profile. Safe to repeat.
    """
    requeue.replay(connection, account.id, _email(connection, account, profile_id), now)
    _record(connection, account, actor, now, "replay", {"profiles": 1, "profile": profile_id})


async def replay_all(
    store: UnitOfWork, account: Account, actor: str, now: int, on_progress: Callable[[int], None] = lambda _: None
) -> int:
    """Replay all people of an account, and return their number.

    ``on_progress`` is called with the number so far. It takes many short transactions, and seconds for each hundred
    thousand people; calls are accepted meanwhile. An interrupted replay leaves the rest unchanged, and may be
    started again.
    """
    count, after = 0, ""
    details: dict[str, JsonValue] = {"broken_off": True}
    try:
        while True:
            done, last = await store.write(requeue.replay_page, account.id, after, now, REPLAY_BATCH)
            count += done
            on_progress(count)
            if last is None:
                break
            after = last
        details = {}
    finally:
        await store.write(_record, account, actor, now, "replay", {"profiles": count, **details})
    return count


def erase(
    connection: Connection, account: Account, email: str, pseudonym: Pseudonym, actor: str, now: int
) -> ErasureResult:
    """Erase a person by email (in any case), with the IDs that came with it, as a Delete call does.

    The account's setting decides the effect in ProsperStack. An unknown email is erased as well, since a call about
    it may be on its way. Older calls do not bring the person back, newer ones do. It cannot be undone. Safe to
    repeat. ``pseudonym`` is the vault's.
    """
    lock_account(connection, account.id, exclusive=True)
    return erasure.erase_email(connection, account.id, normalize_email(email), pseudonym, actor, now)


def erase_user(
    connection: Connection, account: Account, user_id: str, pseudonym: Pseudonym, actor: str, now: int
) -> ErasureResult:
    """Erase every person who ever had a user ID."""
    lock_account(connection, account.id, exclusive=True)
    return erasure.erase(connection, Delete(account.id, user_id, now, now), pseudonym, actor)


def erase_profile(
    connection: Connection, account: Account, profile_id: int, pseudonym: Pseudonym, actor: str, now: int
) -> ErasureResult:
    """Erase the person of a profile. Raises `NotFoundError` if the account has no such profile."""
    return erase(connection, account, _email(connection, account, profile_id), pseudonym, actor, now)


def _email(connection: Connection, account: Account, profile_id: int) -> str:
    profile = profiles.get(connection, profile_id)
    if profile is None or profile.account_id != account.id:
        raise NotFoundError(f"The account has no profile {profile_id}: it may have been deleted.")
    return profile.email


def _record(
    connection: Connection, account: Account, actor: str, now: int, action: str, details: dict[str, JsonValue]
) -> None:
    activity.record_action(connection, account.id, now, actor=actor, action=action, details=details)


log = structlog.get_logger(__name__)


@dataclass(slots=True)
class ReplayProgress:
    """Progress of one replay. It makes people due; the reconciler then compares them as requests allow."""

    #: In microseconds since the epoch.
    began_at: int
    #: People of the account at the start, and number of those already due.
    total: int
    done: int = 0
    finished_at: int | None = None
    #: Reason of an early end; the replay may be started again. None: no failure.
    failed: str | None = None


class ReplayJobs:
    """Replays of this process. ``wake`` is called with the accounts that have due work."""

    def __init__(self, database: Database, clock: Clock, wake: Callable[[Iterable[str]], None]) -> None:
        self._database = database
        self._clock = clock
        self._wake = wake
        self._latest: dict[str, ReplayProgress] = {}
        self._running: dict[str, asyncio.Task[None]] = {}

    def of(self, account_id: str) -> ReplayProgress | None:
        """Return the latest replay of an account; None: none since this process started."""
        return self._latest.get(account_id)

    async def start(self, account: Account, actor: str) -> ReplayProgress:
        """Start a replay as ``actor``, or return the one that is running."""
        total = await self._database.read(profile_queries.count_all, account.id)
        if account.id not in self._running:
            self._latest[account.id] = ReplayProgress(self._clock(), total)
            task = asyncio.create_task(self._run(account, actor, self._latest[account.id]))
            self._running[account.id] = task
            task.add_done_callback(lambda _: self._running.pop(account.id, None))
        return self._latest[account.id]

    async def close(self) -> None:
        """Cancel the running replays; the audit log records their progress."""
        await cancel(self._running.values())

    async def _run(self, account: Account, actor: str, replay: ReplayProgress) -> None:
        def progress(done: int) -> None:
            replay.done = done
            self._wake([account.id])

        try:
            await replay_all(self._database, account, actor, replay.began_at, progress)
        except DestinationError as error:
            replay.failed = str(error)
            log.warning("replay failed", account=account.id, done=replay.done, error=str(error))
        except Exception:  # a bug: the page must not show the replay as finished
            replay.failed = "Internal error; the log has the details."
            log.exception("replay failed", account=account.id, done=replay.done)
        finally:
            replay.finished_at = self._clock()

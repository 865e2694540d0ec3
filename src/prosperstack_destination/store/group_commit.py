"""Group commit: calls that arrive together share a transaction, and each is answered when it is on disk."""

import asyncio
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final, Protocol

import structlog

from prosperstack_destination.background import run_forever
from prosperstack_destination.errors import Overloaded, StoreUnavailable
from prosperstack_destination.store.merge_calls import CommitResult
from prosperstack_destination.store.models import Call, Outcome

log = structlog.get_logger(__name__)

#: Maximum number of calls in one transaction. More would gain little and delay the first of them.
MAX_BATCH: Final = 500
#: Desired time to merge a transaction with pieces of large requests, in seconds: other calls wait at most for the
#: running transaction and for their own. Such a transaction has at least MIN_BATCH calls.
BULK_SECONDS: Final = 0.01
MIN_BATCH: Final = 50
#: A batch waits at most GATHER_TURNS turns of the event loop for arriving calls. It stops after IDLE_TURNS
#: consecutive turns without a call, or after one if as many calls as last time are there. An idle turn takes about
#: 20 us; a sender that just got its response sends its next call within a few turns.
GATHER_TURNS: Final = 60
IDLE_TURNS: Final = 10
#: Maximum number of waiting calls, and of the memory that they hold, in bytes. Past either: `Overloaded`.
MAX_WAITING: Final = 5_000
MAX_WAITING_BYTES: Final = 32 * 1024 * 1024
#: A transaction that fails after this long, in seconds, also fails the calls that waited for it.
SLOW_FAILURE_SECONDS: Final = 1.0
#: Time that a failed transaction marks the store as failing, in seconds; then it takes another failure.
FAILURE_SECONDS: Final = 5.0
#: ``Retry-After`` of a call when too many wait already, in seconds.
OVERLOAD_RETRY_SECONDS: Final = 2.0


class CallSink(Protocol):
    """Interface that accepts parsed calls."""

    @property
    def piece(self) -> int:
        """Number of calls of a large request that should be submitted together."""

    async def accept(self, calls: Sequence[Call], *, bulk: bool = False) -> list[Outcome]:
        """Commit the calls and return their outcomes, in order, once they are on disk.

        ``bulk``: a piece of a large request, which other calls overtake. Raises a `TemporaryError` if none of them
        was stored.
        """


#: Function that writes calls in one transaction.
Commit = Callable[[Sequence[Call]], Awaitable[CommitResult]]


#: Callback that gets the outcomes of a submission, or the error, once.
OnCommitted = Callable[[list[Outcome] | Exception], None]


class _Submission:
    __slots__ = ("_settle", "calls", "size")

    def __init__(self, calls: Sequence[Call], settle: OnCommitted) -> None:
        self.calls = calls
        self.size = calls[0].size if len(calls) == 1 else sum(call.size for call in calls)
        self._settle = settle

    def settle(self, result: list[Outcome] | Exception) -> None:
        """Report the result to the sender. An error of the callback is logged and does not affect other senders."""
        try:
            self._settle(result)
        except Exception:
            log.exception("the result of a call could not be reported to its sender")


#: Longest wait, in seconds. At 1,500 calls a second it halves the cost of a call; senders do not notice it.
MAX_DELAY_SECONDS: Final = 0.002


#: Time constant of the averaged arrival rate, in seconds.
RATE_WINDOW_SECONDS: Final = 0.1


#: Maximum number of transactions without a wait after waits in vain. A sender that waits for each response sends
#: nothing in the meantime, however fast it is.
MAX_SKIPPED: Final = 64


class CommitDelay:
    """Delay policy: a rare call does not wait, and calls that arrive fast share transactions.

    Times are of a monotonic clock, in seconds.
    """

    def __init__(self) -> None:
        self._per_second = 0.0
        self._at: float | None = None
        #: Remaining transactions without a wait, and their number after the last wait in vain.
        self._to_skip = self._skipped = 0

    def seconds(self, waiting: int, now: float) -> float:
        """Return the wait for a transaction of ``waiting`` calls, in seconds.

        It waits if at least as many calls, and at least one, should arrive in that time.
        """
        if self._at is None:
            return 0.0
        expected = self._per_second * math.exp((self._at - now) / RATE_WINDOW_SECONDS) * MAX_DELAY_SECONDS
        if expected < max(waiting, 1):
            return 0.0
        if self._to_skip:
            self._to_skip -= 1
            return 0.0
        return MAX_DELAY_SECONDS

    def record_wait(self, arrived: int) -> None:
        """Record that a wait ended, and the number of calls that arrived in it."""
        self._skipped = 0 if arrived else min(max(2 * self._skipped, 1), MAX_SKIPPED)
        self._to_skip = self._skipped

    def record_start(self, calls: int, now: float) -> None:
        """Record the start of a transaction of ``calls`` calls."""
        if self._at is not None and now > self._at:
            passed = now - self._at
            kept = math.exp(-passed / RATE_WINDOW_SECONDS)
            self._per_second = self._per_second * kept + calls / passed * (1 - kept)
        self._at = now


class GroupCommit:
    """`CallSink` that commits calls in batches.

    While one transaction is written the next one gathers, so calls share more transactions under load.
    ``on_change`` is called with the accounts whose profiles changed, after they are on disk.
    """

    def __init__(
        self, commit: Commit, on_change: Callable[[set[str]], None], delay: CommitDelay | None = None
    ) -> None:
        self._commit = commit
        self._on_change = on_change
        self._delay = delay or CommitDelay()
        self._queue: deque[_Submission] = deque()
        #: Pieces of large requests. A transaction takes the other calls first, and at least one piece.
        self._bulk: deque[_Submission] = deque()
        #: Number and size of all waiting calls.
        self._calls = 0
        self._bytes = 0
        #: Number of calls that are merged in BULK_SECONDS, by the latest transactions with many calls.
        self._bulk_batch: float = 2 * MIN_BATCH
        #: Number of calls in the latest batch and behind it: as many may arrive again.
        self._expected = MAX_BATCH
        self._arrived = asyncio.Event()
        self._closing = False
        self._task: asyncio.Task[None] | None = None
        #: Time of the latest transaction's failure (monotonic clock, seconds) and its reason; None: it succeeded.
        self._failure: tuple[float, str] | None = None

    def start(self) -> None:
        """Start writing submitted calls."""
        self._task = run_forever(self._write_batches, "group commit")

    async def close(self) -> None:
        """Write waiting calls, then stop."""
        self._closing = True
        self._arrived.set()
        if self._task is not None:
            await self._task

    @property
    def piece(self) -> int:
        """Implement `CallSink.piece`."""
        return int(self._bulk_batch)

    async def accept(self, calls: Sequence[Call], *, bulk: bool = False) -> list[Outcome]:
        """Implement `CallSink.accept`. Calls that are submitted together are committed together."""
        committed: asyncio.Future[list[Outcome]] = asyncio.get_running_loop().create_future()
        self.submit(calls, partial(_settle, committed), bulk=bulk)
        return await committed

    def failure(self) -> str | None:
        """Return why the latest calls could not be committed, if that was within `FAILURE_SECONDS`; else None."""
        if self._failure is None or time.monotonic() - self._failure[0] > FAILURE_SECONDS:
            return None
        return self._failure[1]

    def submit(self, calls: Sequence[Call], settle: OnCommitted, *, bulk: bool = False) -> None:
        """Queue calls for the next transaction; ``settle`` is called later with their outcomes or the error.

        Raises `Overloaded` if too many calls wait, before `start` and after `close`.
        """
        if self._task is None or self._closing:
            raise Overloaded(
                "The service is starting or stopping; send the call again.", retry_after=OVERLOAD_RETRY_SECONDS
            )
        waiting = _Submission(calls, settle)
        if self._calls and (
            self._calls + len(calls) > MAX_WAITING or self._bytes + waiting.size > MAX_WAITING_BYTES
        ):
            raise Overloaded(
                "Too many calls are waiting for the database; send this one again.",
                retry_after=OVERLOAD_RETRY_SECONDS,
            )
        (self._bulk if bulk else self._queue).append(waiting)
        self._calls += len(calls)
        self._bytes += waiting.size
        self._arrived.set()

    async def _write_batches(self) -> None:
        while True:
            await self._arrived.wait()
            await self._gather()
            batch = self._next_batch()
            if batch:
                count = sum(len(waiting.calls) for waiting in batch)
                self._delay.record_start(count, time.monotonic())
                await self._write(batch)
                self._expected = count + self._calls
            elif self._closing:
                return
            else:
                self._arrived.clear()

    async def _gather(self) -> None:
        """Let more calls join the batch: those that should arrive soon by `CommitDelay`, or are arriving now."""
        before = self._calls
        at_once = self._bulk or self._closing or not before
        if not at_once and (seconds := self._delay.seconds(before, time.monotonic())):
            await asyncio.sleep(seconds)
            self._delay.record_wait(self._calls - before)
        else:
            await self._gather_arriving()

    async def _gather_arriving(self) -> None:
        """Let arriving calls join the batch while more arrive and it has room.

        Without it the senders split into two halves that alternate between transactions.
        """
        count = still = 0
        for _ in range(GATHER_TURNS):
            still = still + 1 if count == self._calls else 0
            enough = 1 if self._calls >= self._expected else IDLE_TURNS
            if still >= enough or self._calls >= MAX_BATCH:
                return
            count = self._calls
            await asyncio.sleep(0)

    def _next_batch(self) -> list[_Submission]:
        """Return the calls of the next transaction: the pieces of large requests fill what the others leave."""
        batch: list[_Submission] = []
        calls = self._move(self._queue, batch, MAX_BATCH)
        if self._bulk:
            self._move(self._bulk, batch, int(self._bulk_batch) - calls)
        return batch

    def _move(self, queue: deque[_Submission], batch: list[_Submission], most: int) -> int:
        """Move submissions from a queue to a batch, at least one and up to ``most`` calls; return their number."""
        moved = 0
        while queue and (not moved or moved + len(queue[0].calls) <= most):
            waiting = queue.popleft()
            moved += len(waiting.calls)
            self._bytes -= waiting.size
            batch.append(waiting)
        self._calls -= moved
        return moved

    async def _write(self, batch: Sequence[_Submission]) -> None:
        """Write a batch. If it fails, halve it until the failing call is alone."""
        begun = time.monotonic()
        try:
            taken = await self._commit([call for waiting in batch for call in waiting.calls])
        except StoreUnavailable as error:
            # These calls waited for the failed transaction: the next one must not double their wait.
            late = self._take_all() if time.monotonic() - begun > SLOW_FAILURE_SECONDS else []
            self._failed(error)
            for waiting in (*batch, *late):
                waiting.settle(error)
        except Exception as error:  # noqa: BLE001 -- a call that breaks the merge must not fail the others
            if len(batch) == 1:
                batch[0].settle(error)
                return
            middle = len(batch) // 2
            await self._write(batch[:middle])
            await self._write(batch[middle:])
        else:
            self._worked()
            self._adapt(len(taken.outcomes), taken.merge_seconds)
            start = 0
            for waiting in batch:
                end = start + len(waiting.calls)
                waiting.settle(taken.outcomes[start:end])
                start = end
            if taken.changed:
                self._tell(taken.changed)

    def _adapt(self, count: int, seconds: float) -> None:
        """Adapt the number of calls in a transaction to the time that the latest one took to merge."""
        if count >= MIN_BATCH and seconds:
            fitting = min(max(count * BULK_SECONDS / seconds, MIN_BATCH), MAX_BATCH)
            self._bulk_batch += (fitting - self._bulk_batch) / 4

    def _take_all(self) -> list[_Submission]:
        waiting = [*self._queue, *self._bulk]
        self._queue.clear()
        self._bulk.clear()
        self._calls = self._bytes = 0
        return waiting

    def _failed(self, error: StoreUnavailable) -> None:
        if self._failure is None:
            log.warning("calls cannot be committed; they are answered 503", reason=str(error))
        self._failure = time.monotonic(), str(error)

    def _worked(self) -> None:
        if self._failure is not None:
            log.info("calls are committed again")
        self._failure = None

    def _tell(self, changed: set[str]) -> None:
        try:
            self._on_change(changed)
        except Exception:
            log.exception("the change callback failed; accounts are picked up by the next poll")


def _settle(committed: "asyncio.Future[list[Outcome]]", result: list[Outcome] | Exception) -> None:
    if committed.done():
        return
    if isinstance(result, Exception):
        committed.set_exception(result)
    else:
        committed.set_result(result)

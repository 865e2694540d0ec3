"""Group commit: calls that arrive together share a transaction, and each is answered when it is on disk."""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final, Protocol

import structlog

from prosperstack_destination.background import run_forever
from prosperstack_destination.errors import Overloaded, StoreUnavailable
from prosperstack_destination.store.commit_delay import CommitDelay
from prosperstack_destination.store.merge_calls import CommitResult
from prosperstack_destination.store.models import Call, Outcome

log = structlog.get_logger(__name__)

#: Calls in one transaction. More would gain little, and make the first of them wait.
MAX_BATCH: Final = 500
#: A batch waits at most so many turns of the event loop for calls that are arriving, and until so many in a row
#: have brought none; only one, where there are as many as before. An idle turn takes some 20 us; who was just
#: answered sends the next call within a few.
GATHERING_TURNS: Final = 60
STILL_TURNS: Final = 10
#: Calls that may wait for the database, and the memory they may hold in bytes. Past either: `Overloaded`.
MAX_WAITING: Final = 5_000
MAX_WAITING_BYTES: Final = 32 * 1024 * 1024
#: A transaction that fails after so long, in seconds, fails for all who waited for it as well.
LONG_SECONDS: Final = 1.0
#: A failure says so long that calls cannot be committed, in seconds; then it takes another one to tell.
FAILURE_SECONDS: Final = 5.0
#: What a caller is told to wait when too many wait already, in seconds.
OVERLOAD_RETRY_SECONDS: Final = 2.0


class CallSink(Protocol):
    """Where understood calls go."""

    async def accept(self, calls: Sequence[Call]) -> list[Outcome]:
        """What became of these calls, once it is on disk, in their order.

        Raises `TemporaryError`'s kinds where nothing of them was kept.
        """


#: Writes calls in one transaction.
Commit = Callable[[Sequence[Call]], Awaitable[CommitResult]]


#: Told, once, what became of calls, or why nothing did, or nothing is known.
OnCommitted = Callable[[list[Outcome] | Exception], None]


class _Submission:
    __slots__ = ("_settle", "calls", "size")

    def __init__(self, calls: Sequence[Call], settle: OnCommitted) -> None:
        self.calls = calls
        self.size = calls[0].size if len(calls) == 1 else sum(call.size for call in calls)
        self._settle = settle

    def settle(self, result: list[Outcome] | Exception) -> None:
        """Tell its sender; a fault in that is told, and must not keep others from being told."""
        try:
            self._settle(result)
        except Exception:
            log.exception("a sender could not be told what became of their calls")


class GroupCommit:
    """An `CallSink` over a way to commit.

    While one transaction is being written the next one gathers, so the busier it is the more calls share a
    commit. ``on_change`` is called with the accounts whose profiles changed, after they are on disk.
    """

    def __init__(
        self, commit: Commit, on_change: Callable[[set[str]], None], delay: CommitDelay | None = None
    ) -> None:
        self._commit = commit
        self._on_change = on_change
        self._delay = delay or CommitDelay()
        self._queue: deque[_Submission] = deque()
        self._calls = 0
        self._bytes = 0
        #: Calls there were when the latest batch was answered, with those that waited: as many may come again.
        self._expected = MAX_BATCH
        self._arrived = asyncio.Event()
        self._closing = False
        self._task: asyncio.Task[None] | None = None
        #: When the latest transaction failed, by the monotonic clock in seconds, and why; None: it did not.
        self._failure: tuple[float, str] | None = None

    def start(self) -> None:
        """Begin to write what is accepted."""
        self._task = run_forever(self._write_batches, "group commit")

    async def close(self) -> None:
        """Write what waits, then stop."""
        self._closing = True
        self._arrived.set()
        if self._task is not None:
            await self._task

    async def accept(self, calls: Sequence[Call]) -> list[Outcome]:
        """See `CallSink.accept`. Calls that are given together are committed together."""
        committed: asyncio.Future[list[Outcome]] = asyncio.get_running_loop().create_future()
        self.submit(calls, partial(_settle, committed))
        return await committed

    def failure(self) -> str | None:
        """Why the latest calls could not be committed, if that is no longer ago than `FAILURE_SECONDS`."""
        if self._failure is None or time.monotonic() - self._failure[0] > FAILURE_SECONDS:
            return None
        return self._failure[1]

    def submit(self, calls: Sequence[Call], settle: OnCommitted) -> None:
        """Have calls written; ``settle`` is called, later, with what became of them, or why nothing did.

        Raises `Overloaded` where there are too many already, or before `start` and after `close`.
        """
        if self._task is None or self._closing:
            raise Overloaded(
                "The service is starting or stopping; send the call again.", retry_after=OVERLOAD_RETRY_SECONDS
            )
        waiting = _Submission(calls, settle)
        if self._queue and (
            self._calls + len(calls) > MAX_WAITING or self._bytes + waiting.size > MAX_WAITING_BYTES
        ):
            raise Overloaded(
                "Too many calls are waiting for the database; send this one again.",
                retry_after=OVERLOAD_RETRY_SECONDS,
            )
        self._queue.append(waiting)
        self._calls += len(calls)
        self._bytes += waiting.size
        self._arrived.set()

    async def _write_batches(self) -> None:
        while True:
            await self._arrived.wait()
            await self._gather()
            await self._wait_for_more()
            batch = self._next_batch()
            if batch:
                self._delay.began(sum(len(waiting.calls) for waiting in batch), time.monotonic())
                await self._write(batch)
                self._expected = sum(len(waiting.calls) for waiting in batch) + self._calls
            elif self._closing:
                return
            else:
                self._arrived.clear()

    async def _gather(self) -> None:
        """Let calls that are arriving just now come along: while more of them come, and there is room for them.

        Without it those who were answered together and those who arrived meanwhile take turns, in halves.
        """
        count = still = 0
        for _ in range(GATHERING_TURNS):
            still = still + 1 if count == self._calls else 0
            enough = 1 if self._calls >= self._expected else STILL_TURNS
            if still >= enough or self._calls >= MAX_BATCH:
                return
            count = self._calls
            await asyncio.sleep(0)

    async def _wait_for_more(self) -> None:
        """Wait for calls that should arrive soon: see `CommitDelay`."""
        before = self._calls
        if before and not self._closing and (seconds := self._delay.seconds(before, time.monotonic())):
            await asyncio.sleep(seconds)
            self._delay.waited(self._calls - before)

    def _next_batch(self) -> list[_Submission]:
        batch: list[_Submission] = []
        calls = 0
        while self._queue and (not batch or calls + len(self._queue[0].calls) <= MAX_BATCH):
            waiting = self._queue.popleft()
            calls += len(waiting.calls)
            self._calls -= len(waiting.calls)
            self._bytes -= waiting.size
            batch.append(waiting)
        return batch

    async def _write(self, batch: Sequence[_Submission]) -> None:
        """Write a batch; where it cannot be written, halve it until the call at fault is alone."""
        begun = time.monotonic()
        try:
            taken = await self._commit([call for waiting in batch for call in waiting.calls])
        except StoreUnavailable as error:
            # Who waited for this transaction has waited as long: the next one must not take their time once more.
            late = self._take_all() if time.monotonic() - begun > LONG_SECONDS else []
            self._failed(error)
            for waiting in (*batch, *late):
                waiting.settle(error)
        except Exception as error:  # noqa: BLE001 -- a call that breaks the merge must not take others with it
            if len(batch) == 1:
                batch[0].settle(error)
                return
            middle = len(batch) // 2
            await self._write(batch[:middle])
            await self._write(batch[middle:])
        else:
            self._worked()
            start = 0
            for waiting in batch:
                end = start + len(waiting.calls)
                waiting.settle(taken.outcomes[start:end])
                start = end
            if taken.changed:
                self._tell(taken.changed)

    def _take_all(self) -> list[_Submission]:
        waiting = list(self._queue)
        self._queue.clear()
        self._calls = self._bytes = 0
        return waiting

    def _failed(self, error: StoreUnavailable) -> None:
        if self._failure is None:
            log.warning("calls cannot be committed: they are answered 503", reason=str(error))
        self._failure = time.monotonic(), str(error)

    def _worked(self) -> None:
        if self._failure is not None:
            log.info("calls are committed again")
        self._failure = None

    def _tell(self, changed: set[str]) -> None:
        try:
            self._on_change(changed)
        except Exception:
            log.exception("accounts with something to do could not be told of")


def _settle(committed: "asyncio.Future[list[Outcome]]", result: list[Outcome] | Exception) -> None:
    if committed.done():
        return
    if isinstance(result, Exception):
        committed.set_exception(result)
    else:
        committed.set_result(result)

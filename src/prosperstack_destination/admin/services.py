"""What the operators' faces in the service work with, put together by the composition root."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from prosperstack_destination.admin.actions import ReplayCost
from prosperstack_destination.admin.cache import SlowQueryCache
from prosperstack_destination.admin.coverage_cache import CoverageCache
from prosperstack_destination.admin.replay_jobs import ReplayJobs
from prosperstack_destination.auth.operator_tokens import TokenAuthenticator
from prosperstack_destination.auth.vault import Vault
from prosperstack_destination.clock import Clock
from prosperstack_destination.ingest.service import IngestService
from prosperstack_destination.segment_api.connections import WorkspaceService
from prosperstack_destination.store.accounts import Account
from prosperstack_destination.store.database import Database
from prosperstack_destination.store.models import Status
from prosperstack_destination.store.problems import ProblemKind

#: The one key of what is counted for all accounts at once.
ALL_ACCOUNTS: Final = ""
#: People of a kind of problem are counted up to here.
MAX_COUNTED: Final = 10_000


@dataclass(frozen=True, slots=True)
class AdminServices:
    """What the API and the dashboard work with."""

    database: Database
    operators: TokenAuthenticator
    clock: Clock
    #: Segment workspaces, whose sources are connected.
    workspaces: WorkspaceService
    #: The part of ProsperStack's rate limit that is left to the account's owner.
    reserve: float
    #: Encrypts what is stored of keys, and makes pseudonyms.
    vault: Vault
    #: Told when profiles are to be gone through.
    on_change: Callable[[], None]
    #: Told, by their ids, which accounts have something to do by now: those who reconcile look at them at once.
    wake: Callable[[Iterable[str]], None]
    #: Told when accounts, keys or secrets are others than before: what is remembered of them is read anew.
    invalidate_credentials: Callable[[], None]
    #: Asks ProsperStack whether it takes a key. Raises `ConfigurationError` where it does not, and `KeyUnverified`.
    check_key: Callable[[str], Awaitable[None]]
    #: Lists an account's properties now, and stores them. Raises `ProsperStackError`.
    refresh_catalog: Callable[[Account], Awaitable[Account]]
    #: Takes calls in, as they are taken from Segment.
    ingest: IngestService
    #: Whether operators have a port of their own, so that calls come by another address than the dashboard's.
    has_admin_port: bool
    #: One at a time goes through all profiles: the receiving reads from the same database.
    scan_lock: asyncio.Lock
    #: What feeds what, counted in the background.
    coverage: CoverageCache
    #: How many people wait, by account and status: one count for all accounts, under `ALL_ACCOUNTS`.
    backlogs: SlowQueryCache[Mapping[str, Mapping[Status, int]]]
    #: What kinds of problems an account has, by its id, and how many people have each, up to `MAX_COUNTED`.
    problem_kinds: SlowQueryCache[list[ProblemKind]]
    #: What it costs to have everybody in an account, by its id, compared with ProsperStack anew.
    replay_costs: SlowQueryCache[ReplayCost]
    #: Has that done, in the background.
    replays: ReplayJobs

    async def waiting(self, account_id: str) -> Mapping[Status, int]:
        """How many of an account's people wait, by status; of very many, as it was moments ago."""
        return (await self.backlogs.get_or_wait(ALL_ACCOUNTS)).get(account_id, {})

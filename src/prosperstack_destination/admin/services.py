"""Dependencies of the API and the dashboard, built by `bootstrap`."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from prosperstack_destination.admin.accounts import find
from prosperstack_destination.admin.actions import ReplayCost, ReplayJobs, replay_cost
from prosperstack_destination.admin.context import AdminContext
from prosperstack_destination.admin.coverage_cache import CoverageCache
from prosperstack_destination.auth.operators import TokenAuthenticator
from prosperstack_destination.auth.vault import Vault
from prosperstack_destination.caches import SlowQueryCache
from prosperstack_destination.clock import Clock
from prosperstack_destination.ingest.service import IngestService
from prosperstack_destination.segment_api.connections import WorkspaceService
from prosperstack_destination.store import account_stats, problems
from prosperstack_destination.store.database import Database
from prosperstack_destination.store.models import Status
from prosperstack_destination.store.problems import ProblemKind

#: The one cache key of counts that cover all accounts.
ALL_ACCOUNTS: Final = ""
#: Upper bound of the number of people counted for one kind of problem.
MAX_COUNTED: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminServices(AdminContext):
    """Services that the API and the dashboard call."""

    operators: TokenAuthenticator
    #: Segment workspaces, and the sources connected from them.
    workspaces: WorkspaceService
    #: Encrypts stored keys, and makes pseudonyms.
    vault: Vault
    #: Drops the cache of accounts, keys and secrets after any of them changed.
    invalidate_credentials: Callable[[], None]
    #: Asks ProsperStack whether it accepts a key. Raises `InvalidInput` if it refuses the key, and
    #: `KeyUnverified` if it cannot be asked.
    check_key: Callable[[str], Awaitable[None]]
    #: Accepts test calls in the way of Segment's calls.
    ingest: IngestService
    #: True if operators have a port of their own. Calls then arrive at another address than the dashboard's.
    has_admin_port: bool
    #: Coverage of properties and traits, counted in the background.
    coverage: CoverageCache
    #: Number of waiting people by account and status: one entry for all accounts, `ALL_ACCOUNTS`.
    backlogs: SlowQueryCache[Mapping[str, Mapping[Status, int]]]
    #: Kinds of problems by account ID, each with its number of people, up to `MAX_COUNTED`.
    problem_kinds: SlowQueryCache[list[ProblemKind]]
    #: Cost of replaying all people of an account, by account ID.
    replay_costs: SlowQueryCache[ReplayCost]
    #: Replays of all people, run in the background.
    replays: ReplayJobs

    async def waiting(self, account_id: str) -> Mapping[Status, int]:
        """Return how many people of an account wait, by status.

        With very many people the counts may be about a minute old.
        """
        return (await self.backlogs.get_or_wait(ALL_ACCOUNTS)).get(account_id, {})


async def load_backlogs(database: Database, clock: Clock, _: str) -> Mapping[str, Mapping[Status, int]]:
    """Return how many profiles wait, by account and status."""
    return await database.read(account_stats.backlogs, clock())


async def load_problem_kinds(database: Database, account_id: str) -> list[ProblemKind]:
    """Return the kinds of mapping problems of an account, counted up to `MAX_COUNTED` people each."""
    return await database.read(problems.kinds, account_id, MAX_COUNTED)


async def load_replay_cost(database: Database, reserve: float, account_id: str) -> ReplayCost:
    """Return what a replay of all profiles of an account costs."""
    account = await database.read(find, account_id)
    return await database.read(replay_cost, account, reserve)

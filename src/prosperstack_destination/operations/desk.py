"""What the operators' faces in the service work with, put together by the composition root."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from prosperstack_destination.accounts.operators import Operators
from prosperstack_destination.accounts.vault import Vault
from prosperstack_destination.clock import Clock
from prosperstack_destination.operations.counting import Counting
from prosperstack_destination.operations.keeping import Kept
from prosperstack_destination.operations.mending import ReplayCost
from prosperstack_destination.operations.replaying import Replays
from prosperstack_destination.segment.reception import Reception
from prosperstack_destination.segment_workspace.connections import Workspaces
from prosperstack_destination.state.accounts import Account
from prosperstack_destination.state.database import Database
from prosperstack_destination.state.problems import Kind
from prosperstack_destination.state.profile import Status

#: The one key of what is counted for all accounts at once.
EVERYBODY: Final = ""
#: People of a kind of problem are counted up to here.
COUNTED: Final = 10_000


@dataclass(frozen=True, slots=True)
class Desk:
    """What the API and the dashboard work with."""

    database: Database
    operators: Operators
    clock: Clock
    #: Segment workspaces, whose sources are connected.
    workspaces: Workspaces
    #: The part of ProsperStack's rate limit that is left to the account's owner.
    reserve: float
    #: Encrypts what is stored of keys, and makes pseudonyms.
    vault: Vault
    #: Told when profiles are to be gone through.
    on_change: Callable[[], None]
    #: Told, by their ids, which accounts have something to do by now: those who reconcile look at them at once.
    wake: Callable[[Iterable[str]], None]
    #: Told when accounts, keys or secrets are others than before: what is remembered of them is read anew.
    on_keys: Callable[[], None]
    #: Asks ProsperStack whether it takes a key. Raises `Misconfigured` where it does not, and `KeyUnverified`.
    check_key: Callable[[str], Awaitable[None]]
    #: Lists an account's properties now, and stores them. Raises `ProsperStackError`.
    refresh_catalog: Callable[[Account], Awaitable[Account]]
    #: Takes calls in, as they are taken from Segment.
    reception: Reception
    #: Whether operators have a port of their own, so that calls come by another address than the dashboard's.
    apart: bool
    #: One at a time goes through all profiles: the receiving reads from the same database.
    scanning: asyncio.Lock
    #: What feeds what, counted in the background.
    counting: Counting
    #: How many people wait, by account and status: one count for all accounts, under `EVERYBODY`.
    backlogs: Kept[Mapping[str, Mapping[Status, int]]]
    #: What kinds of problems an account has, by its id, and how many people have each, up to `COUNTED`.
    problem_kinds: Kept[list[Kind]]
    #: What it costs to have everybody in an account, by its id, compared with ProsperStack anew.
    replay_costs: Kept[ReplayCost]
    #: Has that done, in the background.
    replays: Replays

    async def waiting(self, account_id: str) -> Mapping[Status, int]:
        """How many of an account's people wait, by status; of very many, as it was moments ago."""
        return (await self.backlogs.whole(EVERYBODY)).get(account_id, {})

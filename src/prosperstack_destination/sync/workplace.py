"""What the parts of one account's worker share."""

from collections.abc import Callable
from dataclasses import dataclass

import structlog

from prosperstack_destination.clock import Clock
from prosperstack_destination.prosperstack.client import ProsperStack
from prosperstack_destination.state.database import Store
from prosperstack_destination.state.profile import Profile
from prosperstack_destination.sync.spender import Spender

#: Told of each profile that is settled, and how: "delivered", "unchanged" (nothing had to be sent) or "unmatched".
OnSettled = Callable[[Profile, str], None]


def ignore_settled(_profile: Profile, _how: str) -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True)
class Workplace:
    """One account, and what it is worked on with."""

    account_id: str
    database: Store
    prosperstack: ProsperStack
    spender: Spender
    #: The wall's clock.
    clock: Clock
    log: structlog.stdlib.BoundLogger
    #: Told of each profile that is settled.
    on_settled: OnSettled

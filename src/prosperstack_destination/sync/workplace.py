"""What the parts of one account's worker share."""

from dataclasses import dataclass

import structlog

from prosperstack_destination.clock import Clock
from prosperstack_destination.prosperstack.client import ProsperStack
from prosperstack_destination.state.database import Store
from prosperstack_destination.sync.spender import Spender


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

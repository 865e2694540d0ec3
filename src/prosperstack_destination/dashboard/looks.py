"""Workspaces that somebody looks at while they choose a source, and the tokens that opened them.

A token that is not kept has to outlive one request: from when it is pasted until a source is chosen. It is held
here meanwhile, in the memory of the process, for whoever pasted it; never in a page, a cookie, an address or the
database. Another replica knows nothing of it, and asks for it again.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from prosperstack_destination.clock import MINUTE, Clock
from prosperstack_destination.segment_workspace.client import Access
from prosperstack_destination.segment_workspace.connections import Look

#: How long a look is held, in microseconds.
HELD_FOR: Final = 10 * MINUTE
#: Looks that are held at most, of all sessions together: one may have 10,000 sources.
MOST_HELD: Final = 10


@dataclass(frozen=True, slots=True)
class HeldLook:
    """What somebody saw of a workspace."""

    look: Look
    #: What opened it; None: the token that is kept for the account.
    access: Access | None
    #: In microseconds since the epoch.
    until: int


@dataclass(slots=True)
class Looks:
    """What is held, by session and account."""

    clock: Clock
    _held: OrderedDict[tuple[str, str], HeldLook] = field(default_factory=OrderedDict, repr=False)

    def hold(self, session: str, account_id: str, look: Look, access: Access | None) -> None:
        """Hold a look, instead of the one that this session has at this account."""
        self.forget(session, account_id)
        self._held[session, account_id] = HeldLook(look, access, self.clock() + HELD_FOR)
        while len(self._held) > MOST_HELD:
            self._held.popitem(last=False)

    def of(self, session: str, account_id: str) -> HeldLook | None:
        """What is held; None: nothing, or no longer. Whoever asks, what is too old goes."""
        now = self.clock()
        for key, held in list(self._held.items()):
            if not 0 <= held.until - now <= HELD_FOR:
                del self._held[key]
        return self._held.get((session, account_id))

    def forget(self, session: str, account_id: str) -> None:
        """Hold nothing of this session's at this account any more."""
        self._held.pop((session, account_id), None)

"""Workspaces that somebody looks at while they choose a source, and the tokens that opened them.

A token that is not kept has to outlive one request: from when it is pasted until a source is chosen. It is held
here meanwhile, in the memory of the process, for whoever pasted it; never in a page, a cookie, an address or the
database. Another replica knows nothing of it, and asks for it again.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from prosperstack_destination.clock import MINUTE, Clock
from prosperstack_destination.segment_api.client import WorkspaceCredentials
from prosperstack_destination.segment_api.connections import WorkspaceSnapshot

#: How long a look is held, in microseconds.
SELECTION_TTL: Final = 10 * MINUTE
#: Looks that are held at most, of all sessions together: one may have 10,000 sources.
MAX_SELECTIONS: Final = 10


@dataclass(frozen=True, slots=True)
class Selection:
    """What somebody saw of a workspace."""

    look: WorkspaceSnapshot
    #: What opened it; None: the token that is kept for the account.
    access: WorkspaceCredentials | None
    #: In microseconds since the epoch.
    until: int


@dataclass(slots=True)
class WorkspaceSelections:
    """What is held, by session and account."""

    clock: Clock
    _held: OrderedDict[tuple[str, str], Selection] = field(default_factory=OrderedDict, repr=False)

    def hold(
        self, session: str, account_id: str, look: WorkspaceSnapshot, access: WorkspaceCredentials | None
    ) -> None:
        """Hold a look, instead of the one that this session has at this account."""
        self.forget(session, account_id)
        self._held[session, account_id] = Selection(look, access, self.clock() + SELECTION_TTL)
        while len(self._held) > MAX_SELECTIONS:
            self._held.popitem(last=False)

    def of(self, session: str, account_id: str) -> Selection | None:
        """What is held; None: nothing, or no longer. Whoever asks, what is too old goes."""
        now = self.clock()
        for key, held in list(self._held.items()):
            if not 0 <= held.until - now <= SELECTION_TTL:
                del self._held[key]
        return self._held.get((session, account_id))

    def forget(self, session: str, account_id: str) -> None:
        """Hold nothing of this session's at this account any more."""
        self._held.pop((session, account_id), None)

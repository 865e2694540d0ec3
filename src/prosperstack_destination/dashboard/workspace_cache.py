"""Workspaces that operators have open while they choose a source, with their tokens.

A token that is not stored must outlive one request, from the token form until a source is chosen. It is held in the
memory of this process for the session that entered it; never in a page, a cookie, a URL or the database. Other
replicas do not have it and ask for it again.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from prosperstack_destination.clock import MINUTE, Clock
from prosperstack_destination.segment_api.client import WorkspaceCredentials
from prosperstack_destination.segment_api.connections import WorkspaceSnapshot

#: Lifetime of a selection, in microseconds.
SELECTION_TTL: Final = 10 * MINUTE
#: Maximum selections of all sessions: one may have 10,000 sources.
MAX_SELECTIONS: Final = 10


@dataclass(frozen=True, slots=True)
class Selection:
    """Workspace that a session has open."""

    snapshot: WorkspaceSnapshot
    #: Credentials that opened it; None for the stored token of the account.
    access: WorkspaceCredentials | None
    #: Expiry, in microseconds since the epoch.
    until: int


@dataclass(slots=True)
class WorkspaceSelections:
    """Open workspaces, by session and account."""

    clock: Clock
    _held: OrderedDict[tuple[str, str], Selection] = field(default_factory=OrderedDict, repr=False)

    def hold(
        self, session: str, account_id: str, snapshot: WorkspaceSnapshot, access: WorkspaceCredentials | None
    ) -> None:
        """Store a selection for a session and an account. Replaces the previous one."""
        self.forget(session, account_id)
        self._held[session, account_id] = Selection(snapshot, access, self.clock() + SELECTION_TTL)
        while len(self._held) > MAX_SELECTIONS:
            self._held.popitem(last=False)

    def of(self, session: str, account_id: str) -> Selection | None:
        """Return the selection; None if there is none or it has expired. Drops all expired selections."""
        now = self.clock()
        for key, held in list(self._held.items()):
            if not 0 <= held.until - now <= SELECTION_TTL:
                del self._held[key]
        return self._held.get((session, account_id))

    def forget(self, session: str, account_id: str) -> None:
        """Drop the selection of a session and an account. Safe to repeat."""
        self._held.pop((session, account_id), None)

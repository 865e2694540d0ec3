"""Tests of the workspaces that operators have open."""

from prosperstack_destination.clock import SECOND
from prosperstack_destination.dashboard.segment import MAX_SELECTIONS, SELECTION_TTL, WorkspaceSelections
from prosperstack_destination.segment_api.client import WorkspaceCredentials
from prosperstack_destination.segment_api.connections import WorkspaceSnapshot
from prosperstack_destination.segment_api.models import Workspace
from prosperstack_destination.store.segment_connections import Region
from support.clocks import SetClock

LOOK = WorkspaceSnapshot(Workspace(id="ws_1", name="Acme"), Region.US, ())
ACCESS = WorkspaceCredentials("sgp_secret")


def test_selection_belongs_to_session_and_account(clock: SetClock) -> None:
    """Another session or account does not get the selection."""
    looks = WorkspaceSelections(clock)
    looks.hold("mine", "acct_1", LOOK, ACCESS)
    held = looks.of("mine", "acct_1")

    assert held is not None
    assert (held.snapshot, held.access) == (LOOK, ACCESS)
    assert looks.of("theirs", "acct_1") is None
    assert looks.of("mine", "acct_2") is None


def test_selection_expires(clock: SetClock) -> None:
    """A selection expires after ten minutes, also if the clock is set back."""
    looks = WorkspaceSelections(clock)
    looks.hold("mine", "acct_1", LOOK, ACCESS)
    clock.advance(SELECTION_TTL / SECOND)
    last = looks.of("mine", "acct_1")
    clock.advance(1)

    assert last is not None
    assert looks.of("theirs", "acct_1") is None
    clock.advance(-1)
    assert looks.of("mine", "acct_1") is None
    looks.hold("mine", "acct_1", LOOK, ACCESS)
    clock.advance(-1)
    assert looks.of("mine", "acct_1") is None


def test_oldest_selection_is_dropped(clock: SetClock) -> None:
    """One selection too many drops the oldest; a newer one replaces that of its session."""
    looks = WorkspaceSelections(clock)
    for number in range(MAX_SELECTIONS):
        looks.hold(f"session {number}", "acct_1", LOOK, ACCESS)
    looks.hold("session 0", "acct_1", LOOK, None)
    looks.hold("one more", "acct_1", LOOK, ACCESS)
    newer = looks.of("session 0", "acct_1")

    assert looks.of("session 1", "acct_1") is None
    assert looks.of("session 2", "acct_1") is not None
    assert newer is not None
    assert newer.access is None


def test_forgotten_selection_is_gone(clock: SetClock) -> None:
    """A forgotten selection is gone, and its representation has no token."""
    looks = WorkspaceSelections(clock)
    looks.hold("mine", "acct_1", LOOK, ACCESS)
    assert ACCESS.token not in f"{looks!r} {looks.of('mine', 'acct_1')!r}"
    looks.forget("mine", "acct_1")
    looks.forget("mine", "acct_1")

    assert looks.of("mine", "acct_1") is None

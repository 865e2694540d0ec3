"""What is held while somebody chooses a source: for them, for a while, and not without end."""

from prosperstack_destination.clock import SECOND
from prosperstack_destination.dashboard.segment import MAX_SELECTIONS, SELECTION_TTL, WorkspaceSelections
from prosperstack_destination.segment_api.client import WorkspaceCredentials
from prosperstack_destination.segment_api.connections import WorkspaceSnapshot
from prosperstack_destination.segment_api.models import Workspace
from prosperstack_destination.store.segment_connections import Region
from support.clocks import SetClock

LOOK = WorkspaceSnapshot(Workspace(id="ws_1", name="Acme"), Region.US, ())
ACCESS = WorkspaceCredentials("sgp_secret")


def test_for_whom_it_is_held(clock: SetClock) -> None:
    """Neither another session nor another account finds it."""
    looks = WorkspaceSelections(clock)
    looks.hold("mine", "acct_1", LOOK, ACCESS)
    held = looks.of("mine", "acct_1")

    assert held is not None
    assert (held.snapshot, held.access) == (LOOK, ACCESS)
    assert looks.of("theirs", "acct_1") is None
    assert looks.of("mine", "acct_2") is None


def test_how_long_it_is_held(clock: SetClock) -> None:
    """After ten minutes it is gone, whoever asks for anything; so it is where the clock was set back."""
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


def test_how_many_are_held(clock: SetClock) -> None:
    """One more than may be held takes the place of the oldest; a newer look takes that of the same session's."""
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


def test_forgetting(clock: SetClock) -> None:
    """What is forgotten is gone, and what is held tells no token when it is printed."""
    looks = WorkspaceSelections(clock)
    looks.hold("mine", "acct_1", LOOK, ACCESS)
    assert ACCESS.token not in f"{looks!r} {looks.of('mine', 'acct_1')!r}"
    looks.forget("mine", "acct_1")
    looks.forget("mine", "acct_1")

    assert looks.of("mine", "acct_1") is None

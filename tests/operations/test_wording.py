"""States in wording."""

from collections.abc import Mapping
from enum import Enum

import pytest

from prosperstack_destination.operations import wording
from prosperstack_destination.operations.comparing import RowState
from prosperstack_destination.state.accounts import AccountStatus
from prosperstack_destination.state.profile import Lane, Status
from prosperstack_destination.state.recent_calls import Fate, Way


@pytest.mark.parametrize(
    ("said", "states"),
    [
        (wording.STATUS, Status),
        (wording.LANE, Lane),
        (wording.ROW_STATE, RowState),
        (wording.ACCOUNT_STATUS, AccountStatus),
        (wording.FATE, Fate),
        (wording.WAY, Way),
    ],
)
def test_every_state_is_said(said: Mapping[Enum, str], states: type[Enum]) -> None:
    """There are words for every state, and no two have the same."""
    assert set(said) == set(states)
    assert len(set(said.values())) == len(said)

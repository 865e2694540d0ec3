"""States in wording."""

from collections.abc import Mapping
from enum import Enum

import pytest

from prosperstack_destination.operations import wording
from prosperstack_destination.operations.comparing import PropertyState
from prosperstack_destination.state.accounts import AccountStatus
from prosperstack_destination.state.profile import Lane, Status
from prosperstack_destination.state.recent_calls import CallOutcome, Channel


@pytest.mark.parametrize(
    ("said", "states"),
    [
        (wording.STATUS, Status),
        (wording.LANE, Lane),
        (wording.ROW_STATE, PropertyState),
        (wording.ACCOUNT_STATUS, AccountStatus),
        (wording.FATE, CallOutcome),
        (wording.WAY, Channel),
    ],
)
def test_every_state_is_said(said: Mapping[Enum, str], states: type[Enum]) -> None:
    """There are words for every state, and no two have the same."""
    assert set(said) == set(states)
    assert len(set(said.values())) == len(said)

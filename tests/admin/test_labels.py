"""States in wording."""

from collections.abc import Mapping
from enum import Enum

import pytest

from prosperstack_destination.admin import labels
from prosperstack_destination.admin.comparison import PropertyState
from prosperstack_destination.store.accounts import AccountStatus
from prosperstack_destination.store.models import Lane, Status
from prosperstack_destination.store.recent_calls import CallOutcome, Channel


@pytest.mark.parametrize(
    ("said", "states"),
    [
        (labels.STATUS, Status),
        (labels.LANE, Lane),
        (labels.PROPERTY_STATE, PropertyState),
        (labels.ACCOUNT_STATUS, AccountStatus),
        (labels.CALL_OUTCOME, CallOutcome),
        (labels.CHANNEL, Channel),
    ],
)
def test_every_state_is_said(said: Mapping[Enum, str], states: type[Enum]) -> None:
    """There are words for every state, and no two have the same."""
    assert set(said) == set(states)
    assert len(set(said.values())) == len(said)

"""Tests of the labels of states."""

from collections.abc import Mapping
from enum import Enum

import pytest

from prosperstack_destination.admin import labels
from prosperstack_destination.admin.comparison import PropertyState
from prosperstack_destination.store.accounts import AccountStatus
from prosperstack_destination.store.models import Lane, Status
from prosperstack_destination.store.recent_calls import CallOutcome, Channel


@pytest.mark.parametrize(
    ("labels_of", "states"),
    [
        (labels.STATUS, Status),
        (labels.LANE, Lane),
        (labels.PROPERTY_STATE, PropertyState),
        (labels.ACCOUNT_STATUS, AccountStatus),
        (labels.CALL_OUTCOME, CallOutcome),
        (labels.CHANNEL, Channel),
    ],
)
def test_every_state_has_a_text_of_its_own(labels_of: Mapping[Enum, str], states: type[Enum]) -> None:
    """Every state has a text, and no two states have the same."""
    assert set(labels_of) == set(states)
    assert len(set(labels_of.values())) == len(labels_of)

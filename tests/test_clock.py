"""Times as they are kept and shown."""

from datetime import UTC, datetime

import pytest

from prosperstack_destination.clock import utc


@pytest.mark.parametrize(
    ("at", "shown"),
    [
        (1_764_892_800_000_001, datetime(2025, 12, 5, microsecond=1, tzinfo=UTC)),
        (-62_135_596_860_000_000, datetime.min.replace(tzinfo=UTC)),  # 0001-01-01T00:00:00+00:01
        (253_402_304_399_000_000, datetime.max.replace(tzinfo=UTC)),  # 9999-12-31T23:59:59-01:00
        (-(2**63), datetime.min.replace(tzinfo=UTC)),
        (2**63 - 1, datetime.max.replace(tzinfo=UTC)),
    ],
)
def test_any_time_that_is_stored_can_be_shown(at: int, shown: datetime) -> None:
    """A time outside of the calendar is shown as the calendar's first or last moment."""
    assert utc(at) == shown

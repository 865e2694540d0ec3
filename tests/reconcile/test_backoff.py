"""Exponential backoff."""

import pytest

from prosperstack_destination.reconcile.backoff import backoff_seconds


@pytest.mark.parametrize(
    ("failures", "retry_after", "jitter", "seconds"),
    [
        (1, None, 0.0, 0.5),
        (1, None, 1.0, 1.0),
        (2, None, 1.0, 2.0),
        (5, None, 0.5, 12.0),  # 16 x (0.5 + 0.25)
        (6, None, 1.0, 32.0),
        (7, None, 1.0, 60.0),
        (10_000, None, 1.0, 60.0),
        (1, 30.0, 1.0, 30.0),  # Retry-After
        (9, 30.0, 1.0, 60.0),
        (1, 1e9, 1.0, 300.0),
    ],
)
def test_backoff_doubles_up_to_a_minute(
    failures: int, retry_after: float | None, jitter: float, seconds: float
) -> None:
    """Waits double up to a minute, and are at least ProsperStack's Retry-After."""
    assert backoff_seconds(failures, retry_after, lambda: jitter) == seconds

"""Our own ``Retry-After``; how others' are read is tested with the clients that read them."""

import pytest

from prosperstack_destination.retry_after import retry_after_header


@pytest.mark.parametrize(("seconds", "header"), [(0.0, "1"), (0.2, "1"), (1.0, "1"), (1.2, "2"), (59.5, "60")])
def test_retry_after_is_rounded_up(seconds: float, header: str) -> None:
    """Whoever waits as long as the header says is never too early."""
    assert retry_after_header(seconds) == header

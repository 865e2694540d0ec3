"""The rate limit of calls by the address of the client."""

import pytest

from prosperstack_destination.clock import SECOND
from prosperstack_destination.errors import RateExceeded
from prosperstack_destination.ingest import address_rate
from prosperstack_destination.ingest.address_rate import BURST, PER_SECOND, AddressRate
from support.clocks import NEW_YEAR

HERE, THERE = "192.0.2.1", "192.0.2.2"


def test_a_full_bucket_empties_and_fills() -> None:
    """A network may send a burst, and then so many a second; it is told when the next one is there."""
    rate = AddressRate()
    rate.take(HERE, BURST, NEW_YEAR)
    with pytest.raises(RateExceeded) as caught:
        rate.take(HERE, 1, NEW_YEAR)

    assert caught.value.retry_after == pytest.approx(1 / PER_SECOND)
    rate.take(HERE, PER_SECOND, NEW_YEAR + SECOND)
    with pytest.raises(RateExceeded):
        rate.take(HERE, 1, NEW_YEAR + SECOND)


def test_networks_do_not_share() -> None:
    """What one network sends is not taken from another; the addresses of a /64 are one network."""
    rate = AddressRate()
    rate.take(HERE, BURST, NEW_YEAR)
    rate.take(THERE, BURST, NEW_YEAR)
    rate.take("2001:db8::1", BURST, NEW_YEAR)

    with pytest.raises(RateExceeded):
        rate.take("2001:db8::ffff", 1, NEW_YEAR)


def test_a_batch_larger_than_a_bucket_passes_once_it_is_full() -> None:
    """A batch of more calls than a bucket has is not refused for ever."""
    rate = AddressRate()
    rate.take(HERE, BURST * 8, NEW_YEAR)
    with pytest.raises(RateExceeded):
        rate.take(HERE, BURST * 8, NEW_YEAR + SECOND)
    rate.take(HERE, BURST * 8, NEW_YEAR + BURST * SECOND)


def test_a_clock_that_is_set_back_gives_nothing() -> None:
    """Nothing is gained, and nothing lost, where the clock goes back."""
    rate = AddressRate()
    rate.take(HERE, BURST - 1, NEW_YEAR)
    rate.take(HERE, 1, NEW_YEAR - 60 * SECOND)

    with pytest.raises(RateExceeded):
        rate.take(HERE, 1, NEW_YEAR - 60 * SECOND)


def test_networks_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many networks send, those that were seen last are remembered."""
    monkeypatch.setattr(address_rate, "MAX_NETWORKS", 2)
    rate = AddressRate()
    for address in (HERE, THERE, "192.0.2.3"):
        rate.take(address, BURST, NEW_YEAR)

    rate.take(HERE, BURST, NEW_YEAR)
    with pytest.raises(RateExceeded):
        rate.take("192.0.2.3", 1, NEW_YEAR)

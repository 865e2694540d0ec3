"""Rate limit of calls by the address of the client, for keys that are public."""

from collections import OrderedDict
from typing import Final

from prosperstack_destination.clock import SECOND
from prosperstack_destination.errors import RateExceeded
from prosperstack_destination.proxy_headers import client_network

#: Calls that a network may send at once, and in a second after that. An office shares one address.
BURST: Final = 300
PER_SECOND: Final = 5
#: Networks that are remembered; past it the one that was seen longest ago is forgotten.
MAX_NETWORKS: Final = 10_000


class AddressRate:
    """A token bucket for each network of clients (see `client_network`)."""

    def __init__(self) -> None:
        #: What is left of each network's calls, and as of when (microseconds); the latest is last.
        self._buckets: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def take(self, address: str, calls: int, now: int) -> None:
        """Take calls from a network's bucket. Raises `RateExceeded`, and takes none, where it has too few.

        More calls than a full bucket has, in one batch, count as a full bucket.
        """
        network = client_network(address)
        left, at = self._buckets.pop(network, (float(BURST), now))
        left = min(left + max(now - at, 0) * PER_SECOND / SECOND, BURST)
        wanted = min(calls, BURST)
        self._buckets[network] = (left - wanted if wanted <= left else left), now
        if len(self._buckets) > MAX_NETWORKS:
            self._buckets.popitem(last=False)
        if wanted > left:
            raise RateExceeded((wanted - left) / PER_SECOND)

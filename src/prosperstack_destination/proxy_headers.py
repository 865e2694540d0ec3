"""Address and scheme of a client, as reported by the proxies in front of the service."""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from starlette.types import Scope

#: Prefix length of the IPv6 network that one client commonly has, in bits.
IPV6_PREFIX: Final = 64


def client_address(scope: Scope, trusted_proxies: int) -> str:
    """Return the IP address of the client, "" where none is known (a Unix socket).

    ``trusted_proxies`` is the number of proxies in front of the service. Each appends the address of its
    peer to ``X-Forwarded-For``: the client is that many entries from the right. Clients can forge
    entries further left. With 0, with fewer entries than proxies, or with an entry that is not an address, the
    result is the peer of the connection.
    """
    peer: str = scope["client"][0] if scope.get("client") else ""
    if trusted_proxies < 1:
        return peer
    hops = list(_entries(scope, b"x-forwarded-for"))
    client = _address(hops[-trusted_proxies]) if len(hops) >= trusted_proxies else None
    return peer if client is None else str(client)


def client_network(address: str) -> str:
    """Return the key of limits per client: an IPv4 address, or the /64 network of an IPv6 address."""
    parsed = _address(address)
    if not isinstance(parsed, IPv6Address):
        return address if parsed is None else str(parsed)
    shift = 128 - IPV6_PREFIX
    return f"{IPv6Address(int(parsed) >> shift << shift)}/{IPV6_PREFIX}"


def is_tls(scope: Scope) -> bool:
    """Return whether the client uses TLS: by the scheme or the first entry of ``X-Forwarded-Proto`` (any casing).

    Each proxy appends the scheme of its own connection, so the first entry is the client's.
    """
    if scope.get("scheme") == "https":
        return True
    return next(_entries(scope, b"x-forwarded-proto"), "").lower() == "https"


def _entries(scope: Scope, header: bytes) -> Iterator[str]:
    """Yield the comma-separated entries of a header, which may occur several times."""
    for name, value in scope["headers"]:
        if name == header:
            yield from (entry.strip() for entry in value.decode("latin-1").split(",") if entry.strip())


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """Parse ``192.0.2.1``, ``192.0.2.1:443``, ``2001:db8::1`` or ``[2001:db8::1]:443``; None for anything else."""
    text = text.strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        parsed = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (parsed.ipv4_mapped or parsed) if isinstance(parsed, IPv6Address) else parsed

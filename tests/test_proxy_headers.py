"""Addresses and schemes of clients behind proxies."""

from typing import Any

import pytest

from prosperstack_destination.proxy_headers import client_address, client_network, is_tls


def scope(
    *headers: tuple[str, str], client: tuple[str, int] | None = ("10.0.0.9", 1234), scheme: str = "http"
) -> Any:
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
    return {"type": "http", "client": client, "scheme": scheme, "headers": raw}


@pytest.mark.parametrize(
    ("proxies", "forwarded", "expected"),
    [
        (0, ["203.0.113.7"], "10.0.0.9"),  # no proxy: the header is the client's own invention
        (1, [], "10.0.0.9"),
        (1, ["203.0.113.7"], "203.0.113.7"),
        (1, ["198.51.100.1, 203.0.113.7"], "203.0.113.7"),  # the left one was sent by the client
        (1, ["198.51.100.1", "203.0.113.7"], "203.0.113.7"),  # the same over two header lines
        (2, ["198.51.100.1, 203.0.113.7, 10.0.0.1"], "203.0.113.7"),
        (2, ["203.0.113.7"], "10.0.0.9"),  # too few: one proxy was bypassed
        (1, ["203.0.113.7:51234"], "203.0.113.7"),
        (1, ["[2001:db8::1]:443"], "2001:db8::1"),
        (1, ["2001:DB8::1"], "2001:db8::1"),
        (1, ["::ffff:203.0.113.7"], "203.0.113.7"),
        (1, ['"[2001:db8::1]"'], "2001:db8::1"),
        (1, ["fe80::1%eth0"], "fe80::1"),
        (1, ["unknown"], "10.0.0.9"),
        (1, ["<script>"], "10.0.0.9"),
        (1, [" , "], "10.0.0.9"),
    ],
)
def test_the_client_is_counted_from_the_right(proxies: int, forwarded: list[str], expected: str) -> None:
    """A client cannot choose its address: entries left of the trusted proxies' are ignored."""
    headers = [("X-Forwarded-For", value) for value in forwarded]

    assert client_address(scope(*headers), proxies) == expected


def test_a_unix_socket_has_no_address() -> None:
    """A connection without a peer gives "", also behind a proxy that sends nothing."""
    assert client_address(scope(client=None), 0) == ""
    assert client_address(scope(client=None), 1) == ""
    assert client_address(scope(("X-Forwarded-For", "203.0.113.7"), client=None), 1) == "203.0.113.7"


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("", ""),
        ("testclient", "testclient"),
    ],
)
def test_an_ipv6_client_is_its_network(address: str, network: str) -> None:
    """Limits count all addresses of one IPv6 network together, since a client chooses among them freely."""
    assert client_network(address) == network


@pytest.mark.parametrize(
    ("forwarded", "tls"),
    [
        ([], False),
        (["https"], True),
        (["HTTPS"], True),
        (["https,http"], True),
        (["https, http"], True),
        ([" https "], True),
        (["https", "http"], True),
        (["http"], False),
        (["http,https"], False),  # the client's own connection is the first
        ([""], False),
        (["httpsx"], False),
    ],
)
def test_the_first_scheme_is_the_clients(forwarded: list[str], tls: bool) -> None:
    """TLS counts where the client's own connection had it, in whatever casing and with however many proxies."""
    assert is_tls(scope(*[("X-Forwarded-Proto", value) for value in forwarded])) is tls


def test_the_connection_itself_may_be_tls() -> None:
    """A server that ends TLS itself needs no header."""
    assert is_tls(scope(("X-Forwarded-Proto", "http"), scheme="https"))

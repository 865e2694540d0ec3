"""Headers of responses."""

import pytest

from prosperstack_destination.http_client import retry_after_header
from prosperstack_destination.http_responses import with_security_headers


def test_own_headers_are_not_repeated() -> None:
    """A response keeps its own headers in their order; the missing ones follow."""
    own = [(b"cache-control", b"max-age=60"), (b"content-type", b"text/html"), (b"set-cookie", b"a=b")]

    headers = with_security_headers([*own, (b"set-cookie", b"c=d")])

    assert headers[:4] == [*own, (b"set-cookie", b"c=d")]
    assert [name for name, _ in headers[4:]] == [b"x-content-type-options", b"referrer-policy", b"x-frame-options"]


def test_prepared_headers_are_unchanged() -> None:
    """Prepared headers are not searched again."""
    prepared = with_security_headers([(b"content-type", b"application/json")])

    assert len(prepared) == 6
    assert with_security_headers(prepared) is prepared


@pytest.mark.parametrize(("seconds", "header"), [(0.0, "1"), (0.2, "1"), (1.0, "1"), (1.2, "2"), (59.5, "60")])
def test_retry_after_is_rounded_up(seconds: float, header: str) -> None:
    """The header never makes a client return too early."""
    assert retry_after_header(seconds) == header

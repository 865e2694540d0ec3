"""Origins of web pages."""

import pytest

from prosperstack_destination.auth.origins import MAX_ORIGINS, read_origins
from prosperstack_destination.errors import ConfigurationError


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("https://app.example.com", "https://app.example.com"),
        (" HTTPS://App.Example.com/ ", "https://app.example.com"),
        ("https://app.example.com:443", "https://app.example.com"),
        ("http://localhost:80", "http://localhost"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("https://app.example.com:8443", "https://app.example.com:8443"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("http://[::1]:8000", "http://[::1]:8000"),
        ("https://xn--mnchen-3ya.example", "https://xn--mnchen-3ya.example"),
    ],
)
def test_origin_is_normalized_as_browsers_send_it(text: str, origin: str) -> None:
    """Scheme and host become lower case; a default port and a slash are removed."""
    assert read_origins([text]) == (origin,)


@pytest.mark.parametrize(
    "text",
    [
        *("*", "null", "app.example.com", "https://", "https://*.example.com", "ftp://example.com", "file:///x"),
        *("https://example.com/path", "https://example.com?x", "https://example.com#x", "https://user@example.com"),
        *("https://example.com:x", "https://example.com:99999", "https://example.com:0", "https://exa mple.com"),
        *("https://münchen.example", "https://a\\b", "https://" + "a" * 300),
    ],
)
def test_invalid_origin_is_rejected(text: str) -> None:
    """A wildcard, a path, a host alone and the like are rejected, and the message shows the right form."""
    with pytest.raises(ConfigurationError, match=r"https://app\.example\.com"):
        read_origins([text])


def test_origins_are_unique_and_bounded() -> None:
    """Each origin counts once, empty ones do not count, and their number is bounded."""
    assert read_origins(["http://a", "", "http://A/", "http://b"]) == ("http://a", "http://b")
    with pytest.raises(ConfigurationError, match="may have 20 origins"):
        read_origins(f"http://a{number}" for number in range(MAX_ORIGINS + 1))

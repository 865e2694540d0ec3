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
def test_an_origin_is_as_browsers_send_it(text: str, origin: str) -> None:
    """The scheme and host are in lower case, a usual port is left away, and so is a slash."""
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
def test_what_is_no_origin_is_refused(text: str) -> None:
    """A wildcard, a path, a host alone and the like are refused, and the message shows the right form."""
    with pytest.raises(ConfigurationError, match=r"https://app\.example\.com"):
        read_origins([text])


def test_origins_are_kept_once_and_not_without_end() -> None:
    """Each origin counts once, empty ones not at all, and there is an end to them."""
    assert read_origins(["http://a", "", "http://A/", "http://b"]) == ("http://a", "http://b")
    with pytest.raises(ConfigurationError, match="may have 20 origins"):
        read_origins(f"http://a{number}" for number in range(MAX_ORIGINS + 1))

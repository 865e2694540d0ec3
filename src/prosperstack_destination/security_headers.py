"""The headers that keep answers safe in browsers."""

from collections.abc import Iterable, Sequence
from typing import Final

Header = tuple[bytes, bytes]

#: Of a page that sets none itself.
_OF_PAGES: Final[tuple[Header, ...]] = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cache-control", b"no-store"),
)
#: Of any other answer, from which nothing is to be loaded.
_OF_OTHERS: Final[tuple[Header, ...]] = (
    *_OF_PAGES,
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)


def with_security_headers(headers: Iterable[Header]) -> Sequence[Header]:
    """Return an answer's headers with those that keep browsers safe, unless it has set them itself.

    Headers that came out of here, as those of prepared answers, are returned as they are.
    """
    own = headers if isinstance(headers, list) else list(headers)
    if own and own[-1] is _OF_OTHERS[-1]:
        return own
    named = dict(own)
    usual = _OF_PAGES if b"text/html" in named.get(b"content-type", b"") else _OF_OTHERS
    return [*own, *(header for header in usual if header[0] not in named)]

"""Normalization of email addresses: the one form in which profiles, the directory and searches compare them."""

import re
from typing import Final

from prosperstack_destination.storable import REPLACEMENT

#: The longest email there can be (RFC 5321), in characters.
MAX_EMAIL: Final = 254
#: A name, one @, and a domain, without spaces.
_ADDRESS: Final = re.compile(r"[^@\s]+@[^@\s]+")
#: What `str.strip` takes for white space (U+00A0 among it), and characters that nobody sees: zero-width spaces and
#: joiners, byte order marks, soft hyphens and marks of writing direction, as pasted texts have them at either end.
_AROUND: Final = (
    "\t\n\v\f\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
    "\xad\u034f\u061c\u180e\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e"
    "\u2060\u2061\u2062\u2063\u2064\u2066\u2067\u2068\u2069\ufeff"
)


def trim_email(text: str) -> str:
    """Return an email without white space and invisible characters at its ends, in its own case."""
    return text.strip(_AROUND)


def normalize_email(text: str) -> str:
    """Return an email trimmed and in lower case. Safe to repeat. The text need not be an address."""
    return trim_email(text).lower()


def is_email(text: str) -> bool:
    """Whether ProsperStack can know a subscriber by a text (trimmed); whether mail reaches it is not asked."""
    return (
        len(text) <= MAX_EMAIL
        and _ADDRESS.fullmatch(text) is not None
        and text.isprintable()
        and REPLACEMENT not in text
    )

"""Normalization of emails: the form in which profiles, subscribers and searches compare them."""

import re
from typing import Final

from prosperstack_destination.storable_text import REPLACEMENT

#: The longest email (RFC 5321), in characters.
MAX_EMAIL: Final = 254
#: A name, one @, and a domain, without spaces.
_ADDRESS: Final = re.compile(r"[^@\s]+@[^@\s]+")
#: White space as `str.strip` defines it (with U+00A0), and invisible characters: zero-width spaces and joiners,
#: byte order marks, soft hyphens and marks of writing direction. Pasted text has them at its ends.
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
    """Return whether a trimmed text can be a subscriber's email. Deliverability is not checked."""
    return (
        len(text) <= MAX_EMAIL
        and _ADDRESS.fullmatch(text) is not None
        and text.isprintable()
        and REPLACEMENT not in text
    )

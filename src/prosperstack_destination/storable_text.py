"""Text that both databases can store. All input passes through these functions.

PostgreSQL keeps no U+0000 in text, and neither engine keeps half a surrogate pair, though JSON and YAML can spell
both. Each becomes U+FFFD, as in a decoder of invalid UTF-8: the rest of the text is kept, and both engines store
the same. Input means calls, ProsperStack's and Segment's responses, imported files, mappings, results of
expressions, paths and queries.
"""

import re
from typing import Final

from pydantic import JsonValue

#: Replacement of a character that cannot be stored.
REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"
#: The largest numbers of a column with 32 bits and of one with 64.
MAX_INT32: Final = 2**31 - 1
MAX_INT64: Final = 2**63 - 1

_UNSTORABLE: Final = re.compile("[\0\ud800-\udfff]")
#: The escapes in JSON text that may spell such a character.
_SUSPECT: Final = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")
#: A whole pair, half a pair or U+0000, or any other escape: an escaped backslash must not begin a match.
_ESCAPE: Final = re.compile(
    rb"(?P<pair>\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    rb"|(?P<unstorable>\\u(?:0000|[dD][89a-fA-F][0-9a-fA-F]{2}))"
    rb"|\\.",
    re.DOTALL,
)


def storable_text(text: str) -> str:
    """Return a text with U+FFFD for each U+0000 and each lone half of a surrogate pair; two halves are joined."""
    if _UNSTORABLE.search(text) is None:
        return text
    joined = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return joined.replace("\0", REPLACEMENT)


def storable_json(text: bytes) -> bytes:
    """Return JSON text without escapes of unstorable characters, and otherwise unchanged."""
    if b"\\" not in text or _SUSPECT.search(text) is None:
        return text
    return _ESCAPE.sub(lambda match: rb"\ufffd" if match["unstorable"] else match[0], text)


def storable(value: JsonValue) -> JsonValue:
    """Return a JSON value whose texts, names included, can be stored. The caller bounds the nesting."""
    if isinstance(value, str):
        return storable_text(value)
    if isinstance(value, list):
        return [storable(each) for each in value]
    if isinstance(value, dict):
        return {storable_text(name): storable(each) for name, each in value.items()}
    return value

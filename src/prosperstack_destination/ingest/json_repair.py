"""Repair of bodies that are JSON but for what a sender's encoder does wrong.

Nothing here runs for a body that parses. Escapes are seen to by `storable`.
"""

import codecs
import re
from typing import Final

#: How UTF-8 would write a surrogate, if it did: Java's "modified UTF-8" and Python's ``surrogatepass`` do.
_RAW_SURROGATE: Final = re.compile(rb"\xed[\xa0-\xbf]")


def repair(body: bytes) -> bytes:
    """Return a body without a byte order mark, with raw surrogates joined to pairs, or replaced by U+FFFD.

    A body with other faults comes back as it is: what is no UTF-8 is not guessed at.
    """
    body = body.removeprefix(codecs.BOM_UTF8)
    if _RAW_SURROGATE.search(body) is None:
        return body
    try:
        text = body.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return body
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()

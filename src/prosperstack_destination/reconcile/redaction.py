"""Redaction of errors' texts, such as ProsperStack's reasons for rejections: no emails and no sent values."""

import re
from collections.abc import Collection, Iterable
from typing import Final

from pydantic import JsonValue

from prosperstack_destination.errors import DestinationError, ProsperStackError
from prosperstack_destination.store.json_codec import dump

#: Longest text that is kept, in characters.
MAX_LENGTH: Final = 200
#: Placeholder for what is removed.
ELLIPSIS: Final = "…"

_EMAIL: Final = re.compile(r"""[^\s@"'`<>(),:;]+@[^\s@"'`<>(),:;]+""")
#: Text between two quotation marks that are not apostrophes.
_QUOTED: Final = re.compile(r"""(?<!\w)(["'`])(.*?)\1(?!\w)""", re.DOTALL)


def redact(text: str, values: Iterable[JsonValue], keys: Collection[str]) -> str:
    """Return a text cut to `MAX_LENGTH`, without emails, the sent values, and quotations except property keys.

    A number or name of ProsperStack's own stays: it could equal a sent value only by chance.
    """
    if not text:  # the usual case: skip compiling a pattern for each value
        return text
    text = _EMAIL.sub(ELLIPSIS, text)
    texts = {each if isinstance(each, str) else dump(each) for each in values if not isinstance(each, bool | None)}
    for value in sorted(texts - {""}, key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(value)}(?!\w)", ELLIPSIS, text, flags=re.IGNORECASE)
    text = _QUOTED.sub(lambda found: found[0] if found[2] in keys else f"{found[1]}{ELLIPSIS}{found[1]}", text)
    return text if len(text) <= MAX_LENGTH else text[: MAX_LENGTH - 1] + ELLIPSIS


def reason_of(error: Exception) -> str:
    """Return an error's text for logs and for rows that outlive a person, without personal data."""
    if isinstance(error, ProsperStackError):
        return redact(str(error), (), ())
    return str(error) if isinstance(error, DestinationError) else f"{type(error).__name__} (see the log)"

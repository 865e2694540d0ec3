"""ProsperStack's words about a request, without anybody's data: they may quote what was sent."""

import re
from collections.abc import Collection, Iterable
from typing import Final

from pydantic import JsonValue

from prosperstack_destination.errors import DestinationError, ProsperStackError
from prosperstack_destination.store.json_codec import dump

#: So much of what it says is kept, in characters.
WORDS: Final = 200
#: Stands for what is left out.
DOTS: Final = "…"

_EMAIL: Final = re.compile(r"""[^\s@"'`<>(),:;]+@[^\s@"'`<>(),:;]+""")
#: Between two quotation marks, which are no apostrophes.
_QUOTED: Final = re.compile(r"""(?<!\w)(["'`])(.*?)\1(?!\w)""", re.DOTALL)


def redact(words: str, values: Iterable[JsonValue], keys: Collection[str]) -> str:
    """What was said, cut: without email addresses, the values that were sent, and what is quoted but property keys.

    A number or a name that ProsperStack makes up by itself stays: it would have to be somebody's by chance.
    """
    words = _EMAIL.sub(DOTS, words)
    texts = {each if isinstance(each, str) else dump(each) for each in values if not isinstance(each, bool | None)}
    for text in sorted(texts - {""}, key=len, reverse=True):
        words = re.sub(rf"(?<!\w){re.escape(text)}(?!\w)", DOTS, words, flags=re.IGNORECASE)
    words = _QUOTED.sub(lambda found: found[0] if found[2] in keys else f"{found[1]}{DOTS}{found[1]}", words)
    return words if len(words) <= WORDS else words[: WORDS - 1] + DOTS


def reason_of(error: Exception) -> str:
    """Return an error in words, for logs and for what outlives a person: without data of ProsperStack's or ours."""
    if isinstance(error, ProsperStackError):
        return redact(str(error), (), ())
    return str(error) if isinstance(error, DestinationError) else f"{type(error).__name__} (see the log)"

"""Texts: changes of case, parts, masks and hashes, in bounded size."""

import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final

import re2

from prosperstack_destination.mapping.coercion import CoercionError

#: Longest text that a function or a transform makes, in characters: the size limit of a call.
MAX_TEXT: Final = 64 * 1024
#: Longest regular expression, in characters.
MAX_PATTERN: Final = 200
#: Memory of one compiled regular expression, in bytes.
_PATTERN_BYTES: Final = 1 << 20
#: Characters that a mask leaves by default.
MASK_KEEPS: Final = 4
#: Ways to hash a text.
HASHES: Final = ("sha256", "hmac", "sha1", "md5")

_LETTER: Final = "[^\\W\\d_][\u0300-\u036f]*"
_APOSTROPHE: Final = "['\u2019]"
_WORD: Final = re.compile(rf"(?<![^\W_])(?:{_LETTER})+(?:(?:{_APOSTROPHE}|-)(?:{_LETTER})+)*")
#: Words with a second capital after their prefix: O'Brien, D'Angelo, McDonald; not I'll or john's.
_PREFIXED: Final = re.compile(rf"((?:{_LETTER}{_APOSTROPHE}|mc)(?=(?:{_LETTER}){{3}}))(.*)", re.IGNORECASE)
#: Minimum number of letters of a word in capitals that is titled; shorter ones are abbreviations (e.g. IBM).
_MIN_ALL_CAPS: Final = 4
_TRUE: Final = frozenset(
    {"true", "t", "yes", "y", "on", "1", "x", "ja", "oui", "si", "s\N{LATIN SMALL LETTER I WITH ACUTE}"}
)
_FALSE: Final = frozenset({"false", "f", "no", "n", "off", "0", "nein", "non"})
_ALPHANUMERIC: Final = re.compile(r"[^\W_]")


def titled(text: str) -> str:
    """Return a text with each word capitalized."""
    return _WORD.sub(lambda found: _titled_word(found[0]), text)


def _titled_word(word: str) -> str:
    """Return a word with each hyphenated part capitalized; longer words in capitals become lower case."""
    if word.isalpha() and word.islower() and not word.startswith("mc"):  # the common case, kept short
        return _with_capital(word)
    shouted = _is_shouted(word)
    parts = [part.lower() if shouted or _is_shouted(part) else part for part in word.split("-")]
    return "-".join(_titled_part(part) for part in parts)


def _titled_part(part: str) -> str:
    found = _PREFIXED.fullmatch(part)
    if found is None or (found[1].lower() == "mc" and not part.islower()):
        return _with_capital(part)
    return _with_capital(found[1]) + _with_capital(found[2])


def _with_capital(text: str) -> str:
    return text[:1].title() + text[1:]


def _is_shouted(word: str) -> bool:
    return word.isupper() and sum(map(str.isalpha, word)) >= _MIN_ALL_CAPS


def replace_text(text: str, old: str, new: str, max_count: int = -1) -> str:
    """Return a text with the first ``max_count`` occurrences of a part replaced; a negative number replaces all.

    Raises `CoercionError` if it gets too long.
    """
    if not old:
        return text
    count = text.count(old)
    _check_length(len(text) + (count if max_count < 0 else min(count, max_count)) * (len(new) - len(old)))
    return text.replace(old, new, max_count)


def replace_all(table: Mapping[str, str], text: str) -> str:
    """Return a text with the parts of a table replaced, one after the other. Raises `CoercionError`."""
    for old, new in table.items():
        text = replace_text(text, old, new)
    return text


def split_text(text: str, separator: str) -> list[str]:
    """Return the parts of a text, trimmed, without empty ones."""
    parts = text.split(separator) if separator else list(text)
    return [part.strip() for part in parts if part and not part.isspace()]


def pad(text: str, width: int, fill: str = " ", *, left: bool) -> str:
    """Return a text, padded to at least ``width`` characters. Raises `CoercionError`."""
    if len(fill) != 1:
        raise CoercionError("the padding has to be one character")
    _check_length(width)
    return text.rjust(width, fill) if left else text.ljust(width, fill)


def mask(text: str, keep: int = MASK_KEEPS) -> str:
    """Return a text with an asterisk for each letter and digit but the last ones; of a short text none is left."""
    hidden = sum(1 for _ in _ALPHANUMERIC.finditer(text))
    left = hidden - keep if hidden >= 2 * keep else hidden
    return _ALPHANUMERIC.sub("*", text, count=left) if left else text


def hash_text(text: str, method: str, secret: bytes) -> str:
    """Return a hash in hexadecimal digits; ``secret`` is the account's, for ``hmac``. Raises `CoercionError`."""
    content = text.encode()
    if method == "hmac":
        return hmac.new(secret, content, hashlib.sha256).hexdigest()
    if method not in HASHES:
        raise CoercionError(f"there is no hash {method[:20]!r}: write {', '.join(HASHES)}")
    return hashlib.new(method, content, usedforsecurity=False).hexdigest()


def yes_or_no(value: Any) -> bool:
    """Return the boolean that a word or a number means. Raises `CoercionError`."""
    if isinstance(value, bool):
        return value
    word = value.strip().lower() if isinstance(value, str) else str(value)
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    raise CoercionError("the value is neither yes nor no: map other words with a lookup table (`values`)")


@lru_cache(maxsize=512)
def compile_pattern(pattern: str) -> Any:
    """Return a regular expression of RE2, which takes linear time. Raises `CoercionError`."""
    if len(pattern) > MAX_PATTERN:
        raise CoercionError(f"the regular expression has more than {MAX_PATTERN} characters")
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _PATTERN_BYTES
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0] if error.args else ""
        text = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
        raise CoercionError(f"the regular expression is not valid in RE2: {text}") from None


def matches(text: str, pattern: str) -> bool:
    """Return whether a regular expression occurs in a text. Raises `CoercionError`."""
    return compile_pattern(pattern).search(text) is not None


def extract(text: str, pattern: str, group: int = 0) -> str | None:
    """Return a group of the first match, 0 for the whole match; None without one. Raises `CoercionError`."""
    compiled = compile_pattern(pattern)
    if not 0 <= group <= compiled.groups:
        raise CoercionError(f"the regular expression has no group {group}")
    found = compiled.search(text)
    return None if found is None else found[group]


def substitute(text: str, pattern: str, replacement: str) -> str:
    r"""Return a text with each match replaced; ``\1`` is the first group. Raises `CoercionError`."""
    compiled = compile_pattern(pattern)
    parts: list[str] = []
    length, end = 0, 0
    expand = _expander(replacement, compiled.groups)
    for found in compiled.finditer(text):
        new = [text[end : found.start()], expand(found)]
        length += sum(map(len, new))
        _check_length(length)
        parts += new
        end = found.end()
    return "".join([*parts, text[end:]])


def _expander(replacement: str, groups: int) -> Callable[[Any], str]:
    """Return a function that fills the groups of a match into a replacement. Raises `CoercionError`."""
    pieces = re.split(r"\\(\d)", replacement)
    if any(int(number) > groups for number in pieces[1::2]):
        raise CoercionError("the replacement names a group that the regular expression does not have")

    def expand(found: Any) -> str:
        return "".join((found[int(piece)] or "") if place % 2 else piece for place, piece in enumerate(pieces))

    return expand


def _check_length(length: int) -> None:
    if length > MAX_TEXT:
        raise CoercionError("the text would be too long")

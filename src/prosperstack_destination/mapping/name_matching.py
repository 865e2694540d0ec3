"""Names: compared forgivingly, compared by likeness, and made for new properties."""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from rapidfuzz import fuzz, process
from rapidfuzz.distance import JaroWinkler

#: Names whose forgiving form is kept, of all accounts together.
_FORGIVEN: Final = 16_384
#: Names that are less alike than this are not suggested, of 100.
MIN_SIMILARITY: Final = 62.0
#: A property's key has at most so many characters.
MAX_KEY: Final = 100

_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_NO_WORD: Final = re.compile(r"[\W_]+")
#: Words that say nothing in a name, and words for the same.
_SMALL: Final = frozenset({"a", "an", "the", "of", "is", "has", "at", "on", "date", "time", "customer", "user"})
_SAME: Final = {"number": "count", "num": "count", "no": "count", "qty": "count", "total": "count", "mail": "email"}
_NO_KEY: Final = re.compile(r"[^a-z0-9]+")


@lru_cache(maxsize=_FORGIVEN)
def normalize(name: str) -> str:
    """A name without what forgiving matching does not look at: case, spaces and underscores."""
    return "".join(name.casefold().replace("_", "").split())


def closest(word: str, known: Iterable[str], least: float = MIN_SIMILARITY) -> str | None:
    """The known word that a misspelt one most likely stands for, or None."""
    options = {each: each.casefold() for each in sorted(known)}
    found = process.extractOne(
        word.casefold(), options, scorer=JaroWinkler.normalized_similarity, score_cutoff=least / 100
    )
    return None if found is None else str(found[2])


def similarity(trait: str, name: str) -> float:
    """How alike the names of a trait and a property are, of 100: words count, their order and form do not."""
    one, other = _said(trait), _said(name)
    if not one or not other:
        return 0.0
    whole = fuzz.ratio(one.replace(" ", ""), other.replace(" ", ""))
    return max(whole, 0.95 * fuzz.token_sort_ratio(one, other), 0.9 * fuzz.token_set_ratio(one, other))


@lru_cache(maxsize=_FORGIVEN)
def words(name: str) -> str:
    """The words of a name in lower case: ``lastContacted`` and ``last_contacted`` are the same."""
    return _NO_WORD.sub(" ", _CAMEL.sub(" ", name)).strip().casefold()


@lru_cache(maxsize=_FORGIVEN)
def _said(name: str) -> str:
    """What the words of a name say: without small words, plurals, and the many words for a number."""
    said = [_SAME.get(word, word) for word in words(name).split()]
    kept = [word.removesuffix("s") if len(word) > len("ids") else word for word in said if word not in _SMALL]
    return " ".join(kept or said)


def property_key(name: str) -> str:
    """The key that ProsperStack would make of a name, as ``number_of_contacts``; "" where nothing is left."""
    return _NO_KEY.sub("_", words(name)).strip("_")[:MAX_KEY].strip("_")


def property_name(trait: str) -> str:
    """What to call a property that is made for a trait: its key or its name is the trait's, so that they match.

    As ``Number of contacts`` for ``number_of_contacts``; other names than keys stay as they are.
    """
    if property_key(trait) != trait:
        return trait
    spoken = words(trait)
    return spoken[:1].upper() + spoken[1:]

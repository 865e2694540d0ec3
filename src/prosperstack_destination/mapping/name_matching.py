"""Names of traits and properties: normalization, similarity, and names for new properties."""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from rapidfuzz import fuzz, process
from rapidfuzz.distance import JaroWinkler

#: Size of each cache of names, shared by all accounts.
_CACHE_SIZE: Final = 16_384
#: Least similarity of a suggested name, from 0 to 100.
MIN_SIMILARITY: Final = 62.0
#: Longest key of a property, in characters.
MAX_KEY: Final = 100

_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_SEPARATORS: Final = re.compile(r"[\W_]+")
#: Words without meaning in a name.
_STOP_WORDS: Final = frozenset(
    {"a", "an", "the", "of", "is", "has", "at", "on", "date", "time", "customer", "user"}
)
#: Synonyms, each with the word that replaces it.
_SYNONYMS: Final = {
    "number": "count",
    "num": "count",
    "no": "count",
    "qty": "count",
    "total": "count",
    "mail": "email",
}
_NOT_IN_KEYS: Final = re.compile(r"[^a-z0-9]+")


@lru_cache(maxsize=_CACHE_SIZE)
def normalize(name: str) -> str:
    """Return a name without case, spaces and underscores, as forgiving matching compares it."""
    return "".join(name.casefold().replace("_", "").split())


def closest(word: str, known: Iterable[str], min_similarity: float = MIN_SIMILARITY) -> str | None:
    """Return the known word that is most similar to a misspelt one, or None."""
    options = {name: name.casefold() for name in sorted(known)}
    found = process.extractOne(
        word.casefold(), options, scorer=JaroWinkler.normalized_similarity, score_cutoff=min_similarity / 100
    )
    if found is not None:
        return str(found[2])
    # a word of the name, as categories of required_categories
    return next((name for name, folded in options.items() if word.casefold() in folded.split("_")), None)


def similarity(trait: str, name: str) -> float:
    """Return the similarity of two names from 0 to 100; the order and the form of their words do not count."""
    one, other = _significant_words(trait), _significant_words(name)
    if not one or not other:
        return 0.0
    whole = fuzz.ratio(one.replace(" ", ""), other.replace(" ", ""))
    return max(whole, 0.95 * fuzz.token_sort_ratio(one, other), 0.9 * fuzz.token_set_ratio(one, other))


@lru_cache(maxsize=_CACHE_SIZE)
def words(name: str) -> str:
    """Return the words of a name in lower case; ``lastContacted`` and ``last_contacted`` give the same words."""
    return _SEPARATORS.sub(" ", _CAMEL.sub(" ", name)).strip().casefold()


@lru_cache(maxsize=_CACHE_SIZE)
def _significant_words(name: str) -> str:
    """Return the significant words of a name: without stop words and plurals, and with synonyms replaced."""
    spelled = [_SYNONYMS.get(word, word) for word in words(name).split()]
    kept = [
        word.removesuffix("s") if len(word) > len("ids") else word for word in spelled if word not in _STOP_WORDS
    ]
    return " ".join(kept or spelled)


def property_key(name: str) -> str:
    """Return the key that ProsperStack makes of a name (e.g. ``number_of_contacts``); "" without characters."""
    return _NOT_IN_KEYS.sub("_", words(name)).strip("_")[:MAX_KEY].strip("_")


def property_name(trait: str) -> str:
    """Return the name of a property that is created for a trait, so that its key or its name matches the trait.

    The name for ``number_of_contacts`` is ``Number of contacts``. A trait that is not a key keeps its name.
    """
    if property_key(trait) != trait:
        return trait
    spaced = words(trait)
    return spaced[:1].upper() + spaced[1:]

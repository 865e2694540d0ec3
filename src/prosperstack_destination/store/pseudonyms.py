"""Pseudonyms of people in the activity feed: short keyed hashes, useless without SECRET_KEY."""

from collections.abc import Callable
from typing import Final

from prosperstack_destination.store.identities import Key

#: Keyed hash of an ID or an email: see `auth.vault.Vault.pseudonym`.
Pseudonym = Callable[[str], str]

#: Length of a pseudonym in characters: enough to distinguish people.
SUBJECT_LENGTH: Final = 12


def of_email(pseudonym: Pseudonym, email: str) -> str:
    """Return the pseudonym of an email (trimmed, in lower case)."""
    return pseudonym(f"feed:{email}")[:SUBJECT_LENGTH]


def of_id(pseudonym: Pseudonym, key: Key) -> str:
    """Return the pseudonym of an external ID."""
    kind, external_id = key
    return pseudonym(f"feed {kind}:{external_id}")[:SUBJECT_LENGTH]

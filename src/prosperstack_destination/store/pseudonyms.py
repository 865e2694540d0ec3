"""Pseudonyms of people: keyed hashes, useless without SECRET_KEY, in the activity feed and in tombstones."""

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


def subject_of_id(key: Key) -> str:
    """Return the text that the pseudonym of an external ID is made of."""
    kind, external_id = key
    return f"{kind}:{external_id}"


def subject_of_email(email: str) -> str:
    """Return the text that the pseudonym of an email is made of."""
    return f"email:{email}"

"""What stands for people in what is shown of the work: keyed hashes, short, and of no use without SECRET_KEY."""

from collections.abc import Callable
from typing import Final

from prosperstack_destination.store.identities import Key

#: A keyed hash that stands for an id or an email: see `auth.vault.Vault.pseudonym`.
Pseudonym = Callable[[str], str]

#: What stands for a person has so many characters: enough to tell people apart.
SUBJECT_LENGTH: Final = 12


def of_email(pseudonym: Pseudonym, email: str) -> str:
    """What stands for a person by their email (trimmed, in lower case)."""
    return pseudonym(f"feed:{email}")[:SUBJECT_LENGTH]


def of_id(pseudonym: Pseudonym, key: Key) -> str:
    """What stands for a person by an id."""
    kind, external_id = key
    return pseudonym(f"feed {kind}:{external_id}")[:SUBJECT_LENGTH]

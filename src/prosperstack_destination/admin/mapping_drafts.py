"""The draft of an account's next mapping, which operators share: find, save, discard, and count its changes."""

from dataclasses import dataclass
from functools import lru_cache

from sqlalchemy import Connection

from prosperstack_destination.admin.mapping import text_of
from prosperstack_destination.mapping.mapping_file import InvalidMapping, read_mapping
from prosperstack_destination.mapping.rules import load_rules
from prosperstack_destination.store import mapping_drafts, mappings
from prosperstack_destination.store.accounts import Account
from prosperstack_destination.store.mapping_drafts import StoredDraft


@dataclass(frozen=True, slots=True)
class DraftSummary:
    """A stored draft, with the extent of its changes."""

    stored: StoredDraft
    #: Rules and options that differ from the current mapping; None if the draft has errors.
    changes: int | None


def find(connection: Connection, account: Account) -> StoredDraft | None:
    """Return the account's draft, or None."""
    return mapping_drafts.find(connection, account.id)


def save(
    connection: Connection, account: Account, based_on: int, text: str, author: str, now: int, revision: int | None
) -> StoredDraft | None:
    """Save a text as the account's draft and return it; discard the draft if the text is the current mapping's.

    Returns a draft of revision 0 if none is stored, and None if another revision than ``revision`` is stored: then
    nothing is saved. ``revision`` None saves over any.
    """
    current = mappings.current(connection, account.id)
    known = mapping_drafts.find(connection, account.id)
    if text != text_of(current):
        return mapping_drafts.save(connection, account.id, based_on, text, author, now, revision)
    if known is not None and revision is not None and revision != known.revision:
        return None
    mapping_drafts.discard(connection, account.id)
    return StoredDraft(0, current.version, text, author, now)


def discard(connection: Connection, account: Account) -> None:
    """Discard the account's draft. Safe to repeat."""
    mapping_drafts.discard(connection, account.id)


def summary(connection: Connection, account: Account) -> DraftSummary | None:
    """Return the account's draft with its changes, or None."""
    stored = mapping_drafts.find(connection, account.id)
    if stored is None:
        return None
    return DraftSummary(stored, _count_changes(stored.source, mappings.current(connection, account.id).rules))


@lru_cache(maxsize=32)  # reading a long file takes longer than the rest of a page
def _count_changes(text: str, current: str) -> int | None:
    """Return the number of rules and options that differ from the current ones; None for a text with errors."""
    before = load_rules(current)
    try:
        after = read_mapping(text).rules
    except InvalidMapping:
        return None
    old, new = before.by_property(), after.by_property()
    rules = sum(old.get(key) != new.get(key) for key in old.keys() | new.keys())
    options = (name for name in type(before).model_fields if name != "rules")
    changed = [name for name in options if getattr(before, name) != getattr(after, name)]
    return rules + len(changed)

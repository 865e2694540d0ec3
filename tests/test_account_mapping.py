"""Applying and rolling back mappings."""

import pytest
from sqlalchemy import Connection

from prosperstack_destination import account_mapping
from prosperstack_destination.account_mapping import ApplyResult
from prosperstack_destination.errors import InvalidInput, MappingConflict
from prosperstack_destination.mapping.rules import Rules, load_rules
from prosperstack_destination.store import accounts, activity, mappings
from prosperstack_destination.store.database import Database
from support.accounts import open_account
from support.clocks import NEW_YEAR

pytestmark = pytest.mark.anyio

ONE = Rules.model_validate({"rules": [{"property": "plan", "from": "traits.a"}]})
TWO = Rules.model_validate({"rules": [{"property": "plan", "from": "traits.b"}]})


def apply(
    connection: Connection,
    rules: Rules,
    author: str = "ann",
    source: str | None = None,
    based_on: int | None = None,
) -> ApplyResult:
    account = accounts.get(connection, "acct_1")
    assert account is not None
    return account_mapping.apply(
        connection, account, rules, author=author, now=NEW_YEAR, source=source, based_on=based_on
    )


def rollback(connection: Connection, version: int | None = None) -> ApplyResult:
    account = accounts.get(connection, "acct_1")
    assert account is not None
    return account_mapping.rollback(connection, account, version, author="bob", now=NEW_YEAR + 1)


async def test_every_mapping_version_is_kept(database: Database) -> None:
    """Each applied mapping is a version with author, time and file; the audit log has an entry."""
    await database.write(open_account)
    await database.write(apply, ONE, "ann", "# why\nrules: …")
    second = await database.write(apply, TWO, "bob")

    newest, oldest = await database.read(mappings.history, "acct_1", 10)
    assert (second.mapping.version, second.replaced.version) == (2, 1)
    assert (newest.version, newest.author, load_rules(newest.rules)) == (2, "bob", TWO)
    assert (oldest.author, oldest.applied_at, oldest.source) == ("ann", NEW_YEAR, "# why\nrules: …")
    trail = await database.read(activity.recent_actions, "acct_1", 10)
    assert [(each.actor, each.action) for each in trail] == [("bob", "apply mapping"), ("ann", "apply mapping")]


async def test_conflicting_apply_is_rejected(database: Database) -> None:
    """Applying on a version that is not current any more names the author of the current one."""
    await database.write(open_account)
    await database.write(apply, ONE, "ann", based_on=0)

    with pytest.raises(MappingConflict, match="Version 1 is in force, applied by ann") as conflict:
        await database.write(apply, TWO, "bob", based_on=0)

    assert (conflict.value.version, conflict.value.based_on) == (1, 0)
    assert (await database.read(mappings.current, "acct_1")).author == "ann"
    assert (await database.write(apply, TWO, "bob", based_on=1)).mapping.version == 2


async def test_applying_unchanged_rules_does_nothing(database: Database) -> None:
    """Unchanged rules in the same file are no new version; another comment is one, without a remap."""
    await database.write(open_account)
    await database.write(apply, ONE, "ann", "rules: …")

    again = await database.write(apply, ONE, "bob", "rules: …")
    commented = await database.write(apply, ONE, "bob", "# why\nrules: …")

    assert (again.mapping.version, again.mapping.author, again.changed) == (1, "ann", False)
    assert (commented.mapping.version, commented.changed, commented.profiles) == (2, False, 0)


async def test_rollback_applies_an_earlier_version(database: Database) -> None:
    """A rollback applies the rules and the file of an earlier version, as a new one."""
    await database.write(open_account)
    await database.write(apply, ONE, "ann", "# one")
    await database.write(apply, TWO, "ann", "# two")

    back = await database.write(rollback)
    forth = await database.write(rollback, 2)
    to_none = await database.write(rollback, 0)

    assert (back.mapping.version, back.mapping.source, back.mapping.note) == (3, "# one", "back to version 1")
    assert (forth.mapping.version, load_rules(forth.mapping.rules)) == (4, TWO)
    assert len(load_rules(to_none.mapping.rules)) == 0
    for version in (9, 5):
        with pytest.raises(InvalidInput, match=f"no version {version} to roll back to"):
            await database.write(rollback, version)


async def test_rollback_without_versions_is_rejected(database: Database) -> None:
    """Where no mapping was ever applied there is no version to roll back to."""
    await database.write(open_account)

    with pytest.raises(InvalidInput, match="no version -1"):
        await database.write(rollback)

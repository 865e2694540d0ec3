"""Putting mappings in force: every one is kept, and nobody undoes by accident what somebody else did."""

from dataclasses import dataclass

from pydantic import JsonValue
from sqlalchemy import Connection

from prosperstack_destination.accounts.catalogs import load_catalog
from prosperstack_destination.clock import SECOND
from prosperstack_destination.errors import ConfigurationError, MappingConflict
from prosperstack_destination.mapping.file import InvalidMapping, KnownProperties, ParsedMapping
from prosperstack_destination.mapping.rules import CreateMissing, Rules, dump_rules, load_rules
from prosperstack_destination.state import accounts, auditing, mappings, reprojections
from prosperstack_destination.state.accounts import Account
from prosperstack_destination.state.mappings import MappingVersion


@dataclass(frozen=True, slots=True)
class ApplyResult:
    """What came of applying a mapping."""

    mapping: MappingVersion
    #: What was in force before.
    replaced: MappingVersion
    #: The rules are others than before; if not, nothing has to be looked at again.
    changed: bool
    #: Profiles that are gone through in the background.
    profiles: int


def known_properties(account: Account, now: int) -> KnownProperties:
    """The properties that an account has, as far as they are listed, and how old the list is at a time."""
    return KnownProperties(
        None if account.catalog is None else load_catalog(account.catalog),
        None if account.subscription_catalog is None else load_catalog(account.subscription_catalog),
        None if account.catalog_at is None else (now - account.catalog_at) / SECOND,
    )


def reject_unknown(read: ParsedMapping) -> None:
    """Raise `BadMapping` for rules whose properties the account does not have."""
    if read.unknown:
        raise InvalidMapping(read.unknown)


def apply(
    connection: Connection,
    account: Account,
    rules: Rules,
    *,
    author: str,
    now: int,
    source: str | None = None,
    based_on: int | None = None,
    note: str = "",
) -> ApplyResult:
    """Put rules in force. Repeated with the same rules and the same file: nothing happens.

    Raises `MappingConflict` where another version than ``based_on`` is in force (None: whichever is).
    """
    current = mappings.current(connection, account.id)
    if based_on is not None and based_on != current.version:
        raise MappingConflict(based_on=based_on, version=current.version, author=current.author)
    text = dump_rules(rules)
    changed = load_rules(current.rules) != rules
    if not changed and current.version and (source is None or source == current.source):
        return ApplyResult(current, current, changed=False, profiles=0)
    profiles = reprojections.begin(connection, account.id, now) if changed else 0
    mapping = MappingVersion(current.version + 1, text, author, now, source, note)
    mappings.add(connection, account.id, mapping)
    asks = rules.for_subscriptions or rules.create_missing is not CreateMissing.NONE
    if changed and asks and account.catalog is not None:
        accounts.expire_catalog(connection, account.id)  # what they ask for begins with a look at the properties
    details: dict[str, JsonValue] = {
        "version": mapping.version,
        "rules": len(rules),
        "profiles": profiles,
        "note": note,
    }
    auditing.record(connection, account.id, now, actor=author, action="apply mapping", details=details)
    return ApplyResult(mapping, current, changed, profiles)


def rollback(
    connection: Connection,
    account: Account,
    version: int | None,
    *,
    author: str,
    now: int,
    based_on: int | None = None,
) -> ApplyResult:
    """Put an earlier version in force again, as a new one; by default the one before.

    Raises `Misconfigured` where there is no such version, and `MappingConflict` as `apply` does.
    """
    current = mappings.current(connection, account.id)
    if version is None:
        version = current.version - 1
    found = mappings.of_version(connection, account.id, version) if version >= 0 else None
    if found is None or version == current.version:
        raise ConfigurationError(
            f"There is no version {version} to go back to: `mappings history` shows those there are."
        )
    return apply(
        connection,
        account,
        load_rules(found.rules),
        author=author,
        now=now,
        source=found.source,
        based_on=based_on,
        note=f"back to version {version}",
    )

"""What traits mean to an account: its catalog and its rules, from the database."""

from collections.abc import Awaitable, Callable, Iterable, Set
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Final

from pydantic import JsonValue, TypeAdapter
from sqlalchemy import Connection

from prosperstack_destination.clock import SECOND
from prosperstack_destination.errors import ConfigurationError, MappingConflict
from prosperstack_destination.mapping.catalog import Catalog, Property, PropertyType
from prosperstack_destination.mapping.compiled_mapping import CompiledMapping
from prosperstack_destination.mapping.expression_runner import MappingInput
from prosperstack_destination.mapping.mapping_file import InvalidMapping, KnownProperties, ParsedMapping
from prosperstack_destination.mapping.rules import CreateMissing, Rules, dump_rules, load_rules
from prosperstack_destination.prosperstack.client import ProsperStackClient, all_items
from prosperstack_destination.prosperstack.models import Page, PropertyDefinition
from prosperstack_destination.store import accounts, audit_log, mappings, remap_progress, sources
from prosperstack_destination.store.accounts import Account
from prosperstack_destination.store.database import UnitOfWork
from prosperstack_destination.store.mappings import MappingVersion
from prosperstack_destination.store.merge import Reads, reads_none
from prosperstack_destination.store.models import Profile

#: Meanings that are kept ready, of all accounts together.
READY: Final = 128


@dataclass(frozen=True, slots=True)
class AccountMapping:
    """What traits mean, at one time."""

    catalog: Catalog
    #: The properties of subscriptions, where a rule asks for them.
    subscription_catalog: Catalog
    rules: Rules
    #: The version of the rules; 0: none were ever applied.
    version: int
    #: The traits that are Engage's audiences.
    audiences: Set[str]
    #: The same, ready to map people.
    compiled: CompiledMapping

    def with_rules(self, rules: Rules) -> CompiledMapping:
        """What other rules would make of it."""
        return CompiledMapping(
            self.catalog, rules, subscription=self.subscription_catalog, audiences=self.audiences
        )


def load(connection: Connection, account: Account) -> AccountMapping:
    """What traits mean to an account now. Made ready once for as long as nothing changes: ask for each person."""
    mapping = mappings.current(connection, account.id)
    audiences = sources.audiences(connection, account.id)
    return build(account.catalog, account.subscription_catalog, mapping.rules, mapping.version, audiences)


def reads_of(connection: Connection, account_id: str) -> Reads:
    """Which traits the properties and rules of an account read."""
    account = accounts.get(connection, account_id)
    return reads_none if account is None else load(connection, account).compiled.reads


@lru_cache(maxsize=READY)
def build(
    catalog: str | None, subscription: str | None, rules: str, version: int, audiences: frozenset[str]
) -> AccountMapping:
    """What traits mean, from how it is stored."""
    known, theirs, loaded = load_catalog(catalog), load_catalog(subscription), load_rules(rules)
    plan = CompiledMapping(known, loaded, subscription=theirs, audiences=audiences)
    return AccountMapping(known, theirs, loaded, version, audiences, plan)


def mapping_input(profile: Profile) -> MappingInput:
    """A profile as the mapping sees it."""
    return MappingInput(profile.values(), profile.user_id, profile.anonymous_id)


_STORED = TypeAdapter(list[Property])
_TYPES = frozenset(PropertyType)


async def fetch_catalog(
    fetch: Callable[[str | None], Awaitable[Page[PropertyDefinition]]], entity: str = "subscriber"
) -> Catalog:
    """List all of an account's properties of subscribers or subscriptions; ``fetch`` gets the page at a cursor."""
    return catalog_of(await all_items(fetch), entity)


def catalog_of(properties: Iterable[PropertyDefinition], entity: str = "subscriber") -> Catalog:
    """The catalog of what was listed: the properties of subscribers or of subscriptions."""
    # A type that ProsperStack adds one day is not ours to guess at: such a property is left alone.
    return Catalog(
        Property(each.key, each.name, PropertyType(each.type))
        for each in properties
        if each.entity == entity and each.type in _TYPES
    )


def dump_catalog(catalog: Catalog) -> str:
    """A catalog as it stands in an account's row."""
    return _STORED.dump_json(list(catalog)).decode()


def load_catalog(text: str | None) -> Catalog:
    """What `dump_catalog` was given; None, not listed yet, is an empty catalog."""
    return Catalog(_STORED.validate_json(text)) if text else Catalog()


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
    """Raise `InvalidMapping` for rules whose properties the account does not have."""
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
    profiles = remap_progress.begin(connection, account.id, now) if changed else 0
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
    audit_log.record(connection, account.id, now, actor=author, action="apply mapping", details=details)
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

    Raises `ConfigurationError` where there is no such version, and `MappingConflict` as `apply` does.
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


#: Properties that were listed within this time are not listed again, in microseconds.
LISTED_AGAIN_AFTER: Final = 10 * SECOND


def may_refresh(account: Account, now: int) -> bool:
    """Whether an account's properties are old enough to be listed again because of a name that is not known."""
    return account.catalog_at is None or not 0 <= now - account.catalog_at < LISTED_AGAIN_AFTER


async def refresh_catalog(
    store: UnitOfWork, account: Account, prosperstack: ProsperStackClient, now: int
) -> Account:
    """List an account's properties and store them: a request, and one more where rules name subscriptions'.

    Profiles are gone through again where they changed. Raises `ProsperStackError`. Safe to repeat.
    """
    catalog = dump_catalog(await fetch_catalog(prosperstack.list_properties))
    of_subscriptions = account.subscription_catalog
    if of_subscriptions is not None:
        fetch = partial(prosperstack.list_properties, entity="subscription")
        of_subscriptions = dump_catalog(await fetch_catalog(fetch, "subscription"))

    def keep(connection: Connection) -> Account:
        if (catalog, of_subscriptions) != (account.catalog, account.subscription_catalog):
            remap_progress.begin(connection, account.id, now)
        accounts.set_catalog(connection, account.id, catalog, now)
        if of_subscriptions is not None:
            accounts.set_subscription_catalog(connection, account.id, of_subscriptions)
        return accounts.get(connection, account.id) or account

    return await store.write(keep)

"""The mapping of one account: catalog, rules and audiences, compiled; and its versions, applied or rolled back."""

from collections.abc import Awaitable, Callable, Iterable, Set
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Final
from zoneinfo import ZoneInfo

from pydantic import JsonValue, TypeAdapter
from sqlalchemy import Connection

from prosperstack_destination.clock import SECOND, next_midnight
from prosperstack_destination.errors import InvalidInput, MappingConflict, UnreadableMapping
from prosperstack_destination.mapping.catalog import Catalog, Property, PropertyType
from prosperstack_destination.mapping.compiled_mapping import CompiledMapping
from prosperstack_destination.mapping.expression_runner import MappingInput
from prosperstack_destination.mapping.functions import FunctionContext
from prosperstack_destination.mapping.mapping_file import InvalidMapping, KnownProperties, ParsedMapping
from prosperstack_destination.mapping.rules import CreateMissing, Rules, call_rules_text, dump_rules, load_rules
from prosperstack_destination.prosperstack.client import ProsperStackClient, all_items
from prosperstack_destination.prosperstack.models import Page, PropertyDefinition
from prosperstack_destination.store import accounts, activity, mappings, sources
from prosperstack_destination.store.accounts import Account
from prosperstack_destination.store.database import UnitOfWork
from prosperstack_destination.store.mappings import MappingVersion
from prosperstack_destination.store.merge import Reads, reads_none
from prosperstack_destination.store.models import Profile
from prosperstack_destination.store.profile_queries import ScannedProfile

#: Compiled mappings that are cached, for all accounts.
CACHE_SIZE: Final = 128


@dataclass(frozen=True, slots=True)
class AccountMapping:
    """The mapping of one account at one time."""

    catalog: Catalog
    #: Properties of subscriptions; empty where no rule targets one.
    subscription_catalog: Catalog
    rules: Rules
    #: Version of the rules; 0: none was ever applied.
    version: int
    #: Traits that are Engage audiences.
    audiences: Set[str]
    #: Catalog, rules and audiences, compiled.
    compiled: CompiledMapping
    #: The account's time zone, and its key of keyed hashes.
    context: FunctionContext

    def with_rules(self, rules: Rules) -> CompiledMapping:
        """Compile other rules with the same catalog and audiences."""
        return CompiledMapping(
            self.catalog,
            rules,
            subscription=self.subscription_catalog,
            audiences=self.audiences,
            context=self.context,
        )


def load(connection: Connection, account: Account) -> AccountMapping:
    """Return an account's current mapping. Cached while nothing changes, so call it for each profile."""
    mapping = mappings.current(connection, account.id)
    audiences = sources.audiences(connection, account.id)
    return build(
        account.catalog,
        account.subscription_catalog,
        mapping.rules,
        mapping.version,
        audiences,
        account.time_zone,
        account.hash_secret,
    )


def reads_of(connection: Connection, account_id: str) -> Reads:
    """Return the traits that an account's properties and rules read."""
    account = accounts.get(connection, account_id)
    try:
        return reads_none if account is None else load(connection, account).compiled.reads
    except UnreadableMapping:  # calls are accepted; the account's worker reports it
        return reads_none


@lru_cache(maxsize=CACHE_SIZE)
def build(
    catalog: str | None,
    subscription: str | None,
    rules: str,
    version: int,
    audiences: frozenset[str],
    time_zone: str = "UTC",
    hash_secret: str = "",
) -> AccountMapping:
    """Return a mapping from its stored form. Raises `UnreadableMapping`."""
    loaded_catalog, subscription_catalog = load_catalog(catalog), load_catalog(subscription)
    parsed_rules = load_rules(rules)
    context = FunctionContext(zone=ZoneInfo(time_zone), secret=hash_secret.encode())
    compiled = CompiledMapping(
        loaded_catalog, parsed_rules, subscription=subscription_catalog, audiences=audiences, context=context
    )
    return AccountMapping(loaded_catalog, subscription_catalog, parsed_rules, version, audiences, compiled, context)


def mapping_input(profile: Profile | ScannedProfile, now: int) -> MappingInput:
    """Return a profile as the mapping's input, as of ``now`` (microseconds)."""
    facts = profile.facts() if isinstance(profile, ScannedProfile) else profile.facts
    return MappingInput(profile.values(), profile.user_id, profile.anonymous_id, facts, now)


def begin_day(connection: Connection, account: Account, now: int) -> None:
    """Start the remap of an account whose day ended: values that depend on the day may differ now."""
    assert account.day_ends_at is not None  # noqa: S101 -- see `accounts.with_ended_day`
    mappings.begin_remap(connection, account.id, now, as_of=account.day_ends_at - 1)
    accounts.set_day_end(connection, account.id, next_midnight(now, ZoneInfo(account.time_zone)))


def change_time_zone(connection: Connection, account: Account, time_zone: str, now: int) -> None:
    """Set the zone in which rules see the day, and remap the profiles if that matters."""
    if account.day_ends_at is not None:
        mappings.begin_remap(connection, account.id, now, unknown=True)
        accounts.set_day_end(connection, account.id, next_midnight(now, ZoneInfo(time_zone)))
    accounts.set_time_zone(connection, account.id, time_zone)


_CATALOG_JSON = TypeAdapter(list[Property])
_TYPES = frozenset(PropertyType)


async def fetch_catalog(
    fetch: Callable[[str | None], Awaitable[Page[PropertyDefinition]]], entity: str = "subscriber"
) -> Catalog:
    """List all properties of subscribers or of subscriptions; ``fetch`` gets the page at a cursor."""
    return catalog_of(await all_items(fetch), entity)


def catalog_of(properties: Iterable[PropertyDefinition], entity: str = "subscriber") -> Catalog:
    """Return the catalog of listed properties, of subscribers or of subscriptions."""
    # A property of an unknown type, which ProsperStack may add, is left out.
    return Catalog(
        Property(definition.key, definition.name, PropertyType(definition.type))
        for definition in properties
        if definition.entity == entity and definition.type in _TYPES
    )


def dump_catalog(catalog: Catalog) -> str:
    """Return a catalog in the form of an account's row."""
    return _CATALOG_JSON.dump_json(list(catalog)).decode()


def load_catalog(text: str | None) -> Catalog:
    """Return the catalog that `dump_catalog` stored; None, not listed yet, is an empty catalog.

    Raises `UnreadableMapping`.
    """
    try:
        return Catalog(_CATALOG_JSON.validate_json(text)) if text else Catalog()
    except ValueError:
        raise UnreadableMapping("properties") from None


def _are_current(rules: Rules, current: MappingVersion) -> bool:
    try:
        return load_rules(current.rules) == rules
    except UnreadableMapping:
        return False


@dataclass(frozen=True, slots=True)
class ApplyResult:
    """Result of applying a mapping."""

    mapping: MappingVersion
    #: The version that was current before.
    replaced: MappingVersion
    #: True if the rules differ from the replaced ones; if not, no profile is remapped.
    changed: bool
    #: Profiles that are remapped in the background.
    profiles: int


def known_properties(account: Account, now: int) -> KnownProperties:
    """Return the listed properties of an account, with the age of the list at ``now``."""
    return KnownProperties(
        None if account.catalog is None else load_catalog(account.catalog),
        None if account.subscription_catalog is None else load_catalog(account.subscription_catalog),
        None if account.catalog_at is None else (now - account.catalog_at) / SECOND,
    )


def reject_unknown(parsed: ParsedMapping) -> None:
    """Raise `InvalidMapping` for rules whose properties the account does not have."""
    if parsed.unknown:
        raise InvalidMapping(parsed.unknown)


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
    """Apply rules as a new mapping version. Applying the same rules and file again changes nothing.

    Raises `MappingConflict` where another version than ``based_on`` is current (None: any).
    """
    current = mappings.current(connection, account.id)
    if based_on is not None and based_on != current.version:
        raise MappingConflict(based_on=based_on, version=current.version, author=current.author)
    text = dump_rules(rules)
    changed = not _are_current(rules, current)
    if not changed and current.version and (source is None or source == current.source):
        return ApplyResult(current, current, changed=False, profiles=0)
    profiles = mappings.begin_remap(connection, account.id, now) if changed else 0
    mapping = MappingVersion(current.version + 1, text, author, now, source, note)
    mappings.add(connection, account.id, mapping)
    day_ends_at = next_midnight(now, ZoneInfo(account.time_zone)) if rules.are_of_the_day else None
    accounts.set_day_end(connection, account.id, day_ends_at)
    accounts.set_intake(connection, account.id, call_rules_text(rules))
    needs_catalog = rules.for_subscriptions or rules.create_missing is not CreateMissing.NONE
    if changed and needs_catalog and account.catalog is not None:
        accounts.expire_catalog(connection, account.id)  # the rules need the properties as they are now
    details: dict[str, JsonValue] = {
        "version": mapping.version,
        "rules": len(rules),
        "profiles": profiles,
        "note": note,
    }
    activity.record_action(connection, account.id, now, actor=author, action="apply mapping", details=details)
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
    """Apply an earlier version again, as a new one; by default the one before.

    Raises `InvalidInput` where there is no such version, and `MappingConflict` as `apply` does.
    """
    current = mappings.current(connection, account.id)
    if version is None:
        version = current.version - 1
    earlier = mappings.of_version(connection, account.id, version) if version >= 0 else None
    if earlier is None or version == current.version:
        raise InvalidInput(f"There is no version {version} to roll back to. `mappings history` lists the versions.")
    return apply(
        connection,
        account,
        load_rules(earlier.rules),
        author=author,
        now=now,
        source=earlier.source,
        based_on=based_on,
        note=f"back to version {version}",
    )


#: Properties are not listed again within this time, in microseconds.
MIN_REFRESH_INTERVAL: Final = 10 * SECOND


def may_refresh(account: Account, now: int) -> bool:
    """Return whether an account's properties are old enough to be listed again because of an unknown name."""
    return account.catalog_at is None or not 0 <= now - account.catalog_at < MIN_REFRESH_INTERVAL


async def refresh_catalog(
    store: UnitOfWork, account: Account, prosperstack: ProsperStackClient, now: int
) -> Account:
    """List an account's properties and store them: a request, and one more where rules target subscriptions.

    Profiles are remapped where the properties changed. Raises `ProsperStackError`. Safe to repeat.
    """
    catalog = dump_catalog(await fetch_catalog(prosperstack.list_properties))
    subscription_catalog = account.subscription_catalog
    if subscription_catalog is not None:
        fetch = partial(prosperstack.list_properties, entity="subscription")
        subscription_catalog = dump_catalog(await fetch_catalog(fetch, "subscription"))

    def save(connection: Connection) -> Account:
        if (catalog, subscription_catalog) != (account.catalog, account.subscription_catalog):
            mappings.begin_remap(connection, account.id, now)
        accounts.set_catalog(connection, account.id, catalog, now)
        if subscription_catalog is not None:
            accounts.set_subscription_catalog(connection, account.id, subscription_catalog)
        return accounts.get(connection, account.id) or account

    return await store.write(save)

"""The mapping of an account, as operators work at it: understood, tried out, put in force, taken back."""

import asyncio

from pydantic import JsonValue
from sqlalchemy import Connection

from prosperstack_destination import account_mapping
from prosperstack_destination.account_mapping import ApplyResult
from prosperstack_destination.admin.catalog_refresh import current_properties
from prosperstack_destination.admin.services import AdminServices
from prosperstack_destination.errors import NotFoundError, ProblemsRise
from prosperstack_destination.mapping.mapping_file import (
    KnownProperties,
    ParsedMapping,
    as_yaml,
    check_mapping,
    read_mapping,
)
from prosperstack_destination.mapping.rules import Rules, load_rules
from prosperstack_destination.reconcile.preview import SAMPLE, Preview, preview
from prosperstack_destination.store import mappings
from prosperstack_destination.store.accounts import Account
from prosperstack_destination.store.mappings import MappingVersion

#: A mapping that somebody proposes: the text of a file, or data.
Proposed = str | dict[str, JsonValue]


async def parse(services: AdminServices, account: Account, proposed: Proposed) -> ParsedMapping:
    """A proposed mapping, looked at against the account's properties. Raises `InvalidMapping`.

    Where it names a property that is not known they are listed again, unless that was done seconds ago.
    """
    read = await _read(proposed, account_mapping.known_properties(account, services.clock()))
    if not read.unknown:
        return read
    account = await current_properties(services, account)
    return await _read(proposed, account_mapping.known_properties(account, services.clock()))


async def _read(proposed: Proposed, known: KnownProperties) -> ParsedMapping:
    if isinstance(proposed, str):  # slow for a long text: not in the event loop
        return await asyncio.to_thread(read_mapping, proposed, known)
    return await asyncio.to_thread(check_mapping, proposed, known)


async def preview_for_account(
    services: AdminServices, account: Account, rules: Rules, *, exact: bool = False
) -> Preview:
    """What rules would change for the profiles that are stored; of many a part is looked at, unless ``exact``."""
    async with services.scan_lock:
        sample = None if exact else SAMPLE
        return await preview(services.database, account.id, rules, reserve=services.reserve, sample=sample)


async def apply(
    services: AdminServices,
    account: Account,
    read: ParsedMapping,
    *,
    author: str,
    based_on: int,
    source: str | None,
    note: str,
    allow_unknown: bool,
    allow_problems: bool,
) -> ApplyResult:
    """Put a mapping in force, for every profile already received as well. ``source``: the file that it came in.

    Raises `InvalidMapping` for rules whose properties the account does not have, unless they are allowed, and
    `MappingConflict` where another version than ``based_on`` is in force. `ProblemsRise` where by its preview more
    traits could not be values than now, unless that is allowed.
    """
    if not allow_unknown:
        account_mapping.reject_unknown(read)
    if not allow_problems:
        found = await preview_for_account(services, account, read.rules)
        if found.raises_problems:
            raise ProblemsRise(before=found.problems_before, after=found.problems_after)

    def work(connection: Connection) -> ApplyResult:
        return account_mapping.apply(
            connection,
            account,
            read.rules,
            author=author,
            now=services.clock(),
            source=source,
            based_on=based_on,
            note=note,
        )

    applied = await services.database.write(work)
    services.on_change()
    return applied


async def rollback(
    services: AdminServices, account: Account, version: int, *, author: str, based_on: int
) -> ApplyResult:
    """Put an earlier version in force again, as a new one. Raises `ConfigurationError` and `MappingConflict`."""

    def work(connection: Connection) -> ApplyResult:
        return account_mapping.rollback(
            connection, account, version, author=author, now=services.clock(), based_on=based_on
        )

    applied = await services.database.write(work)
    services.on_change()
    return applied


def of_version(connection: Connection, account: Account, version: int | None) -> MappingVersion:
    """The mapping with this version, by default the one in force. Raises `NotFoundError`."""
    if version is None:
        return mappings.current(connection, account.id)
    found = mappings.of_version(connection, account.id, version)
    if found is None:
        raise NotFoundError(f"There is no version {version} of this account's mapping.")
    return found


def text_of(mapping: MappingVersion) -> str:
    """The file that was applied, with its comments; one made of the rules where they came as data."""
    return as_yaml(load_rules(mapping.rules)) if mapping.source is None else mapping.source

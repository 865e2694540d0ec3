"""Mapping operations of operators: parse, preview, apply, roll back."""

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

#: A proposed mapping: the text of a file, or data.
Proposed = str | dict[str, JsonValue]


async def parse(services: AdminServices, account: Account, proposed: Proposed) -> ParsedMapping:
    """Parse and validate a proposed mapping against the account's properties. Raises `InvalidMapping`.

    If it names an unknown property, the properties are listed again, at most once every few seconds.
    """
    parsed = await _parse(proposed, account_mapping.known_properties(account, services.clock()))
    if not parsed.unknown:
        return parsed
    account = await current_properties(services, account)
    return await _parse(proposed, account_mapping.known_properties(account, services.clock()))


async def _parse(proposed: Proposed, known: KnownProperties) -> ParsedMapping:
    if isinstance(proposed, str):  # slow for a long text, so not in the event loop
        return await asyncio.to_thread(read_mapping, proposed, known)
    return await asyncio.to_thread(check_mapping, proposed, known)


async def preview_for_account(
    services: AdminServices, account: Account, rules: Rules, *, exact: bool = False
) -> Preview:
    """Preview the effect of rules on the stored profiles; with many profiles on a sample, unless ``exact``."""
    async with services.scan_lock:
        sample = None if exact else SAMPLE
        return await preview(services.database, account.id, rules, reserve=services.reserve, sample=sample)


async def apply(
    services: AdminServices,
    account: Account,
    parsed: ParsedMapping,
    *,
    author: str,
    based_on: int,
    source: str | None,
    note: str,
    allow_unknown: bool,
    allow_problems: bool,
) -> ApplyResult:
    """Apply a mapping, also to every stored profile. ``source`` is the text of its file.

    Raises `InvalidMapping` for rules of unknown properties unless ``allow_unknown``, `MappingConflict` if the
    current version is not ``based_on``, and `ProblemsRise` if the preview has more problems than now unless
    ``allow_problems``.
    """
    if not allow_unknown:
        account_mapping.reject_unknown(parsed)
    if not allow_problems:
        preview_result = await preview_for_account(services, account, parsed.rules)
        if preview_result.raises_problems:
            raise ProblemsRise(before=preview_result.problems_before, after=preview_result.problems_after)

    def work(connection: Connection) -> ApplyResult:
        return account_mapping.apply(
            connection,
            account,
            parsed.rules,
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
    """Apply an earlier version again, as a new version. Raises `ConfigurationError` and `MappingConflict`."""

    def work(connection: Connection) -> ApplyResult:
        return account_mapping.rollback(
            connection, account, version, author=author, now=services.clock(), based_on=based_on
        )

    applied = await services.database.write(work)
    services.on_change()
    return applied


def of_version(connection: Connection, account: Account, version: int | None) -> MappingVersion:
    """Return the mapping with this version, by default the current one. Raises `NotFoundError`."""
    if version is None:
        return mappings.current(connection, account.id)
    found = mappings.of_version(connection, account.id, version)
    if found is None:
        raise NotFoundError(f"There is no version {version} of this account's mapping.")
    return found


def text_of(mapping: MappingVersion) -> str:
    """Return the text of the applied file, with its comments; text made from the rules if they came as data."""
    return as_yaml(load_rules(mapping.rules)) if mapping.source is None else mapping.source

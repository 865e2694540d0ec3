"""``mappings``: the rules of an account, checked, compared, applied and taken back."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from sqlalchemy import Connection

from prosperstack_destination.accounts import applying
from prosperstack_destination.accounts.applying import Applied
from prosperstack_destination.cli.operating import chosen_account, in_database, shown_time
from prosperstack_destination.clock import system_clock
from prosperstack_destination.errors import Misconfigured
from prosperstack_destination.mapping.file import BadMapping, Fault, Known, Read, as_yaml, json_schema, read_mapping
from prosperstack_destination.mapping.rules import load_rules
from prosperstack_destination.settings import Settings, read_settings
from prosperstack_destination.state import accounts, mappings, reprojections
from prosperstack_destination.state.accounts import Account
from prosperstack_destination.state.database import Database
from prosperstack_destination.state.mappings import AppliedMapping
from prosperstack_destination.state.reprojections import Reprojection
from prosperstack_destination.sync.previewing import Preview, preview

T = TypeVar("T")

_console = Console(highlight=False, soft_wrap=True)


def validate(file: Path, account_name: str | None) -> None:
    """Check a file, against the account's properties where there is an account. Raises `Misconfigured`."""

    def known(connection: Connection) -> Known:
        several = account_name is None and len(accounts.every(connection)) != 1
        return Known() if several else applying.known_properties(chosen_account(connection, account_name))

    read = _read(file, in_database(known))
    _refuse(file, read.unknown)
    _console.print(f"{escape(str(file))}: {_rules(len(read.rules))}, nothing is wrong with it.")


def show(account_name: str | None, version: int | None) -> None:
    """Print a mapping in the form that `apply` takes: the file itself, where it came as one."""

    def work(connection: Connection) -> AppliedMapping:
        account = chosen_account(connection, account_name)
        found = mappings.in_force(connection, account.id)
        if version is not None:
            found = _version(connection, account, version)
        return found

    mapping = in_database(work)
    said = f"version {mapping.version}, by {mapping.author}" if mapping.version else "none was ever applied"
    print(f"# {said}; apply an edited copy with --based-on {mapping.version}, and nobody's work is undone")
    print(mapping.source if mapping.source is not None else as_yaml(load_rules(mapping.rules)), end="")


def diff(file: Path, account_name: str | None) -> None:
    """Show what a file would change, and change nothing."""
    settings = read_settings()
    account, read = _read_for(file, account_name, settings)
    found = _with_database(
        settings,
        lambda database: preview(
            database, account.id, read.rules, reserve=settings.rate_limit_reserve, sample=None
        ),
    )
    _print_preview(found)
    for fault in read.unknown:
        _console.print(f"[yellow]{escape(_told(file, fault))}[/]")


def apply(file: Path, account_name: str | None, author: str, *, based_on: int | None, allow_unknown: bool) -> None:
    """Put a file's rules in force. Raises `Misconfigured` that says where the file is wrong."""
    account, read = _read_for(file, account_name, read_settings())
    if not allow_unknown:
        _refuse(file, read.unknown)
    source = _text(file)

    def work(connection: Connection) -> Applied:
        expected = read.based_on if based_on is None else based_on
        return applying.apply(
            connection, account, read.rules, author=author, now=system_clock(), source=source, based_on=expected
        )

    _print_applied(in_database(work), account)
    for fault in read.unknown:
        _console.print(f"[yellow]{escape(_told(file, fault))} Its rule waits for one.[/]")


def roll_back(account_name: str | None, version: int | None, author: str) -> None:
    """Put an earlier version in force again."""

    def work(connection: Connection) -> tuple[Applied, Account]:
        account = chosen_account(connection, account_name)
        return applying.roll_back(connection, account, version, author=author, now=system_clock()), account

    _print_applied(*in_database(work))


def history(account_name: str | None, limit: int) -> None:
    """Print the versions, the newest first, and how far the newest has come."""

    def work(connection: Connection) -> tuple[list[AppliedMapping], Reprojection | None]:
        account = chosen_account(connection, account_name)
        return mappings.history(connection, account.id, limit), reprojections.of_account(connection, account.id)

    found, progress = in_database(work)
    table = Table("Version", "Applied (UTC)", "By", "Rules", "Note")
    for each in found:
        rules = str(len(load_rules(each.rules)))
        when = shown_time(each.applied_at)
        table.add_row(str(each.version), when, escape(each.author), rules, escape(each.note))
    _console.print(table)
    if progress is not None and progress.finished_at is None:
        _console.print(f"{progress.done:,} of {progress.total:,} profiles were looked at since the last change.")


def schema() -> None:
    """Print the JSON Schema of mapping files."""
    print(json.dumps(json_schema(), indent=2))


def _read_for(file: Path, account_name: str | None, settings: Settings) -> tuple[Account, Read]:
    account = in_database(lambda connection: chosen_account(connection, account_name), settings)
    return account, _read(file, applying.known_properties(account))


def _read(file: Path, known: Known) -> Read:
    text = _text(file)
    try:
        return read_mapping(text, known)
    except BadMapping as error:
        raise Misconfigured("\n".join(_told(file, fault) for fault in error.faults)) from None


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(f"{file} cannot be read: {error}") from None


def _refuse(file: Path, unknown: tuple[Fault, ...]) -> None:
    if unknown:
        told = [_told(file, fault) for fault in unknown]
        raise Misconfigured("\n".join([*told, "(--allow-unknown applies rules that wait for their properties.)"]))


def _told(file: Path, fault: Fault) -> str:
    place = "" if fault.place is None else f":{fault.place.line}:{fault.place.column}"
    return f"{file}{place}: {fault}"


def _version(connection: Connection, account: Account, version: int) -> AppliedMapping:
    found = mappings.of_version(connection, account.id, version)
    if found is None:
        raise Misconfigured(f"There is no version {version}: `mappings history` shows those there are.")
    return found


def _rules(count: int) -> str:
    return "1 rule" if count == 1 else f"{count:,} rules"


def _print_applied(applied: Applied, account: Account) -> None:
    mapping, replaced = applied.mapping, applied.replaced
    count = _rules(len(load_rules(mapping.rules)))
    if mapping.version == replaced.version:
        _console.print(f"Version {mapping.version} has the same {count}: there is nothing to apply.")
        return
    _console.print(f"Version {mapping.version} is in force for {account.fingerprint}: {count}.")
    if replaced.version:
        when = shown_time(replaced.applied_at)
        _console.print(f"It replaces version {replaced.version}, applied by {replaced.author} at {when} UTC.")
    if applied.changed:
        _console.print(f"{applied.profiles:,} profiles are looked at again; only what differs is sent.")


def _print_preview(found: Preview) -> None:
    about = "" if found.exact else "about "
    _console.print(f"{about}{found.changed:,} of {found.profiles:,} profiles would change.")
    if found.problems_before != found.problems_after:
        _console.print(f"Problems: {found.problems_before:,} before, {found.problems_after:,} after.")
    if not found.changed:
        return
    took = _duration(found.seconds)
    rate = f"{found.requests_per_minute:.0f} a minute"
    _console.print(f"That costs about {found.requests:,} requests to ProsperStack: {took} at {rate}.")
    for key, count in found.by_property.items():
        _console.print(f"  {key}: {count:,}")
    table = Table("Email", "Property", "Before", "After")
    for example in found.examples:
        for key, after in example.after.items():
            table.add_row(*map(escape, (example.email, key, _shown(example.before[key]), _shown(after))))
    _console.print(table)


def _shown(value: object) -> str:
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


def _with_database(settings: Settings, work: Callable[[Database], Awaitable[T]]) -> T:
    """Run what takes many short transactions: the service goes on beside it."""

    async def run() -> T:
        database = Database(settings.effective_database_url)
        try:
            await database.open()
            return await work(database)
        finally:
            await database.close()

    return asyncio.run(run())

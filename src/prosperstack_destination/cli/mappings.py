"""Implementation of `mappings`: check, compare, apply and roll back rules."""

import json
from pathlib import Path

from pydantic import JsonValue
from sqlalchemy import Connection

from prosperstack_destination import account_mapping
from prosperstack_destination.account_mapping import ApplyResult, may_refresh
from prosperstack_destination.admin import labels
from prosperstack_destination.cli import output
from prosperstack_destination.cli.output import Cell, Time
from prosperstack_destination.cli.prosperstack import with_current_catalog
from prosperstack_destination.cli.session import confirm, resolve_account, run, write
from prosperstack_destination.clock import system_clock
from prosperstack_destination.errors import ConfigurationError, ProblemsRise
from prosperstack_destination.mapping.mapping_file import (
    Fault,
    InvalidMapping,
    KnownProperties,
    ParsedMapping,
    as_yaml,
    json_schema,
    read_mapping,
)
from prosperstack_destination.mapping.rules import dump_rules, load_rules
from prosperstack_destination.reconcile.preview import SAMPLE, Example, Preview, preview
from prosperstack_destination.settings import Settings, read_settings
from prosperstack_destination.store import accounts, mappings
from prosperstack_destination.store.accounts import Account
from prosperstack_destination.store.mappings import MappingVersion, RemapProgress


def validate(file: Path, account_name: str | None, *, as_json: bool) -> bool:
    """Check a file against the account's properties, if there is one account; return True if it is valid.

    Raises `ConfigurationError` with every fault, unless ``as_json``.
    """

    def optional_account(connection: Connection) -> Account | None:
        several = account_name is None and len(accounts.all_accounts(connection)) != 1
        return None if several else resolve_account(connection, account_name)

    settings = read_settings()
    account = write(optional_account, settings)
    properties = KnownProperties() if account is None else known_properties(settings, account, file)
    if as_json:
        return _validate_for_scripts(file, properties)
    mapping = _read(file, properties)
    _reject_unknown(file, mapping.unknown)
    output.console.print(f"{file} is valid: {_rules(len(mapping.rules))}.", markup=False)
    return True


def show(account_name: str | None, version: int | None, *, as_json: bool) -> None:
    """Print a mapping as a file that `apply` reads: the applied file itself, or one made of the rules."""

    def work(connection: Connection) -> MappingVersion:
        account = resolve_account(connection, account_name)
        if version is not None:
            return _version(connection, account, version)
        return mappings.current(connection, account.id)

    mapping = write(work)
    rules = load_rules(mapping.rules)
    text = mapping.source if mapping.source is not None else as_yaml(rules)
    if as_json:
        output.print_json({**_applied(mapping), "mapping": json.loads(dump_rules(rules)), "yaml": text})
        return
    origin = f"version {mapping.version}, by {mapping.author}" if mapping.version else "no mapping was applied yet"
    print(f"# {origin}; to keep later changes of others, apply an edited copy with --based-on {mapping.version}")
    print(text, end="")


def diff(file: Path, account_name: str | None, *, as_json: bool) -> None:
    """Print the changes that a file would make, without applying it."""
    settings = read_settings()
    account, mapping = _read_for(file, account_name, settings)
    changes = _preview(settings, account, mapping, sample=None)
    if as_json:
        output.print_json(_facts(changes, mapping))
        return
    _print_preview(changes)
    for fault in mapping.unknown:
        output.console.print(_fault_line(file, fault), style="yellow", markup=False)


def apply(
    file: Path,
    account_name: str | None,
    author: str,
    *,
    based_on: int | None,
    allow_unknown: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Apply a file's rules, after confirmation if problems increase, unless ``yes``.

    Raises `ConfigurationError` with the place of every fault in the file.
    """
    settings = read_settings()
    account, mapping = _read_for(file, account_name, settings)
    if not allow_unknown:
        _reject_unknown(file, mapping.unknown)
    if not yes:
        changes = _preview(settings, account, mapping, sample=SAMPLE)
        if changes.raises_problems:
            rise = ProblemsRise(before=changes.problems_before, after=changes.problems_after)
            confirm(str(rise), yes=yes, as_json=as_json, style="bold red")
    source = _text(file)

    def work(connection: Connection) -> ApplyResult:
        expected = mapping.based_on if based_on is None else based_on
        return account_mapping.apply(
            connection, account, mapping.rules, author=author, now=system_clock(), source=source, based_on=expected
        )

    applied = write(work)
    if as_json:
        output.print_json({**_outcome(applied, account), "unknown": [_fault(each) for each in mapping.unknown]})
        return
    _print_applied(applied, account)
    for fault in mapping.unknown:
        output.console.print(
            f"{_fault_line(file, fault)} Its rule applies once the property exists.", style="yellow", markup=False
        )


def roll_back(account_name: str | None, version: int | None, author: str, *, as_json: bool) -> None:
    """Apply an earlier version again, as a new version."""

    def work(connection: Connection) -> tuple[ApplyResult, Account]:
        account = resolve_account(connection, account_name)
        return account_mapping.rollback(connection, account, version, author=author, now=system_clock()), account

    applied, account = write(work)
    if as_json:
        output.print_json(_outcome(applied, account))
    else:
        _print_applied(applied, account)


def history(account_name: str | None, limit: int, *, as_json: bool) -> None:
    """Print the versions, the newest first, and the progress of the newest."""

    def work(connection: Connection) -> tuple[list[MappingVersion], RemapProgress | None]:
        account = resolve_account(connection, account_name)
        return mappings.history(connection, account.id, limit), mappings.latest_remap(connection, account.id)

    versions, progress = write(work)
    if as_json:
        done: JsonValue = None if progress is None else {"total": progress.total, "done": progress.done}
        output.print_json({"versions": [_applied(each) for each in versions], "progress": done})
        return
    rows: list[list[Cell]] = [
        [each.version, Time(each.applied_at), each.author, len(load_rules(each.rules)), each.note]
        for each in versions
    ]
    output.print_rows(["Version", "Applied (UTC)", "By", "Rules", "Note"], rows, as_json=False)
    if progress is not None and not progress.is_finished:
        output.console.print(
            f"{progress.done:,} of {progress.total:,} profiles are compared with the latest version."
        )


def schema() -> None:
    """Print the JSON Schema of mapping files."""
    output.print_json(json_schema())


def _validate_for_scripts(file: Path, known: KnownProperties) -> bool:
    """Print the faults of a file with their places; return True if there are none."""
    try:
        mapping = read_mapping(_text(file), known)
    except InvalidMapping as error:
        output.print_json({"rules": None, "faults": [_fault(each) for each in error.faults]})
        return False
    output.print_json({"rules": len(mapping.rules), "faults": [_fault(each) for each in mapping.unknown]})
    return not mapping.unknown


def _read_for(file: Path, account_name: str | None, settings: Settings) -> tuple[Account, ParsedMapping]:
    account = write(lambda connection: resolve_account(connection, account_name), settings)
    return account, _read(file, known_properties(settings, account, file))


def known_properties(settings: Settings, account: Account, file: Path) -> KnownProperties:
    """Return an account's properties, listed again if the file names an unknown one, which may be new."""
    now = system_clock()
    known = account_mapping.known_properties(account, now)
    try:
        is_unknown = bool(read_mapping(_text(file), known).unknown)
    except InvalidMapping:
        is_unknown = False  # the file has to be corrected first
    if not (is_unknown and may_refresh(account, now)):
        return known
    return account_mapping.known_properties(with_current_catalog(settings, account), system_clock())


def _preview(settings: Settings, account: Account, mapping: ParsedMapping, *, sample: int | None) -> Preview:
    reserve = settings.rate_limit_reserve
    rules = mapping.rules
    return run(
        settings,
        lambda database: preview(database, account.id, rules, reserve=reserve, now=system_clock(), sample=sample),
    )


def _read(file: Path, known: KnownProperties) -> ParsedMapping:
    text = _text(file)
    try:
        return read_mapping(text, known)
    except InvalidMapping as error:
        raise ConfigurationError("\n".join(_fault_line(file, fault) for fault in error.faults)) from None


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file} cannot be read: {error}") from None


def _reject_unknown(file: Path, unknown: tuple[Fault, ...]) -> None:
    if unknown:
        lines = [_fault_line(file, fault) for fault in unknown]
        raise ConfigurationError(
            "\n".join([*lines, "To apply rules before their properties exist, add --allow-unknown."])
        )


def _fault_line(file: Path, fault: Fault) -> str:
    place = "" if fault.place is None else f":{fault.place.line}:{fault.place.column}"
    return f"{file}{place}: {fault}"


def _version(connection: Connection, account: Account, version: int) -> MappingVersion:
    mapping = mappings.of_version(connection, account.id, version)
    if mapping is None:
        raise ConfigurationError(f"There is no version {version}: `mappings history` lists the versions.")
    return mapping


def _rules(count: int) -> str:
    return "1 rule" if count == 1 else f"{count:,} rules"


def _print_applied(applied: ApplyResult, account: Account) -> None:
    mapping, replaced = applied.mapping, applied.replaced
    count = _rules(len(load_rules(mapping.rules)))
    print_line = output.console.print
    if mapping.version == replaced.version:
        print_line(f"Nothing to apply: version {mapping.version} has the same {count}.")
        return
    print_line(f"Version {mapping.version} is applied to {account.fingerprint}: {count}.")
    if replaced.version:
        when = Time(replaced.applied_at)
        print_line(
            f"It replaces version {replaced.version}, applied by {replaced.author} at {when} UTC.", markup=False
        )
    if applied.changed:
        print_line(f"{applied.profiles:,} profiles are compared again; only differences are sent.")


def _print_preview(changes: Preview) -> None:
    about, print_line = "" if changes.exact else "about ", output.console.print
    print_line(f"{about}{changes.changed:,} of {changes.profiles:,} profiles would change.")
    if changes.problems_before != changes.problems_after:
        style = "bold red" if changes.raises_problems else None
        print_line(f"Problems: {changes.problems_before:,} before, {changes.problems_after:,} after.", style=style)
    if not changes.changed:
        return
    duration = labels.span(changes.seconds)
    rate = f"{changes.requests_per_minute:.0f} a minute"
    print_line(f"Cost: about {changes.requests:,} requests to ProsperStack, {duration} at {rate}.")
    for key, count in changes.by_property.items():
        print_line(f"  {key}: {count:,}", markup=False)
    rows: list[list[Cell]] = [
        [example.email, key, before, _after(example, key)]
        for example in changes.examples
        for key, before in example.before.items()
    ]
    output.print_rows(["Email", "Property", "Before", "After"], rows, as_json=False)


def _after(example: Example, key: str) -> Cell:
    """Return the value of a property after the change, for people."""
    if key not in example.after:
        return "unchanged: no value"
    return "(deleted)" if example.after[key] is None else example.after[key]


def _applied(mapping: MappingVersion) -> dict[str, JsonValue]:
    return {
        "version": mapping.version,
        "author": mapping.author,
        "applied_at": Time(mapping.applied_at).iso if mapping.version else None,
        "note": mapping.note,
        "rules": len(load_rules(mapping.rules)),
    }


def _outcome(applied: ApplyResult, account: Account) -> dict[str, JsonValue]:
    return {
        "account": account.id,
        **_applied(applied.mapping),
        "replaced": applied.replaced.version,
        "changed": applied.changed,
        "profiles": applied.profiles,
    }


def _facts(changes: Preview, mapping: ParsedMapping) -> dict[str, JsonValue]:
    return {
        "profiles": changes.profiles,
        "changed": changes.changed,
        "by_property": {**changes.by_property},
        "examples": [
            {"email": each.email, "before": {**each.before}, "after": {**each.after}} for each in changes.examples
        ],
        "problems_before": changes.problems_before,
        "problems_after": changes.problems_after,
        "requests": changes.requests,
        "requests_per_minute": changes.requests_per_minute,
        "seconds": changes.seconds,
        "unknown": [_fault(each) for each in mapping.unknown],
    }


def _fault(fault: Fault) -> dict[str, JsonValue]:
    place = fault.place
    return {
        "key": fault.key,
        "message": fault.message,
        "line": None if place is None else place.line,
        "column": None if place is None else place.column,
    }

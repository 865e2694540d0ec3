"""``mappings``: the rules of an account, checked, compared, applied and taken back."""

import json
from pathlib import Path

from pydantic import JsonValue
from sqlalchemy import Connection

from prosperstack_destination import account_mapping
from prosperstack_destination.account_mapping import ApplyResult, may_refresh
from prosperstack_destination.admin import labels
from prosperstack_destination.cli import output
from prosperstack_destination.cli.output import Cell, Time
from prosperstack_destination.cli.problems import confirm
from prosperstack_destination.cli.prosperstack import refreshed
from prosperstack_destination.cli.session import resolve_account, run, write
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
from prosperstack_destination.store import accounts, mappings, remap_progress
from prosperstack_destination.store.accounts import Account
from prosperstack_destination.store.mappings import MappingVersion
from prosperstack_destination.store.remap_progress import RemapProgress


def validate(file: Path, account_name: str | None, *, as_json: bool) -> bool:
    """Check a file, against the account's properties where there is an account; whether it is good.

    Raises `ConfigurationError` for people, with everything that is wrong.
    """

    def chosen(connection: Connection) -> Account | None:
        several = account_name is None and len(accounts.all_accounts(connection)) != 1
        return None if several else resolve_account(connection, account_name)

    settings = read_settings()
    account = write(chosen, settings)
    properties = KnownProperties() if account is None else known_properties(settings, account, file)
    if as_json:
        return _validate_for_scripts(file, properties)
    read = _read(file, properties)
    _refuse(file, read.unknown)
    output.console.print(f"{file}: {_rules(len(read.rules))}, nothing is wrong with it.", markup=False)
    return True


def show(account_name: str | None, version: int | None, *, as_json: bool) -> None:
    """Print a mapping in the form that `apply` takes: the file itself, where it came as one."""

    def work(connection: Connection) -> MappingVersion:
        account = resolve_account(connection, account_name)
        found = mappings.current(connection, account.id)
        if version is not None:
            found = _version(connection, account, version)
        return found

    mapping = write(work)
    rules = load_rules(mapping.rules)
    text = mapping.source if mapping.source is not None else as_yaml(rules)
    if as_json:
        output.print_json({**_applied(mapping), "mapping": json.loads(dump_rules(rules)), "yaml": text})
        return
    said = f"version {mapping.version}, by {mapping.author}" if mapping.version else "none was ever applied"
    print(f"# {said}; apply an edited copy with --based-on {mapping.version}, and nobody's work is undone")
    print(text, end="")


def diff(file: Path, account_name: str | None, *, as_json: bool) -> None:
    """Show what a file would change, and change nothing."""
    settings = read_settings()
    account, read = _read_for(file, account_name, settings)
    found = _preview(settings, account, read, sample=None)
    if as_json:
        output.print_json(_facts(found, read))
        return
    _print_preview(found)
    for fault in read.unknown:
        output.console.print(_told(file, fault), style="yellow", markup=False)


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
    """Put a file's rules in force. Raises `ConfigurationError` that says where the file is wrong.

    Asks first where problems would rise, unless ``yes``.
    """
    settings = read_settings()
    account, read = _read_for(file, account_name, settings)
    if not allow_unknown:
        _refuse(file, read.unknown)
    if not yes:
        found = _preview(settings, account, read, sample=SAMPLE)
        if found.raises_problems:
            rise = ProblemsRise(before=found.problems_before, after=found.problems_after)
            confirm(str(rise), yes=yes, as_json=as_json, style="bold red")
    source = _text(file)

    def work(connection: Connection) -> ApplyResult:
        expected = read.based_on if based_on is None else based_on
        return account_mapping.apply(
            connection, account, read.rules, author=author, now=system_clock(), source=source, based_on=expected
        )

    applied = write(work)
    if as_json:
        output.print_json({**_outcome(applied, account), "unknown": [_fault(each) for each in read.unknown]})
        return
    _print_applied(applied, account)
    for fault in read.unknown:
        output.console.print(f"{_told(file, fault)} Its rule waits for one.", style="yellow", markup=False)


def roll_back(account_name: str | None, version: int | None, author: str, *, as_json: bool) -> None:
    """Put an earlier version in force again."""

    def work(connection: Connection) -> tuple[ApplyResult, Account]:
        account = resolve_account(connection, account_name)
        return account_mapping.rollback(connection, account, version, author=author, now=system_clock()), account

    applied, account = write(work)
    if as_json:
        output.print_json(_outcome(applied, account))
    else:
        _print_applied(applied, account)


def history(account_name: str | None, limit: int, *, as_json: bool) -> None:
    """Print the versions, the newest first, and how far the newest has come."""

    def work(connection: Connection) -> tuple[list[MappingVersion], RemapProgress | None]:
        account = resolve_account(connection, account_name)
        return mappings.history(connection, account.id, limit), remap_progress.of_account(connection, account.id)

    found, progress = write(work)
    if as_json:
        done: JsonValue = None if progress is None else {"total": progress.total, "done": progress.done}
        output.print_json({"versions": [_applied(each) for each in found], "progress": done})
        return
    rows: list[list[Cell]] = [
        [each.version, Time(each.applied_at), each.author, len(load_rules(each.rules)), each.note] for each in found
    ]
    output.print_rows(["Version", "Applied (UTC)", "By", "Rules", "Note"], rows, as_json=False)
    if progress is not None and not progress.is_finished:
        output.console.print(
            f"{progress.done:,} of {progress.total:,} profiles were looked at since the last change."
        )


def schema() -> None:
    """Print the JSON Schema of mapping files."""
    output.print_json(json_schema())


def _validate_for_scripts(file: Path, known: KnownProperties) -> bool:
    """Print what is wrong with a file, by place; whether nothing is."""
    try:
        read = read_mapping(_text(file), known)
    except InvalidMapping as error:
        output.print_json({"rules": None, "faults": [_fault(each) for each in error.faults]})
        return False
    output.print_json({"rules": len(read.rules), "faults": [_fault(each) for each in read.unknown]})
    return not read.unknown


def _read_for(file: Path, account_name: str | None, settings: Settings) -> tuple[Account, ParsedMapping]:
    account = write(lambda connection: resolve_account(connection, account_name), settings)
    return account, _read(file, known_properties(settings, account, file))


def known_properties(settings: Settings, account: Account, file: Path) -> KnownProperties:
    """An account's properties; listed now where the file names one that is not known, as it may be new."""
    now = system_clock()
    known = account_mapping.known_properties(account, now)
    try:
        is_unknown = bool(read_mapping(_text(file), known).unknown)
    except InvalidMapping:
        is_unknown = False  # it has to be corrected first
    if not (is_unknown and may_refresh(account, now)):
        return known
    return account_mapping.known_properties(refreshed(settings, account), system_clock())


def _preview(settings: Settings, account: Account, read: ParsedMapping, *, sample: int | None) -> Preview:
    reserve = settings.rate_limit_reserve
    return run(settings, lambda database: preview(database, account.id, read.rules, reserve=reserve, sample=sample))


def _read(file: Path, known: KnownProperties) -> ParsedMapping:
    text = _text(file)
    try:
        return read_mapping(text, known)
    except InvalidMapping as error:
        raise ConfigurationError("\n".join(_told(file, fault) for fault in error.faults)) from None


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file} cannot be read: {error}") from None


def _refuse(file: Path, unknown: tuple[Fault, ...]) -> None:
    if unknown:
        told = [_told(file, fault) for fault in unknown]
        raise ConfigurationError(
            "\n".join([*told, "(--allow-unknown applies rules that wait for their properties.)"])
        )


def _told(file: Path, fault: Fault) -> str:
    place = "" if fault.place is None else f":{fault.place.line}:{fault.place.column}"
    return f"{file}{place}: {fault}"


def _version(connection: Connection, account: Account, version: int) -> MappingVersion:
    found = mappings.of_version(connection, account.id, version)
    if found is None:
        raise ConfigurationError(f"There is no version {version}: `mappings history` shows those there are.")
    return found


def _rules(count: int) -> str:
    return "1 rule" if count == 1 else f"{count:,} rules"


def _print_applied(applied: ApplyResult, account: Account) -> None:
    mapping, replaced = applied.mapping, applied.replaced
    count = _rules(len(load_rules(mapping.rules)))
    tell = output.console.print
    if mapping.version == replaced.version:
        tell(f"Version {mapping.version} has the same {count}: there is nothing to apply.")
        return
    tell(f"Version {mapping.version} is in force for {account.fingerprint}: {count}.")
    if replaced.version:
        when = Time(replaced.applied_at)
        tell(f"It replaces version {replaced.version}, applied by {replaced.author} at {when} UTC.", markup=False)
    if applied.changed:
        tell(f"{applied.profiles:,} profiles are looked at again; only what differs is sent.")


def _print_preview(found: Preview) -> None:
    about, tell = "" if found.exact else "about ", output.console.print
    tell(f"{about}{found.changed:,} of {found.profiles:,} profiles would change.")
    if found.problems_before != found.problems_after:
        style = "bold red" if found.raises_problems else None
        tell(f"Problems: {found.problems_before:,} before, {found.problems_after:,} after.", style=style)
    if not found.changed:
        return
    took = labels.span(found.seconds)
    rate = f"{found.requests_per_minute:.0f} a minute"
    tell(f"That costs about {found.requests:,} requests to ProsperStack: {took} at {rate}.")
    for key, count in found.by_property.items():
        tell(f"  {key}: {count:,}", markup=False)
    rows: list[list[Cell]] = [
        [example.email, key, before, _then(example, key)]
        for example in found.examples
        for key, before in example.before.items()
    ]
    output.print_rows(["Email", "Property", "Before", "After"], rows, as_json=False)


def _then(example: Example, key: str) -> Cell:
    """What a property becomes."""
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


def _facts(found: Preview, read: ParsedMapping) -> dict[str, JsonValue]:
    return {
        "profiles": found.profiles,
        "changed": found.changed,
        "by_property": {**found.by_property},
        "examples": [
            {"email": each.email, "before": {**each.before}, "after": {**each.after}} for each in found.examples
        ],
        "problems_before": found.problems_before,
        "problems_after": found.problems_after,
        "requests": found.requests,
        "requests_per_minute": found.requests_per_minute,
        "seconds": found.seconds,
        "unknown": [_fault(each) for each in read.unknown],
    }


def _fault(fault: Fault) -> dict[str, JsonValue]:
    place = fault.place
    return {
        "key": fault.key,
        "message": fault.message,
        "line": None if place is None else place.line,
        "column": None if place is None else place.column,
    }

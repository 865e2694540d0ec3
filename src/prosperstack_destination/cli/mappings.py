"""Commands that check, compare, apply and roll back mappings."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from pydantic import JsonValue

from prosperstack_destination.account_mapping import ApplyResult
from prosperstack_destination.admin import accounts, labels, mapping
from prosperstack_destination.admin.context import AdminContext
from prosperstack_destination.admin.mapping import MappingView
from prosperstack_destination.cli import output, session
from prosperstack_destination.cli.output import Cell, Time
from prosperstack_destination.cli.prosperstack import run_operation
from prosperstack_destination.cli.session import Account, Author, Json
from prosperstack_destination.errors import InvalidInput, NotFoundError, ProblemsRise
from prosperstack_destination.mapping.mapping_file import (
    Fault,
    InvalidMapping,
    KnownProperties,
    ParsedMapping,
    json_schema,
    read_mapping,
)
from prosperstack_destination.reconcile.preview import Example, Preview
from prosperstack_destination.store.accounts import Account as AccountRow

app = typer.Typer()
mappings_app = typer.Typer(help="Manage the rules that map traits to properties.", no_args_is_help=True)
app.add_typer(mappings_app, name="mappings")

_MappingFile = Annotated[Path, typer.Argument(help="Mapping file, as YAML.")]


@mappings_app.command()
def validate(file: _MappingFile, account: Account = None, json: Json = False) -> None:
    """Check a mapping file without applying it."""
    text = _text(file)

    async def check(context: AdminContext) -> ParsedMapping:
        found = await context.database.read(accounts.resolve_optional, account)
        return read_mapping(text, KnownProperties()) if found is None else await mapping.parse(context, found, text)

    try:
        parsed = run_operation(check)
    except InvalidMapping as error:
        if not json:
            raise _invalid(file, error) from None
        output.print_json({"rules": None, "faults": [_fault(each) for each in error.faults]})
        raise typer.Exit(1) from None
    if json:
        output.print_json({"rules": len(parsed.rules), "faults": [_fault(each) for each in parsed.unknown]})
        raise typer.Exit(1 if parsed.unknown else 0)
    _reject_unknown(file, parsed.unknown)
    output.console.print(f"{file} is valid: {_rules(len(parsed.rules))}.", markup=False)


@mappings_app.command()
def show(
    account: Account = None,
    version: Annotated[int | None, typer.Option(min=0, help="Earlier version. Default: the current one.")] = None,
    json: Json = False,
) -> None:
    """Print the current mapping as a file that `mappings apply` reads."""
    try:
        view = MappingView(session.write_account(account, mapping.of_version, version))
    except NotFoundError:
        raise InvalidInput(f"There is no version {version}: `mappings history` lists the versions.") from None
    if json:
        output.print_json({**_applied(view), "mapping": view.mapping, "yaml": view.yaml})
        return
    origin = f"version {view.version}, by {view.author}" if view.version else "no mapping was applied yet"
    print(f"# {origin}; to keep later changes of others, apply an edited copy with --based-on {view.version}")
    print(view.yaml, end="")


@mappings_app.command()
def diff(file: _MappingFile, account: Account = None, json: Json = False) -> None:
    """Show the changes that a mapping file makes to stored profiles, and their cost in requests."""
    text = _text(file)

    async def preview(context: AdminContext) -> tuple[Preview, ParsedMapping]:
        found = await context.database.read(accounts.resolve, account)
        parsed = await mapping.parse(context, found, text)
        return await mapping.preview_for_account(context, found, parsed.rules, exact=True), parsed

    with _naming_faults(file):
        changes, parsed = run_operation(preview)
    if json:
        output.print_json(_facts(changes, parsed))
        return
    _print_preview(changes)
    for fault in parsed.unknown:
        output.console.print(_fault_line(file, fault), style="yellow", markup=False)


@mappings_app.command()
def apply(
    file: _MappingFile,
    account: Account = None,
    author: Author = "unknown",
    based_on: Annotated[
        int | None, typer.Option(min=0, help="Fail if the current version is not this one.")
    ] = None,
    allow_unknown: Annotated[
        bool,
        typer.Option("--allow-unknown", help="Accept rules for properties that do not exist yet."),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation if problems increase.")] = False,
    json: Json = False,
) -> None:
    """Apply a mapping file, to stored profiles and to new calls."""
    text = _text(file)

    async def work(context: AdminContext) -> tuple[ApplyResult, ParsedMapping, AccountRow]:
        found = await context.database.read(accounts.resolve, account)
        parsed = await mapping.parse(context, found, text)
        if not allow_unknown:
            _reject_unknown(file, parsed.unknown)
        apply_mapping = partial(
            mapping.apply,
            context,
            found,
            parsed,
            author=author,
            based_on=parsed.based_on if based_on is None else based_on,
            source=text,
            allow_unknown=True,
        )
        try:
            return await apply_mapping(allow_problems=yes), parsed, found
        except ProblemsRise as rise:
            session.confirm(str(rise), yes=yes, as_json=json, style="bold red")
            return await apply_mapping(allow_problems=True), parsed, found

    with _naming_faults(file):
        applied, parsed, changed = run_operation(work)
    if json:
        output.print_json({**_outcome(applied, changed), "unknown": [_fault(each) for each in parsed.unknown]})
        return
    _print_applied(applied, changed)
    for fault in parsed.unknown:
        output.console.print(
            f"{_fault_line(file, fault)} Its rule applies once the property exists.", style="yellow", markup=False
        )


@mappings_app.command()
def history(
    account: Account = None,
    limit: Annotated[int, typer.Option(min=1, help="Number of versions.")] = 20,
    json: Json = False,
) -> None:
    """List the applied versions, with time and author."""
    versions = session.write_account(account, mapping.history, limit)
    progress = session.read_account(account, mapping.remap_of)
    if json:
        done: JsonValue = None if progress is None else {"total": progress.total, "done": progress.done}
        output.print_json({"versions": [_applied(each) for each in versions], "progress": done})
        return
    rows: list[list[Cell]] = [
        [each.version, Time(each.applied_at), each.author, each.rules, each.note] for each in versions
    ]
    output.print_rows(["Version", "Applied (UTC)", "By", "Rules", "Note"], rows, as_json=False)
    if progress is not None and not progress.is_finished:
        output.console.print(
            f"{progress.done:,} of {progress.total:,} profiles are compared with the latest version."
        )


@mappings_app.command("rollback")
def roll_back(
    version: Annotated[
        int | None, typer.Argument(min=0, help="Version to apply again. Default: the previous one.")
    ] = None,
    account: Account = None,
    author: Author = "unknown",
    json: Json = False,
) -> None:
    """Apply an earlier version again, as a new version."""

    async def work(context: AdminContext) -> tuple[ApplyResult, AccountRow]:
        found = await context.database.read(accounts.resolve, account)
        return await mapping.rollback(context, found, version, author=author), found

    applied, changed = run_operation(work)
    if json:
        output.print_json(_outcome(applied, changed))
    else:
        _print_applied(applied, changed)


@mappings_app.command()
def schema(json: Json = True) -> None:  # noqa: ARG001 -- the output is always JSON; scripts may pass --json
    """Print the JSON Schema of mapping files, for completion in editors."""
    output.print_json(json_schema())


@contextmanager
def _naming_faults(file: Path) -> Iterator[None]:
    """Raise `InvalidInput` with the place of every fault in the file instead of `InvalidMapping`."""
    try:
        yield
    except InvalidMapping as error:
        raise _invalid(file, error) from None


def _invalid(file: Path, error: InvalidMapping) -> InvalidInput:
    return InvalidInput("\n".join(_fault_line(file, fault) for fault in error.faults))


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{file} cannot be read: {error}") from None


def _reject_unknown(file: Path, unknown: tuple[Fault, ...]) -> None:
    if unknown:
        lines = [_fault_line(file, fault) for fault in unknown]
        raise InvalidInput(
            "\n".join([*lines, "To apply rules before their properties exist, add --allow-unknown."])
        )


def _fault_line(file: Path, fault: Fault) -> str:
    place = "" if fault.place is None else f":{fault.place.line}:{fault.place.column}"
    return f"{file}{place}: {fault}"


def _rules(count: int) -> str:
    return "1 rule" if count == 1 else f"{count:,} rules"


def _print_applied(applied: ApplyResult, account: AccountRow) -> None:
    view, replaced = MappingView(applied.mapping), applied.replaced
    count = _rules(view.rules)
    print_line = output.console.print
    if view.version == replaced.version:
        print_line(f"Nothing to apply: version {view.version} has the same {count}.")
        return
    print_line(f"Version {view.version} is applied to {account.fingerprint}: {count}.")
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


def _applied(view: MappingView) -> dict[str, JsonValue]:
    return {
        "version": view.version,
        "author": view.author,
        "applied_at": Time(view.applied_at).iso,
        "note": view.note,
        "rules": view.rules,
    }


def _outcome(applied: ApplyResult, account: AccountRow) -> dict[str, JsonValue]:
    return {
        "account": account.id,
        **_applied(MappingView(applied.mapping)),
        "replaced": applied.replaced.version,
        "changed": applied.changed,
        "profiles": applied.profiles,
    }


def _facts(changes: Preview, parsed: ParsedMapping) -> dict[str, JsonValue]:
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
        "unknown": [_fault(each) for each in parsed.unknown],
    }


def _fault(fault: Fault) -> dict[str, JsonValue]:
    place = fault.place
    return {
        "key": fault.key,
        "message": fault.message,
        "line": None if place is None else place.line,
        "column": None if place is None else place.column,
    }

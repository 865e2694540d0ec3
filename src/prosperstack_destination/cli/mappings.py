"""``mappings``: the rules of an account, shown and applied."""

from pathlib import Path

import yaml
from pydantic import ValidationError
from rich.console import Console
from sqlalchemy import Connection

from prosperstack_destination.accounts.catalogs import load_catalog
from prosperstack_destination.cli.operating import chosen_account, in_database
from prosperstack_destination.clock import system_clock
from prosperstack_destination.errors import Misconfigured
from prosperstack_destination.mapping.rules import Rules, unknown_properties
from prosperstack_destination.state import accounts, auditing, profiles
from prosperstack_destination.state.accounts import Account


def show(account_name: str | None) -> None:
    """Print an account's rules as YAML."""

    def work(connection: Connection) -> accounts.AppliedMapping:
        return accounts.mapping_in_force(connection, chosen_account(connection, account_name).id)

    mapping = in_database(work)
    rules = Rules.model_validate_json(mapping.rules)
    said = f"version {mapping.version}, by {mapping.author}" if mapping.version else "none were ever applied"
    print(f"# {said}")
    print(yaml.safe_dump(rules.model_dump(mode="json"), sort_keys=False, allow_unicode=True), end="")


def apply(file: Path, account_name: str | None, author: str) -> None:
    """Put a file's rules in force. Raises `Misconfigured` that says where the file is wrong."""
    rules = read_rules(file)

    def work(connection: Connection) -> tuple[Account, int, int]:
        now = system_clock()
        account = chosen_account(connection, account_name)
        version = accounts.apply_mapping(connection, account.id, rules.model_dump_json(), author, now)
        count = profiles.mark_all_due(connection, account.id, now)
        details = {"version": version, "rules": len(rules), "profiles": count}
        auditing.record(connection, account.id, now, actor=author, action="apply mapping", details=details)
        return account, version, count

    account, version, count = in_database(work)
    console = Console(highlight=False)
    console.print(f"Version {version} is in force for {account.fingerprint}: {len(rules)} rules.")
    console.print(f"{count:,} profiles are looked at again; only what differs is sent.")
    if account.catalog is not None:
        for key in unknown_properties(rules, (each.key for each in load_catalog(account.catalog))):
            console.print(f"[yellow]The account has no subscriber property {key!r}: its rule waits for one.[/]")


def read_rules(file: Path) -> Rules:
    """The rules in a YAML file. Raises `Misconfigured` that names the place and the reason."""
    try:
        content = yaml.safe_load(file.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(f"{file} cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise Misconfigured(f"{file} is not YAML: {error}") from None
    try:
        return Rules.model_validate(content)
    except ValidationError as error:
        faults = [f"  {'.'.join(map(str, each['loc'])) or 'the file'}: {each['msg']}" for each in error.errors()]
        raise Misconfigured("\n".join([f"{file} is no mapping:", *faults])) from None

"""``problems``, ``retry``, ``replay`` and ``erase``: what went wrong, and doing something about it."""

import typer
from sqlalchemy import Connection

from prosperstack_destination.admin import actions, labels, people
from prosperstack_destination.admin.actions import ReplayCost
from prosperstack_destination.auth.key_rotation import load_pseudonym_key
from prosperstack_destination.cli import output
from prosperstack_destination.cli.output import Cell, Time
from prosperstack_destination.cli.session import read, resolve_account, run, write
from prosperstack_destination.clock import system_clock
from prosperstack_destination.errors import ConfigurationError
from prosperstack_destination.settings import read_settings
from prosperstack_destination.store import account_stats, problems
from prosperstack_destination.store.accounts import Account
from prosperstack_destination.store.database import Database
from prosperstack_destination.store.erasure import Erased
from prosperstack_destination.store.problems import ProblemGroup
from prosperstack_destination.vault import vault_from_settings


def list_problems(account_name: str | None, *, as_json: bool) -> None:
    """Print an account's problems, grouped."""

    def work(connection: Connection) -> tuple[list[ProblemGroup], str]:
        account_id = resolve_account(connection, account_name).id
        return problems.grouped(connection, account_id), account_stats.failures(connection, account_id).in_words

    groups, failures = read(work)
    rows: list[list[Cell]] = [
        [
            each.property,
            ", ".join(sorted({sample.trait for sample in each.samples})),
            each.count,
            each.reason,
            [sample.value for sample in each.samples],
            Time(each.since),
        ]
        for each in groups
    ]
    columns = ["Property", "Traits", "People", "Reason", "Samples", "Since"]
    nothing = "No problems: every trait that feeds a property can be its value."
    output.print_rows(columns, rows, as_json=as_json, nothing=nothing)
    if failures and not as_json:
        output.console.print(f"{failures}: `failures` lists them.", markup=False)


def retry(account_name: str | None, email: str | None, author: str, *, as_json: bool) -> None:
    """Look at one person now, or at everybody with a problem, and try an account that waits."""

    async def work(database: Database) -> int:
        account = await database.read(resolve_account, account_name)
        if email is None:
            return await actions.retry_all(database, account, author, system_clock())
        profile_id = await database.read(lambda it: people.profile_id(it, account, email=email))
        await database.write(actions.retry_person, account, profile_id, author, system_clock())
        return 1

    count = run(read_settings(), work)
    if as_json:
        output.print_json({"profiles": count})
    else:
        output.console.print(f"{count:,} profiles are looked at again, and the account is tried if it waited.")


def replay(account_name: str | None, email: str | None, author: str, *, yes: bool, as_json: bool) -> None:
    """Have everything that is stored judged anew, after saying what that costs."""
    settings = read_settings()

    def whom(connection: Connection) -> tuple[Account, int | None]:
        account = resolve_account(connection, account_name)
        return account, None if email is None else people.profile_id(connection, account, email=email)

    def look(connection: Connection) -> ReplayCost:
        account, profile_id = whom(connection)
        return actions.replay_cost(connection, account, settings.rate_limit_reserve, profile_id)

    cost = read(look, settings)
    confirm(
        f"{cost.profiles:,} profiles are compared with ProsperStack anew; what differs is written, also where "
        f"somebody edited it there. At most {cost.most_requests:,} requests, {labels.span(cost.most_seconds)}; "
        "what is the same costs none.",
        yes=yes,
        as_json=as_json,
    )

    async def work(database: Database) -> int:
        account, profile_id = await database.read(whom)
        if profile_id is None:
            return await actions.replay_all(database, account, author, system_clock())
        await database.write(actions.replay, account, author, system_clock(), profile_id)
        return 1

    count = run(settings, work)
    if as_json:
        output.print_json(
            {"profiles": count, "most_requests": cost.most_requests, "most_seconds": cost.most_seconds}
        )
    else:
        output.console.print(f"{count:,} profiles are due. `watch` shows how far it is.")


def erase(account_name: str | None, who: str, author: str, *, by_user_id: bool, yes: bool, as_json: bool) -> None:
    """Forget a person, by email or by user id, as a Delete call does, after asking."""
    settings = read_settings()
    vault = vault_from_settings(settings)
    confirm(
        "Everything stored of this person is deleted, and what this service wrote in ProsperStack as the account "
        "is set (`accounts list`). This cannot be undone.",
        yes=yes,
        as_json=as_json,
    )

    def work(connection: Connection) -> Erased:
        account = resolve_account(connection, account_name)
        load_pseudonym_key(connection, vault)
        forget = actions.erase_user if by_user_id else actions.erase
        return forget(connection, account, who, vault.pseudonym, author, system_clock())

    erased = write(work, settings)
    if as_json:
        output.print_json(
            {
                "profiles": erased.profiles,
                "subscribers": erased.subscribers,
                "in_prosperstack": erased.in_prosperstack.value,
            }
        )
        return
    output.console.print(
        f"Forgotten: {erased.profiles} profiles. {erased.subscribers} subscribers in ProsperStack: "
        f"{erased.in_prosperstack.value}. Older calls do not bring them back; newer ones do."
    )


def confirm(what: str, *, yes: bool, as_json: bool, style: str | None = None) -> None:
    """Say what is about to be done, and ask; ``yes`` has answered already. Raises `ConfigurationError` for a
    script.
    """
    if yes:
        if not as_json:
            output.console.print(what, markup=False)
        return
    if as_json or not typer.get_text_stream("stdin").isatty():
        raise ConfigurationError(f"{what} Say --yes to go on: nobody is here to be asked.")
    output.console.print(what, style=style, markup=False)
    typer.confirm("Go on?", abort=True)

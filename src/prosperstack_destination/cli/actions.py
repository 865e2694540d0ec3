"""Implementation of `retry`, `replay` and `erase`."""

from sqlalchemy import Connection

from prosperstack_destination.admin import actions, labels, people
from prosperstack_destination.admin.actions import ReplayCost
from prosperstack_destination.auth.vault import load_pseudonym_key
from prosperstack_destination.cli import output
from prosperstack_destination.cli.session import confirm, read, resolve_account, run, write
from prosperstack_destination.clock import system_clock
from prosperstack_destination.settings import read_settings
from prosperstack_destination.store.accounts import Account
from prosperstack_destination.store.database import Database
from prosperstack_destination.store.erasure import ErasureResult
from prosperstack_destination.vault import vault_from_settings


def retry(account_name: str | None, email: str | None, author: str, *, as_json: bool) -> None:
    """Retry one person, or all people with a problem and the account itself, now.

    Raises `NotFoundError` if the account has no profile with this email.
    """

    async def work(database: Database) -> int:
        account = await database.read(resolve_account, account_name)
        if email is None:
            return await actions.retry_all(database, account, author, system_clock())
        profile_id = await database.read(lambda connection: people.profile_id(connection, account, email=email))
        await database.write(actions.retry_person, account, profile_id, author, system_clock())
        return 1

    count = run(read_settings(), work)
    if as_json:
        output.print_json({"profiles": count})
    else:
        output.console.print(f"Retrying {count:,} profiles, and the account if it was waiting.")


def replay(account_name: str | None, email: str | None, author: str, *, yes: bool, as_json: bool) -> None:
    """Queue one profile or all of them for a new comparison with ProsperStack, after confirming the cost."""
    settings = read_settings()

    def resolve(connection: Connection) -> tuple[Account, int | None]:
        account = resolve_account(connection, account_name)
        return account, None if email is None else people.profile_id(connection, account, email=email)

    def estimate(connection: Connection) -> ReplayCost:
        account, profile_id = resolve(connection)
        return actions.replay_cost(connection, account, settings.rate_limit_reserve, profile_id)

    cost = read(estimate, settings)
    confirm(
        f"{cost.profiles:,} profiles are compared with ProsperStack again. Values that differ are written, "
        f"including values edited in ProsperStack. At most {cost.most_requests:,} requests, "
        f"{labels.span(cost.most_seconds)}; equal values cost no update.",
        yes=yes,
        as_json=as_json,
    )

    async def work(database: Database) -> int:
        account, profile_id = await database.read(resolve)
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
        output.console.print(f"{count:,} profiles are due. `watch` shows the progress.")


def erase(account_name: str | None, who: str, author: str, *, by_user_id: bool, yes: bool, as_json: bool) -> None:
    """Erase a person by email or user ID, as a Delete call does, after confirmation. It may be repeated."""
    settings = read_settings()
    vault = vault_from_settings(settings)
    confirm(
        "Everything stored of this person is deleted. In ProsperStack, the account's deletion setting applies "
        "(`accounts list` shows it). This cannot be undone.",
        yes=yes,
        as_json=as_json,
    )

    def work(connection: Connection) -> ErasureResult:
        account = resolve_account(connection, account_name)
        load_pseudonym_key(connection, vault)
        erase_person = actions.erase_user if by_user_id else actions.erase
        return erase_person(connection, account, who, vault.pseudonym, author, system_clock())

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
        f"Erased {erased.profiles} profiles. {erased.subscribers} subscribers in ProsperStack: "
        f"{erased.in_prosperstack.value}. Older calls do not restore the person; newer calls do."
    )

"""``problems``, ``retry``, ``replay`` and ``erase``: what went wrong, and doing something about it."""

import typer
from sqlalchemy import Connection

from prosperstack_destination.accounts.rotation import use_kept_pseudonyms
from prosperstack_destination.application import vault_of
from prosperstack_destination.cli import output
from prosperstack_destination.cli.operating import chosen_account, from_database, in_database
from prosperstack_destination.cli.output import Cell, Time
from prosperstack_destination.clock import system_clock
from prosperstack_destination.errors import Misconfigured
from prosperstack_destination.operations import wording
from prosperstack_destination.operations.rates import rate_of
from prosperstack_destination.prosperstack.forecast import forecast
from prosperstack_destination.settings import read_settings
from prosperstack_destination.state import auditing, erasing, problems, profiles, rate_limits, retrying, standing
from prosperstack_destination.state.erasing import Erased
from prosperstack_destination.state.problems import ProblemGroup
from prosperstack_destination.state.profile import Delete


def list_problems(account_name: str | None, *, as_json: bool) -> None:
    """Print an account's problems, grouped."""

    def work(connection: Connection) -> list[ProblemGroup]:
        return problems.grouped(connection, chosen_account(connection, account_name).id)

    rows: list[list[Cell]] = [
        [
            each.property,
            ", ".join(sorted({sample.trait for sample in each.samples})),
            each.count,
            each.reason,
            [sample.value for sample in each.samples],
            Time(each.since),
        ]
        for each in from_database(work)
    ]
    columns = ["Property", "Traits", "People", "Reason", "Samples", "Since"]
    nothing = "No problems: every trait that feeds a property can be its value."
    output.print_rows(columns, rows, as_json=as_json, nothing=nothing)


def retry(account_name: str | None, email: str | None, author: str, *, as_json: bool) -> None:
    """Look at one person now, or at everybody with a problem, and try an account that waits."""

    def work(connection: Connection) -> int:
        now = system_clock()
        account = chosen_account(connection, account_name)
        retrying.retry_account(connection, account.id)
        if email is None:
            count = retrying.retry_problems(connection, account.id, now)
        elif retrying.retry_person(connection, account.id, email.strip().lower(), now):
            count = 1
        else:
            raise Misconfigured("Nobody with this email is known: `profile` shows whom calls named.")
        auditing.record(connection, account.id, now, actor=author, action="retry", details={"profiles": count})
        return count

    count = in_database(work)
    if as_json:
        output.print_json({"profiles": count})
    else:
        output.console.print(f"{count:,} profiles are looked at again, and the account is tried if it waited.")


def replay(account_name: str | None, email: str | None, author: str, *, yes: bool, as_json: bool) -> None:
    """Have everything that is stored judged anew, after saying what that costs."""
    settings = read_settings()

    def cost(connection: Connection) -> tuple[int, float]:
        account = chosen_account(connection, account_name)
        people = standing.census(connection, account.id).profiles if email is None else 1
        rate = rate_of(rate_limits.of_account(connection, account.id), settings.rate_limit_reserve)
        return people, forecast(people, rate, matching=people, subscribers=None).seconds

    people, seconds = from_database(cost, settings)
    confirm(
        f"{people:,} profiles are compared with ProsperStack anew; what differs is written, also where somebody "
        f"edited it there. At most {2 * people:,} requests, {wording.span(seconds)}; what is the same costs none.",
        yes=yes,
        as_json=as_json,
    )

    def work(connection: Connection) -> int:
        now = system_clock()
        account = chosen_account(connection, account_name)
        who = None if email is None else email.strip().lower()
        if who is not None and profiles.find(connection, account.id, who) is None:
            raise Misconfigured("Nobody with this email is known: `profile` shows whom calls named.")
        count = retrying.replay(connection, account.id, now, who)
        auditing.record(connection, account.id, now, actor=author, action="replay", details={"profiles": count})
        return count

    count = in_database(work, settings)
    if as_json:
        output.print_json({"profiles": count, "most_requests": 2 * people, "most_seconds": seconds})
    else:
        output.console.print(f"{count:,} profiles are due. `watch` shows how far it is.")


def erase(account_name: str | None, who: str, author: str, *, by_user_id: bool, yes: bool, as_json: bool) -> None:
    """Forget a person, by email or by user id, as a Delete call does, after asking."""
    settings = read_settings()
    vault = vault_of(settings)
    confirm(
        "Everything stored of this person is deleted, and what this service wrote in ProsperStack as the account "
        "is set (`accounts list`). This cannot be undone.",
        yes=yes,
        as_json=as_json,
    )

    def work(connection: Connection) -> Erased:
        account = chosen_account(connection, account_name)
        use_kept_pseudonyms(connection, vault)
        now = system_clock()
        if by_user_id:
            return erasing.erase(connection, Delete(account.id, who, now, now), vault.pseudonym, author)
        return erasing.erase_email(connection, account.id, who.strip().lower(), vault.pseudonym, author, now)

    erased = in_database(work, settings)
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


def confirm(what: str, *, yes: bool, as_json: bool) -> None:
    """Say what is about to be done, and ask; ``yes`` has answered already. Raises `Misconfigured` for a script."""
    if yes:
        if not as_json:
            output.console.print(what, markup=False)
        return
    if as_json or not typer.get_text_stream("stdin").isatty():
        raise Misconfigured(f"{what} Say --yes to go on: nobody is here to be asked.")
    output.console.print(what, markup=False)
    typer.confirm("Go on?", abort=True)

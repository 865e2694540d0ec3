"""Commands that show, deliver again and erase people."""

from typing import Annotated

import typer
from pydantic import JsonValue

from prosperstack_destination.admin import accounts, actions, labels, people
from prosperstack_destination.admin.comparison import PropertyComparison, PropertyState
from prosperstack_destination.admin.database import opened
from prosperstack_destination.admin.people import PersonView
from prosperstack_destination.cli import output, session
from prosperstack_destination.cli.output import Cell, Time
from prosperstack_destination.cli.session import Account, Author, Json, Yes
from prosperstack_destination.clock import system_clock
from prosperstack_destination.settings import read_settings
from prosperstack_destination.store.database import UnitOfWork

app = typer.Typer()

_Email = Annotated[str | None, typer.Option("--email", help="Only this person.")]
_Who = Annotated[str, typer.Argument(metavar="EMAIL", help="Email of the person, or user ID with --user-id.")]
_UserId = Annotated[bool, typer.Option("--user-id", help="The argument is a user ID.")]


@app.command()
def profile(who: _Who, account: Account = None, user_id: _UserId = False, json: Json = False) -> None:
    """Show all data of one person: traits, and desired, observed and applied properties."""
    key = {"user_id": who} if user_id else {"email": who}
    person = session.read_account(account, people.find, system_clock(), **key)
    if json:
        output.print_json(_facts(person))
        return
    _print(person)


@app.command()
def retry(account: Account = None, email: _Email = None, author: Author = "unknown", json: Json = False) -> None:
    """Retry all people with a problem, or one person, now. It also retries an account that waits."""

    async def work(database: UnitOfWork) -> int:
        found = await database.read(accounts.resolve, account)
        if email is None:
            return await actions.retry_all(database, found, author, system_clock())
        profile_id = await database.read(people.profile_id, found, email=email)
        await database.write(actions.retry_person, found, profile_id, author, system_clock())
        return 1

    count = session.run(work)
    if json:
        output.print_json({"profiles": count})
    else:
        output.console.print(f"Retrying {count:,} profiles, and the account if it was waiting.")


@app.command()
def replay(
    account: Account = None,
    email: _Email = None,
    yes: Yes = False,
    author: Author = "unknown",
    json: Json = False,
) -> None:
    """Compare all stored profiles with ProsperStack again, and write the differences. It shows the cost first."""
    profile_id = None if email is None else session.read_account(account, people.profile_id, email=email)
    cost = session.read_account(account, actions.replay_cost, read_settings().rate_limit_reserve, profile_id)
    session.confirm(
        f"{cost.profiles:,} profiles are compared with ProsperStack again. Values that differ are written, "
        f"including values edited in ProsperStack. At most {cost.max_requests:,} requests, "
        f"{labels.span(cost.max_seconds)}; equal values cost no update.",
        yes=yes,
        as_json=json,
    )

    async def work(database: UnitOfWork) -> int:
        found = await database.read(accounts.resolve, account)
        if profile_id is None:
            return await actions.replay_all(database, found, author, system_clock())
        await database.write(actions.replay, found, author, system_clock(), profile_id)
        return 1

    count = session.run(work)
    if json:
        output.print_json({"profiles": count, "most_requests": cost.max_requests, "most_seconds": cost.max_seconds})
    else:
        output.console.print(f"{count:,} profiles are due. `watch` shows the progress.")


@app.command()
def erase(
    who: _Who,
    account: Account = None,
    user_id: _UserId = False,
    yes: Yes = False,
    author: Author = "unknown",
    json: Json = False,
) -> None:
    """Erase a person, here and in ProsperStack, as a Delete call does."""
    session.confirm(
        "Everything stored of this person is deleted. In ProsperStack, the account's deletion setting applies "
        "(`accounts list` shows it). This cannot be undone.",
        yes=yes,
        as_json=json,
    )
    pseudonym = session.load_vault(opened).pseudonym
    erase_person = actions.erase_user if user_id else actions.erase
    erased = session.write_account(account, erase_person, who, pseudonym, author, system_clock())
    if json:
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


def _print(person: PersonView) -> None:
    profile = person.profile
    output.print_facts(
        {
            "Email": profile.address,
            "User ID": profile.user_id,
            "Status": profile.status.value,
            "Why": person.in_words,
            "Pending since": Time(profile.pending_since),
            "Lane": labels.LANE[profile.lane] if profile.pending_since is not None else None,
            "Failed attempts": profile.attempts,
            "Next attempt": Time(person.next_attempt_at),
            "Looked up": Time(profile.looked_up_at),
            "Subscribers": ", ".join(_subscribers(person)) or "none found yet",
        },
        as_json=False,
    )
    output.console.print()
    traits: list[list[Cell]] = [
        [each.name, each.value, Time(each.at), None if each.source is None else each.source.kind.value]
        for each in person.traits
    ]
    output.print_rows(["Trait", "Value", "Event time", "Engage"], traits, as_json=False)
    output.console.print()
    columns = ["Property", "From", "Desired", "Observed", "Applied", "Subscriber", "State", "Reason"]
    mapped = [list(_property(row, subscriber).values()) for row, subscriber in _rows(person) if _is_mapped(row)]
    output.print_rows(
        columns,
        mapped,
        as_json=False,
        nothing="No trait is mapped to a property. `mappings show` prints the mapping.",
    )
    for problem in person.problems:
        line = output.visible(f"Problem: {problem.property} from {problem.trait}: {problem.reason}")
        output.console.print(line, markup=False)


def _rows(person: PersonView) -> list[tuple[PropertyComparison, str | None]]:
    return [(row, side.subscriber_id) for side in person.subscribers for row in side.rows]


def _is_mapped(row: PropertyComparison) -> bool:
    return row.state is not PropertyState.NOT_FED


def _property(row: PropertyComparison, subscriber: str | None) -> dict[str, JsonValue]:
    source = None if row.problem is None else row.problem.trait
    if row.desired is not None:
        source = f"{row.desired.trait} ({row.desired.matched_by.value})"
    return {
        "property": row.key,
        "from": source,
        "desired": None if row.desired is None else row.desired.value,
        "observed": row.observed,
        "applied": row.applied,
        "subscriber": subscriber,
        "state": row.state.value,
        "reason": row.reason,
    }


def _subscribers(person: PersonView) -> list[str]:
    return [side.subscriber_id for side in person.subscribers if side.subscriber_id is not None]


def _facts(person: PersonView) -> JsonValue:
    profile = person.profile
    return {
        "email": profile.email,
        "address": profile.address,
        "user_id": profile.user_id,
        "ids": [{"kind": each.kind.value, "id": each.id, "at": Time(each.at).iso} for each in person.ids],
        "status": profile.status.value,
        "status_reason": profile.status_reason,
        "pending_since": Time(profile.pending_since).iso,
        "lane": profile.lane.name.lower(),
        "attempts": profile.attempts,
        "next_attempt_at": Time(person.next_attempt_at).iso,
        "next_step": person.next_step.value,
        "looked_up_at": Time(profile.looked_up_at).iso,
        "version": profile.version,
        "traits": {each.name: {"value": each.value, "at": Time(each.at).iso} for each in person.traits},
        "subscribers": [*_subscribers(person)],
        "properties": [_property(row, subscriber) for row, subscriber in _rows(person)],
        "problems": [
            {"property": each.property, "trait": each.trait, "value": each.value, "reason": each.reason}
            for each in person.problems
        ],
    }

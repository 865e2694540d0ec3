"""Implementation of `profile`."""

from pydantic import JsonValue
from sqlalchemy import Connection

from prosperstack_destination.admin import labels, people
from prosperstack_destination.admin.comparison import PropertyComparison, PropertyState
from prosperstack_destination.admin.people import PersonView
from prosperstack_destination.cli import output
from prosperstack_destination.cli.output import Cell, Time
from prosperstack_destination.cli.session import read, resolve_account
from prosperstack_destination.clock import system_clock


def show(account_name: str | None, who: str, *, by_user_id: bool, as_json: bool) -> None:
    """Print a person by email or user ID. Raises `NotFoundError` if the account has no such person."""

    def work(connection: Connection) -> PersonView:
        account = resolve_account(connection, account_name)
        key = {"user_id": who} if by_user_id else {"email": who}
        return people.find(connection, account, system_clock(), **key)

    person = read(work)
    if as_json:
        output.print_json(_facts(person))
        return
    _print(person)


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

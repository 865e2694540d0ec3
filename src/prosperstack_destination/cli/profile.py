"""``profile``: everything that is known of one person."""

from dataclasses import dataclass

from pydantic import JsonValue
from sqlalchemy import Connection

from prosperstack_destination.accounts.meaning import of_account, person_of
from prosperstack_destination.cli import output
from prosperstack_destination.cli.operating import chosen_account, from_database
from prosperstack_destination.cli.output import Cell, Time
from prosperstack_destination.errors import Misconfigured
from prosperstack_destination.mapping.desired import Projection
from prosperstack_destination.state import directory, identities, problems, profiles
from prosperstack_destination.state.accounts import Account
from prosperstack_destination.state.directory import Subscriber
from prosperstack_destination.state.problems import RecordedProblem
from prosperstack_destination.state.profile import IdKind, Profile


@dataclass(frozen=True, slots=True)
class Person:
    """One person, from what Segment says to what ProsperStack has."""

    profile: Profile
    projection: Projection
    subscribers: list[Subscriber]
    problems: list[RecordedProblem]


def show(account_name: str | None, who: str, *, by_user_id: bool, as_json: bool) -> None:
    """Print a person, by email or by user id. Raises `Misconfigured` where nobody is known by it."""

    def work(connection: Connection) -> Person:
        account = chosen_account(connection, account_name)
        return _find(connection, account, who, by_user_id=by_user_id)

    person = from_database(work)
    if as_json:
        output.print_json(_facts(person))
        return
    _print(person)


def _find(connection: Connection, account: Account, who: str, *, by_user_id: bool) -> Person:
    emails = [who.strip().lower()]
    if by_user_id:
        emails = sorted(identities.emails_of(connection, account.id, (IdKind.USER, who)))
    found = [profile for email in emails if (profile := profiles.find(connection, account.id, email)) is not None]
    if not found:
        what = "with this user id" if by_user_id else "with this email"
        raise Misconfigured(
            f"Nobody {what} is known to {account.fingerprint}: no call named them, or they were deleted. "
            "`audit` shows deletions; `events` what came in lately."
        )
    profile = found[0]
    return Person(
        profile,
        of_account(connection, account).plan.project(person_of(profile)),
        directory.with_email(connection, account.id, profile.email),
        problems.of_profile(connection, profile.id),
    )


def _print(person: Person) -> None:
    profile = person.profile
    output.print_facts(
        {
            "Email": profile.address,
            "User id": profile.user_id,
            "Status": profile.status.value,
            "Why": profile.status_reason,
            "Pending since": Time(profile.pending_since),
            "Looked up": Time(profile.looked_up_at),
            "Subscribers": ", ".join(each.id for each in person.subscribers) or "none known",
        },
        as_json=False,
    )
    output.console.print()
    traits: list[list[Cell]] = [[name, value, Time(at)] for name, (value, at) in sorted(profile.traits.items())]
    output.print_rows(["Trait", "Value", "Event time"], traits, as_json=False)
    output.console.print()
    columns = ["Property", "From", "Desired", "Observed", "Applied", "Subscriber", "To be sent"]
    rows = [list(row.values()) for row in _properties(person)]
    output.print_rows(columns, rows, as_json=False, nothing="No trait feeds a property: see the mapping.")
    for problem in person.problems:
        said = output.visible(f"Problem: {problem.property} from {problem.trait}: {problem.reason}")
        output.console.print(said, markup=False)


def _properties(person: Person) -> list[dict[str, JsonValue]]:
    """Each property that a trait feeds, for each subscriber; one line where no subscriber is known."""
    rows: list[dict[str, JsonValue]] = []
    for key, desired in sorted(person.projection.desired.items()):
        subscribers: list[Subscriber | None] = [*person.subscribers] or [None]
        for each in subscribers:
            observed = None if each is None else each.observed.get(key)
            applied = None if each is None else each.applied.get(key)
            settled = each is not None and key in each.applied and applied == desired.value
            rows.append(
                {
                    "property": key,
                    "from": f"{desired.trait} ({desired.matched_by.value})",
                    "desired": desired.value,
                    "observed": observed,
                    "applied": applied,
                    "subscriber": None if each is None else each.id,
                    "to_be_sent": not settled and observed != desired.value,
                }
            )
    return rows


def _facts(person: Person) -> JsonValue:
    profile = person.profile
    return {
        "email": profile.email,
        "address": profile.address,
        "user_id": profile.user_id,
        "status": profile.status.value,
        "status_reason": profile.status_reason,
        "pending_since": Time(profile.pending_since).iso,
        "looked_up_at": Time(profile.looked_up_at).iso,
        "version": profile.version,
        "traits": {name: {"value": value, "at": Time(at).iso} for name, (value, at) in profile.traits.items()},
        "subscribers": [each.id for each in person.subscribers],
        "properties": [dict(row) for row in _properties(person)],
        "problems": [
            {"property": each.property, "trait": each.trait, "value": each.value, "reason": each.reason}
            for each in person.problems
        ],
    }

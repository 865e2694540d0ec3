"""Problems of an account: what cannot be delivered, why, and advice. Reads only the ends of indexes.

A reason is a message of the mapping (`mapping.coercion`, `mapping.transforms`, `mapping.expression_runner`) or of
ProsperStack. An unknown reason gets general advice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection

from prosperstack_destination.account_mapping import load_catalog
from prosperstack_destination.admin.suggestions import Suggestion, suggest_rules
from prosperstack_destination.store import account_stats, accounts, problems, profile_queries, remote_erasures
from prosperstack_destination.store.accounts import Account, AccountStatus
from prosperstack_destination.store.models import Status
from prosperstack_destination.store.problems import ProblemGroup, ProblemKind, PropertyCreation, is_rejection
from prosperstack_destination.store.profile_queries import ProfilePage, ProfileSummary
from prosperstack_destination.store.remote_erasures import FailedRemoteErasure

#: Pairs of a text in the reason and its advice; the first match counts. No advice may turn a valid value into a
#: problem: a lookup table needs `fallback: keep`, and a rule for some values only needs a condition.
_ADVICE: Final[tuple[tuple[str, str], ...]] = (
    (
        "is not a single value",
        "Add a rule that takes one part of it, e.g. from: traits.address.city, or turns an array into text: join.",
    ),
    (
        "none of true, t, 1, false, f, 0",
        "Add a rule with values: {yes: true, no: false} and fallback: keep, or send true and false.",
    ),
    (
        "only 1 and 0 are booleans",
        "Add a rule that compares numbers and keeps the rest, e.g. from: type(traits.logins) == 'number' && "
        "traits.logins > `0` || traits.logins, or send true and false.",
    ),
    (
        "is not an ISO 8601 date",
        'Add a rule with date_format, e.g. date_format: "%d/%m/%Y" (ISO dates are accepted as well), or send '
        "dates as 2026-12-31.",
    ),
    (
        "date of the form",
        'Add the other form to the rule\'s date_format, e.g. date_format: ["%d/%m/%Y", "%d.%m.%Y"]. ISO dates are '
        "accepted as well.",
    ),
    ("is not a date", "Map the property to a trait that is a date, or make it a boolean property in ProsperStack."),
    ("not the year of a date", "Send null if there is no date: a placeholder such as 0001-01-01 is not a date."),
    (
        "less than nine digits",
        "Send dates as 2026-12-31, or as 20261231: years and Excel's day numbers are not dates here.",
    ),
    ("not a Unix time", "Send Unix times in seconds, milliseconds or microseconds, or dates as 2026-12-31."),
    (
        "is no date and time",
        "Put date_format before timezone in the rule, or send times as 2026-12-31T18:00:00Z.",
    ),
    (
        "table (values) lacks it",
        "Add the value to the rule's values, or a fallback for all other values: fallback: keep sends them "
        "unchanged if the property accepts them.",
    ),
    (
        "means neither yes nor no",
        "Replace yes_no by values in the rule, e.g. values: {active: true, paused: false}.",
    ),
    (
        "do not make a number",
        "Say what points and commas mean, e.g. number: de for 1.299,00 and number: en for 1,299.00.",
    ),
    (
        "text is compared as a number",
        "Wrap the trait in to_number() in the rule's expression, e.g. to_number(traits.mrr) >= `1000`, or send a "
        "number.",
    ),
    ("too much work", "Simplify the rule's expression, or send the result as a trait of its own."),
    (
        "expression cannot be evaluated",
        "Try the rule on this person on the page Mapping: some traits do not have the type that its expression "
        "expects.",
    ),
    (
        "() takes",
        "Give the rule a condition that excludes people whose traits have another type, e.g. "
        "when: type(traits.contacts) == 'array'.",
    ),
    ("items cannot be joined", "Join one part of each item, e.g. from: traits.items[*].name."),
    (
        "items of an array can be counted",
        "Exclude other values by a condition, e.g. when: type(traits.contacts) == 'array'.",
    ),
    ("it cannot be rounded", "Send a number, or exclude such texts by a condition: when: to_number(traits.mrr)."),
    ("it cannot be scaled", "Send a number, or exclude such texts by a condition: when: to_number(traits.mrr)."),
    ("too large", "Correct the number at its source: it is larger than ProsperStack can store."),
    ("not a finite number", "Correct the number at its source: JSON cannot represent it."),
    (
        "is not a number",
        "Add a rule with values for such texts and fallback: keep, e.g. values: {many: 100}; map the property to "
        "another trait, or send a number.",
    ),
)
_OF_ALL: Final = "Correct the trait at its source, or add a rule that converts it to the property's type."
_REJECTED: Final = (
    "Correct the value at its source or by a rule: a new value is sent automatically. If you corrected "
    "ProsperStack instead, retry."
)


def advice(reason: str) -> str:
    """Return advice on a problem, in one or two sentences."""
    if is_rejection(reason):
        return _REJECTED
    return next((helps for words, helps in _ADVICE if words in reason), _OF_ALL)


@dataclass(frozen=True, slots=True)
class FailureList:
    """Failed deliveries and erasures of an account."""

    #: Profiles whose last delivery attempt failed.
    waiting: Sequence[ProfileSummary]
    #: Profiles whose email ProsperStack rejects.
    rejected: ProfilePage
    #: Failed deletions in ProsperStack of erased people.
    erasures: Sequence[FailedRemoteErasure]


def list_failures(connection: Connection, account: Account, now: int, limit: int) -> FailureList:
    """Return the failures of an account, at most ``limit`` of each kind."""
    rejected = profile_queries.list_page(connection, account.id, after="", limit=limit, statuses=[Status.REJECTED])
    return FailureList(
        waiting=profile_queries.failed(connection, account.id, limit),
        rejected=rejected,
        erasures=remote_erasures.failed(connection, account.id, now, limit),
    )


def list_groups(connection: Connection, account: Account, limit: int = 100) -> list[ProblemGroup]:
    """Return the problems by property and reason, most frequent first."""
    return problems.grouped(connection, account.id, limit=limit)


def with_suggestions(
    connection: Connection, account: Account, now: int, limit: int
) -> list[tuple[ProblemGroup, Suggestion | None]]:
    """Return the problems by property and reason, most frequent first, each with a rule that helps."""
    groups = list_groups(connection, account, limit)
    suggestions = suggest_rules(connection, account, groups, now)
    return [(each, suggestions.get((each.property, each.reason))) for each in groups]


def count_kinds(connection: Connection, account_id: str, max_count: int) -> list[ProblemKind]:
    """Return the kinds of mapping problems of an account, counted up to ``max_count`` people each."""
    return problems.kinds(connection, account_id, max_count)


def summarize_failures(connection: Connection, account: Account) -> str:
    """Return the number of failures in words; "" without one."""
    return account_stats.failures(connection, account.id).summary


@dataclass(frozen=True, slots=True)
class ProblemsView:
    """Problems of an account."""

    account: Account
    groups: Sequence[ProblemGroup]
    failures: FailureList
    #: Properties that ProsperStack did not create.
    creations: Sequence[PropertyCreation]
    #: Suggested rules, by the property and the reason of a problem.
    suggestions: Mapping[tuple[str, str], Suggestion]

    @property
    def can_retry(self) -> bool:
        """True if a retry of all people could help."""
        return bool(self.groups or self.failures.rejected.profiles or self.failures.waiting)

    @property
    def none(self) -> bool:
        """True if the account has no problems."""
        is_active = self.account.status is AccountStatus.ACTIVE
        return is_active and not (self.can_retry or self.failures.erasures or self.creations)


def load_problems(
    connection: Connection,
    account: Account,
    kinds: Sequence[ProblemKind],
    now: int,
    *,
    samples: int,
    limit: int,
) -> ProblemsView:
    """Return the problems of an account, for these counted kinds.

    ``samples`` is the number of people of each kind, ``limit`` that of each other list.
    """
    account = accounts.get(connection, account.id) or account
    catalog = load_catalog(account.catalog)
    groups = problems.with_samples(connection, account.id, kinds, samples)
    creations = problems.property_creations(connection, account.id)
    missing = [each for each in creations if each.reason is not None and catalog.get(each.key) is None]
    return ProblemsView(
        account=account,
        groups=groups,
        failures=list_failures(connection, account, now, limit),
        creations=missing[:limit],
        suggestions=suggest_rules(connection, account, groups, now),
    )

"""Estimate of an import's cost in requests, from the stored subscribers of the account."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from sqlalchemy import Connection

from prosperstack_destination.account_mapping import load
from prosperstack_destination.cli.import_survey import Survey
from prosperstack_destination.ingest.parser import ParsedIdentify
from prosperstack_destination.mapping.expression_runner import MappingInput
from prosperstack_destination.prosperstack.forecast import PAGE, Forecast, Rate, forecast
from prosperstack_destination.reconcile.rate_limiter import account_rate
from prosperstack_destination.reconcile.three_way_diff import diff
from prosperstack_destination.store import listing_state, profiles
from prosperstack_destination.store import subscribers as subscriber_rows
from prosperstack_destination.store.accounts import Account
from prosperstack_destination.store.merge import merge, stamped
from prosperstack_destination.store.subscribers import Subscriber

#: Number of emails in one query.
_EMAILS: Final = 500


@dataclass(frozen=True, slots=True)
class Estimate:
    """Cost of an import."""

    rate: Rate
    #: Upper bound: every person is a subscriber, with values that differ from the file's.
    most: Forecast
    #: Estimate from the stored subscribers; None if there are none yet.
    likely: Forecast | None


def estimate(connection: Connection, account: Account, survey: Survey, reserve: float) -> Estimate:
    """Estimate the cost of a file from its sample of people.

    ``reserve`` is the share of the rate limit kept free for the owner's tools, unless the account has its own.
    """
    rate = account_rate(connection, account, reserve)
    people = survey.most_people
    listed = listing_state.read(connection, account.id)
    most = forecast(people, rate, matching=people, subscribers=listed.size)
    subscribers = _subscribers(connection, account, survey.sample)
    if not survey.sample or (listed.as_of is None and not subscribers):
        return Estimate(rate, most, None)
    scale = people / len(survey.sample)
    unknown = sum(each.email not in subscribers for each in survey.sample) * scale
    writes = _writes(connection, account, survey.sample, subscribers) * scale
    if listed.as_of is None:
        writes += unknown  # each of these people may be a subscriber
        to_learn = unknown
    else:
        to_learn = min(unknown, -(-(listed.size or 0) // PAGE))
    requests = round(to_learn), round(writes)
    return Estimate(rate, most, Forecast(*requests, sum(requests) / rate.per_second))


def _subscribers(
    connection: Connection, account: Account, sample: Sequence[ParsedIdentify]
) -> dict[str, list[Subscriber]]:
    subscribers: dict[str, list[Subscriber]] = {}
    emails = iter([each.email for each in sample if each.email is not None])
    while batch := list(islice(emails, _EMAILS)):
        subscribers |= subscriber_rows.with_emails(connection, account.id, batch)
    return subscribers


def _writes(
    connection: Connection,
    account: Account,
    sample: Sequence[ParsedIdentify],
    subscribers: dict[str, list[Subscriber]],
) -> int:
    """Return the number of updates for a sample: its stored subscribers whose values differ."""
    mapping = load(connection, account)
    count = 0
    for each in sample:
        stored_subscribers = subscribers.get(each.email or "", [])
        if not stored_subscribers:
            continue
        profile = profiles.find(connection, account.id, each.email or "")
        stored = {} if profile is None else profile.traits
        traits = {name: value for name, (value, _) in merge(stored, stamped(each.traits, each.at)).traits.items()}
        desired = mapping.compiled.project(MappingInput(traits, each.user_id, each.anonymous_id)).values()
        count += sum(1 for subscriber in stored_subscribers if diff(desired, subscriber, mapping.catalog).send)
    return count

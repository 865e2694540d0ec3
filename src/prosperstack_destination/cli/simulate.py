"""Implementation of `simulate`."""

from sqlalchemy import Connection

from prosperstack_destination.admin import labels
from prosperstack_destination.cli import output
from prosperstack_destination.cli.session import read, resolve_account
from prosperstack_destination.errors import ConfigurationError
from prosperstack_destination.prosperstack.forecast import Rate, forecast, naive_seconds
from prosperstack_destination.reconcile.rate_limiter import account_rate, effective_rate
from prosperstack_destination.settings import read_settings
from prosperstack_destination.store import listing_state


def run(
    people: int,
    account_name: str | None,
    *,
    matching: float,
    changed: float,
    subscribers: int | None,
    limit: int | None,
    as_json: bool,
) -> None:
    """Print the requests and the time of a first sync of an audience of ``people``.

    ``matching`` is the share of them who are subscribers, ``changed`` the share of those whose values differ.
    """
    settings = read_settings()

    def work(connection: Connection) -> tuple[Rate, int | None]:
        account = resolve_account(connection, account_name)
        rate = account_rate(connection, account, settings.rate_limit_reserve)
        return rate, listing_state.read(connection, account.id).size

    try:
        rate, listed = read(work, settings)
    except ConfigurationError:
        if account_name is not None:
            raise
        rate, listed = effective_rate(None, settings.rate_limit_reserve), None  # an estimate needs no account
    if limit is not None:
        rate = Rate(limit, rate.window_seconds, rate.reserve)
    subscribers = listed if subscribers is None else subscribers
    estimate = forecast(people, rate, matching=round(people * matching * changed), subscribers=subscribers)
    naive = naive_seconds(people, rate)
    if as_json:
        output.print_json(
            {
                "people": people,
                "subscribers": subscribers,
                "requests_to_learn": estimate.lookups,
                "requests_to_write": estimate.updates,
                "seconds": estimate.seconds,
                "forwarder_seconds": naive,
                "requests_a_minute": rate.per_second * 60,
            }
        )
        return
    output.print_facts(
        {
            "People": people,
            "Requests to look them up": estimate.lookups,
            "Requests to write": estimate.updates,
            "Requests a minute": rate.per_second * 60,
            "Subscribers": "unknown" if subscribers is None else subscribers,
            "Done in at most": labels.span(estimate.seconds),
            "A plain forwarder": labels.span(naive),
        },
        as_json=False,
    )
    output.console.print(
        "Live calls go first. The estimate assumes that all people are subscribers and that all values differ. "
        "Lower it with --matching (share of people who are subscribers) and --changed (share whose values differ)."
    )

"""``simulate``: how long a first sync would take, before one turns it on in Engage."""

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
    """Print what it would cost that so many people enter an audience."""
    settings = read_settings()

    def work(connection: Connection) -> tuple[Rate, int | None]:
        account = resolve_account(connection, account_name)
        rate = account_rate(connection, account, settings.rate_limit_reserve)
        return rate, listing_state.read(connection, account.id).size

    try:
        rate, known = read(work, settings)
    except ConfigurationError:
        if account_name is not None:
            raise
        rate, known = (
            effective_rate(None, settings.rate_limit_reserve),
            None,
        )  # it may well be asked before there is an account
    if limit is not None:
        rate = Rate(limit, rate.window_seconds, rate.reserve)
    subscribers = known if subscribers is None else subscribers
    found = forecast(people, rate, matching=round(people * matching * changed), subscribers=subscribers)
    naive = naive_seconds(people, rate)
    if as_json:
        output.print_json(
            {
                "people": people,
                "subscribers": subscribers,
                "requests_to_learn": found.lookups,
                "requests_to_write": found.updates,
                "seconds": found.seconds,
                "forwarder_seconds": naive,
                "requests_a_minute": rate.per_second * 60,
            }
        )
        return
    output.print_facts(
        {
            "People": people,
            "Requests to learn who they are": found.lookups,
            "Requests to write": found.updates,
            "Requests a minute": rate.per_second * 60,
            "Subscribers": "unknown" if subscribers is None else subscribers,
            "Done in at most": labels.span(found.seconds),
            "A plain forwarder": labels.span(naive),
        },
        as_json=False,
    )
    output.console.print(
        "Live calls go first. This assumes that everyone is a subscriber whose values differ, unless --matching "
        "(the part that are subscribers) and --changed (the part of those that differ) say less."
    )

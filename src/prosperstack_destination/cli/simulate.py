"""Command that estimates the time of a first sync."""

from typing import Annotated

import typer

from prosperstack_destination.admin import labels
from prosperstack_destination.admin.status import default_rate, rate_and_subscribers
from prosperstack_destination.cli import output, session
from prosperstack_destination.cli.session import Account, Json
from prosperstack_destination.errors import ConfigurationError, InvalidInput
from prosperstack_destination.prosperstack.forecast import Rate, forecast, naive_seconds
from prosperstack_destination.settings import read_settings

app = typer.Typer()


@app.command()
def simulate(
    people: Annotated[int, typer.Argument(min=1, help="Number of people who enter the audience.")],
    account: Account = None,
    matching: Annotated[float, typer.Option(min=0, max=1, help="Share of them who are subscribers.")] = 1.0,
    changed: Annotated[
        float, typer.Option(min=0, max=1, help="Share of those subscribers whose values differ.")
    ] = 1.0,
    subscribers: Annotated[int | None, typer.Option(min=0, help="Number of subscribers of the account.")] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Requests in a window. Default: the limit that ProsperStack reported.")
    ] = None,
    json: Json = False,
) -> None:
    """Estimate the time of a first sync, before you turn it on in Engage."""
    reserve = read_settings().rate_limit_reserve
    try:
        rate, listed = session.read_account(account, rate_and_subscribers, reserve)
    except (ConfigurationError, InvalidInput):  # no database, or no account
        if account is not None:
            raise
        rate, listed = default_rate(reserve), None  # an estimate needs no account
    if limit is not None:
        rate = Rate(limit, rate.window_seconds, rate.reserve)
    subscribers = listed if subscribers is None else subscribers
    estimate = forecast(people, rate, matching=round(people * matching * changed), subscribers=subscribers)
    naive = naive_seconds(people, rate)
    if json:
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

"""How many requests an account may spend."""

from sqlalchemy import Connection

from prosperstack_destination.prosperstack.forecast import DEFAULT_LIMIT, DEFAULT_WINDOW_SECONDS, Rate
from prosperstack_destination.state import rate_limits
from prosperstack_destination.state.accounts import Account
from prosperstack_destination.state.rate_limits import ReportedLimit


def effective_rate(told: ReportedLimit | None, reserve: float) -> Rate:
    """What may be spent of a limit: as told, else as ProsperStack documents it."""
    if told is None:
        return Rate(DEFAULT_LIMIT, DEFAULT_WINDOW_SECONDS, reserve)
    return Rate(told.limit, max(told.window_seconds, 1.0), reserve)


def account_rate(connection: Connection, account: Account, reserve: float) -> Rate:
    """What an account may spend, by what it was told last.

    ``reserve`` is the part that is left for its owner where none was chosen for the account.
    """
    return effective_rate(rate_limits.of_account(connection, account.id), account.reserve_or(reserve))

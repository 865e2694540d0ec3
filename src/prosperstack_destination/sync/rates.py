"""How many requests an account may spend."""

from sqlalchemy import Connection

from prosperstack_destination.prosperstack.forecast import USUAL_LIMIT, USUAL_WINDOW_SECONDS, Rate
from prosperstack_destination.state import rate_limits
from prosperstack_destination.state.accounts import Account
from prosperstack_destination.state.rate_limits import ToldLimit


def rate_of(told: ToldLimit | None, reserve: float) -> Rate:
    """What may be spent of a limit: as told, else as ProsperStack documents it."""
    if told is None:
        return Rate(USUAL_LIMIT, USUAL_WINDOW_SECONDS, reserve)
    return Rate(told.limit, max(told.window_seconds, 1.0), reserve)


def rate_of_account(connection: Connection, account: Account, reserve: float) -> Rate:
    """What an account may spend, by what it was told last.

    ``reserve`` is the part that is left for its owner where none was chosen for the account.
    """
    return rate_of(rate_limits.of_account(connection, account.id), account.reserve_or(reserve))

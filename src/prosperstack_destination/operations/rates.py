"""How many requests an account may spend."""

from prosperstack_destination.prosperstack.forecast import USUAL_LIMIT, USUAL_WINDOW_SECONDS, Rate
from prosperstack_destination.state.rate_limits import ToldLimit


def rate_of(told: ToldLimit | None, reserve: float) -> Rate:
    """What an account may spend: as told, else as ProsperStack documents it."""
    if told is None:
        return Rate(USUAL_LIMIT, USUAL_WINDOW_SECONDS, reserve)
    return Rate(told.limit, max(told.window_seconds, 1.0), reserve)

"""What both engines tell a caller whose transaction was not taken."""

from typing import Final

from prosperstack_destination.errors import StoreUnavailable

#: How long a transaction waits for its turn and for others' locks before it gives up, in seconds: its caller is
#: answered within 4.
LOCK_WAIT_SECONDS: Final = 3.0
#: What a caller is told to wait when the database does not take its transaction, in seconds.
RETRY_AFTER_SECONDS: Final = 5.0


def unavailable(reason: object) -> StoreUnavailable:
    """The error for a database that cannot take a transaction now, with its own words.

    PostgreSQL's details and hints are left out: they may quote rows.
    """
    return StoreUnavailable(
        f"The database cannot take the call now ({_words(reason)}); it is safe to send it again.",
        retry_after=RETRY_AFTER_SECONDS,
    )


def _words(reason: object) -> str:
    """PostgreSQL's message alone, where the reason or its cause is an error of its own; else the reason's text."""
    for error in (reason, getattr(reason, "__cause__", None)):
        if isinstance(message := getattr(error, "message", None), str):
            return message
    return str(reason)

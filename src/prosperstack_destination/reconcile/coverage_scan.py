"""Coverage of an account's profiles by its mapping, computed page by page."""

import structlog
from sqlalchemy import Connection

from prosperstack_destination.account_mapping import load, mapping_input
from prosperstack_destination.errors import ConfigurationError
from prosperstack_destination.mapping.coverage import Coverage
from prosperstack_destination.reconcile.preview import SAMPLE
from prosperstack_destination.store import accounts, profile_queries
from prosperstack_destination.store.database import UnitOfWork

log = structlog.get_logger(__name__)


async def coverage(
    database: UnitOfWork, account_id: str, now: int, *, sample: int | None = SAMPLE
) -> tuple[Coverage, int]:
    """Return the coverage under the current mapping, and the number of profiles, as of ``now`` (microseconds).

    ``sample`` is the approximate number of profiles to count where there are more; None: all.
    """
    profiles = await database.read(profile_queries.count_all, account_id)
    one_in = 1 if sample is None else max(-(-profiles // sample), 1)
    result = await database.read(_empty_coverage, account_id)
    after: str | None = ""
    while after is not None:
        after = await database.read(_page, account_id, result, after, one_in, now)
    return result, profiles


def _empty_coverage(connection: Connection, account_id: str) -> Coverage:
    account = accounts.get(connection, account_id)
    if account is None:
        raise ConfigurationError(f"There is no account {account_id!r}.")
    return Coverage(load(connection, account).compiled)


def _page(
    connection: Connection, account_id: str, result: Coverage, after: str, one_in: int, now: int
) -> str | None:
    page = profile_queries.scan_page(connection, account_id, after, one_in=one_in)
    for profile in page:
        try:
            result.count(profile.stamped(), mapping_input(profile, now))
        except Exception as error:  # noqa: BLE001 -- an unexpected error for one profile must not stop the others
            log.error("a profile could not be counted", profile_id=profile.id, error=type(error).__name__)
    return page[-1].email if page else None

"""Scan of all profiles of an account in pages, ordered by email.

Each page is a short transaction: scanning a million profiles blocks no writer and keeps one page in memory.
"""

from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue
from sqlalchemy import Connection, bindparam, func, select

from prosperstack_destination.store import json_codec
from prosperstack_destination.store.models import IdKind, Stamped
from prosperstack_destination.store.profiles import newest_id
from prosperstack_destination.store.tables import profiles

#: Default number of profiles in a page.
PAGE_SIZE: Final = 500


@dataclass(frozen=True, slots=True)
class ScannedProfile:
    """Fields of a profile that the mapping needs, with JSON that is decoded on demand.

    A page of decoded profiles would be many small objects that keep Python's garbage collector busy, which halves
    the speed.
    """

    id: int
    email: str
    user_id: str | None
    #: IDs and traits, as stored.
    ids: str
    traits: str
    status: str

    def stamped(self) -> dict[str, Stamped]:
        """Return the traits with their times."""
        found: dict[str, Stamped] = json_codec.load(self.traits)
        return found

    def values(self) -> dict[str, JsonValue]:
        """Return the traits without their times."""
        return {name: value for name, (value, _) in json_codec.load(self.traits).items()}

    @property
    def anonymous_id(self) -> str | None:
        """Anonymous ID of the email's latest call that had one."""
        return newest_id(self.ids, IdKind.ANONYMOUS)


#: Hashed ID: a sample must not follow a pattern in the order of insertion.
_SCATTERED: Final = (profiles.c.id * 2_654_435_761 % 4_294_967_296) // 65_536
_PAGE: Final = (
    select(
        profiles.c.id, profiles.c.email, profiles.c.user_id, profiles.c.ids, profiles.c.traits, profiles.c.status
    )
    .where(
        profiles.c.account_id == bindparam("account"),
        profiles.c.email > bindparam("after"),
        _SCATTERED % bindparam("one_in") == 0,
    )
    .order_by(profiles.c.email)
    .limit(bindparam("limit"))
)


def page(
    connection: Connection, account_id: str, after: str, *, limit: int = PAGE_SIZE, one_in: int = 1
) -> list[ScannedProfile]:
    """Return the profiles after an email ("" for the first page); with ``one_in``, a sample of one in so many."""
    rows = connection.execute(_PAGE, {"account": account_id, "after": after, "limit": limit, "one_in": one_in})
    return [ScannedProfile(*row) for row in rows]


def count(connection: Connection, account_id: str) -> int:
    """Return the number of an account's profiles."""
    return connection.execute(
        select(func.count()).select_from(profiles).where(profiles.c.account_id == account_id)
    ).scalar_one()

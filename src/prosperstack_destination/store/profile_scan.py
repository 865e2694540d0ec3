"""Units of work that go through all profiles of an account, a page at a time, in the order of their emails.

A page is a short transaction of its own: what goes through a million profiles holds nothing up, and holds no more
than a page in memory.
"""

from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue
from sqlalchemy import Connection, bindparam, func, select

from prosperstack_destination.store import json_codec
from prosperstack_destination.store.models import IdKind, Stamped
from prosperstack_destination.store.profiles import newest_id
from prosperstack_destination.store.tables import profiles

#: Profiles that are read together.
PAGE: Final = 500


@dataclass(frozen=True, slots=True)
class ScannedProfile:
    """A profile, as far as the mapping looks at it. Its JSON is read when it is asked for.

    A page of read ones would be many small objects at once, which keep Python's garbage collector busy: that halves
    the speed.
    """

    id: int
    email: str
    user_id: str | None
    #: Its ids and its traits, as they are stored.
    ids: str
    traits: str
    status: str

    def stamped(self) -> dict[str, Stamped]:
        """The traits with their times."""
        found: dict[str, Stamped] = json_codec.load(self.traits)
        return found

    def values(self) -> dict[str, JsonValue]:
        """The traits without their times."""
        return {name: value for name, (value, _) in json_codec.load(self.traits).items()}

    @property
    def anonymous_id(self) -> str | None:
        """The anonymous id that came with the email last."""
        return newest_id(self.ids, IdKind.ANONYMOUS)


#: Ids, scattered: a sample must not follow a pattern in the order in which profiles came.
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
    connection: Connection, account_id: str, after: str, *, limit: int = PAGE, one_in: int = 1
) -> list[ScannedProfile]:
    """The profiles after an email ("" for the first page); of them, one in so many."""
    rows = connection.execute(_PAGE, {"account": account_id, "after": after, "limit": limit, "one_in": one_in})
    return [ScannedProfile(*row) for row in rows]


def count(connection: Connection, account_id: str) -> int:
    """How many profiles an account has."""
    return connection.execute(
        select(func.count()).select_from(profiles).where(profiles.c.account_id == account_id)
    ).scalar_one()

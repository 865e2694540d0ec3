"""Finding people. A page that is only opened names nobody."""

from collections.abc import Mapping
from typing import Final

from sqlalchemy import Connection
from starlette.responses import Response

from prosperstack_destination.admin import people
from prosperstack_destination.dashboard.context import PageContext
from prosperstack_destination.dashboard.headline import IN_SHORT
from prosperstack_destination.dashboard.routing import PageRoute
from prosperstack_destination.emails import normalize_email
from prosperstack_destination.errors import NotFoundError
from prosperstack_destination.store import profile_queries
from prosperstack_destination.store.accounts import Account
from prosperstack_destination.store.models import UNSETTLED, Status
from prosperstack_destination.store.profile_queries import SCAN_LIMIT, ProfilePage

#: People that a page has.
PAGE: Final = 50
#: The most that is looked for, in characters: no email and no user id is longer.
MOST: Final = 500
#: Ways to stand that can be asked for: how they are called, and what they are.
STATUS_FILTERS: Final[Mapping[str, tuple[str, tuple[Status, ...]]]] = {
    "": ("any", ()),
    "waiting": ("waiting", UNSETTLED),
    "in_sync": ("up to date", (Status.IN_SYNC,)),
    "unmatched": ("no subscriber", (Status.UNMATCHED,)),
    "set_aside": ("email rejected", (Status.REJECTED,)),
}


class PeoplePages:
    """The pages of them."""

    def pages(self) -> list[PageRoute]:
        """Its routes."""
        return [PageRoute("/people", _show)]


async def _show(visit: PageContext) -> Response:
    wanted, stands, after = visit.query("q")[:MOST], visit.query("stands"), visit.query("after")[:MOST]
    stands = stands if stands in STATUS_FILTERS else ""
    found: ProfilePage | None = None
    if wanted or stands or visit.query("show") == "everybody":
        found = await visit.services.database.read(_find, visit.account, wanted, stands, after)
        if wanted and not (stands or after) and len(found.profiles) == 1 and found.after is None:
            return visit.redirect_home(f"people/{found.profiles[0].id}")
    nobody = None
    if wanted and found is not None and not found.profiles and found.after is None:
        nobody = await visit.services.database.read(_explain_no_result, visit.account, wanted)
    return visit.page(
        "people.html",
        title="People",
        q=wanted,
        stands=stands,
        after=after,
        ways={name: words for name, (words, _) in STATUS_FILTERS.items()},
        found=found,
        nobody=nobody,
        in_short=IN_SHORT,
        looked_at=SCAN_LIMIT,
    )


def _find(connection: Connection, account: Account, wanted: str, stands: str, after: str) -> ProfilePage:
    """Whoever has the user id, then those whose email begins so."""
    _, statuses = STATUS_FILTERS[stands]
    found = profile_queries.list_page(
        connection, account.id, after=after, limit=PAGE, prefix=normalize_email(wanted), statuses=statuses
    )
    if not wanted or after:
        return found
    for email in profile_queries.emails_of_user(connection, account.id, wanted):
        named = profile_queries.list_page(
            connection, account.id, after="", limit=1, prefix=email, statuses=statuses
        ).profiles
        if named and named[0].email == email:
            others = tuple(each for each in found.profiles if each.id != named[0].id)
            return ProfilePage((*named, *others), found.after)
    return found


def _explain_no_result(connection: Connection, account: Account, wanted: str) -> str:
    """What is known of an email or a user id that finds nobody."""
    try:
        people.profile_id(connection, account, **({"email": wanted} if "@" in wanted else {"user_id": wanted}))
    except NotFoundError as error:
        return str(error)
    return "They stand in another way than was asked for."

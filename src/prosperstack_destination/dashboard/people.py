"""Search for people. The page lists no person without a search."""

from collections.abc import Mapping
from typing import Final

from sqlalchemy import Connection
from starlette.responses import Response

from prosperstack_destination.admin import people
from prosperstack_destination.dashboard.person_text import STATUS_LABELS
from prosperstack_destination.dashboard.routing import PageContext, PageRoute
from prosperstack_destination.emails import normalize_email
from prosperstack_destination.errors import NotFoundError
from prosperstack_destination.store import profile_queries
from prosperstack_destination.store.accounts import Account
from prosperstack_destination.store.models import UNSETTLED, Status
from prosperstack_destination.store.profile_queries import SCAN_LIMIT, ProfilePage

#: People per page.
PAGE_SIZE: Final = 50
#: Maximum length of a search text, in characters: no email and no user ID is longer.
MAX_QUERY: Final = 500
#: Status filters: label and statuses of each.
STATUS_FILTERS: Final[Mapping[str, tuple[str, tuple[Status, ...]]]] = {
    "": ("any", ()),
    "waiting": ("waiting", UNSETTLED),
    "in_sync": ("up to date", (Status.IN_SYNC,)),
    "unmatched": ("no subscriber", (Status.UNMATCHED,)),
    "set_aside": ("email rejected", (Status.REJECTED,)),
}


class PeoplePages:
    """Routes of the search."""

    def pages(self) -> list[PageRoute]:
        """Return the routes."""
        return [PageRoute("/people", _show)]


async def _show(context: PageContext) -> Response:
    query, status, after = (
        context.query("q")[:MAX_QUERY],
        context.query("status"),
        context.query("after")[:MAX_QUERY],
    )
    status = status if status in STATUS_FILTERS else ""
    page: ProfilePage | None = None
    if query or status or context.query("show") == "all":
        page = await context.services.database.read(_find, context.account, query, status, after)
        if query and not (status or after) and len(page.profiles) == 1 and page.after is None:
            return context.redirect_home(f"people/{page.profiles[0].id}")
    reason = None
    if query and page is not None and not page.profiles and page.after is None:
        reason = await context.services.database.read(_explain_no_result, context.account, query)
    return context.page(
        "people.html",
        title="People",
        q=query,
        status_filter=status,
        after=after,
        statuses={name: label for name, (label, _) in STATUS_FILTERS.items()},
        result=page,
        reason=reason,
        status_labels=STATUS_LABELS,
        looked_at=SCAN_LIMIT,
    )


def _find(connection: Connection, account: Account, query: str, status: str, after: str) -> ProfilePage:
    """Return the profile with this user ID, then the profiles whose email starts with the query."""
    _, statuses = STATUS_FILTERS[status]
    page = profile_queries.list_page(
        connection, account.id, after=after, limit=PAGE_SIZE, prefix=normalize_email(query), statuses=statuses
    )
    if not query or after:
        return page
    for email in profile_queries.emails_of_user(connection, account.id, query):
        named = profile_queries.list_page(
            connection, account.id, after="", limit=1, prefix=email, statuses=statuses
        ).profiles
        if named and named[0].email == email:
            others = tuple(each for each in page.profiles if each.id != named[0].id)
            return ProfilePage((*named, *others), page.after)
    return page


def _explain_no_result(connection: Connection, account: Account, query: str) -> str:
    """Return why a search for an email or a user ID has no match."""
    try:
        people.profile_id(connection, account, **({"email": query} if "@" in query else {"user_id": query}))
    except NotFoundError as error:
        return str(error)
    return "The person has another status than the selected one."

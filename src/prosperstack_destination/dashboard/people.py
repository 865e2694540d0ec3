"""Search for people. The page lists no person without a search."""

from collections.abc import Mapping
from typing import Final

from starlette.responses import Response

from prosperstack_destination.admin import people
from prosperstack_destination.dashboard.person_text import STATUS_LABELS
from prosperstack_destination.dashboard.routing import PageContext, PageRoute
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
        page = await context.services.database.read(
            people.search, context.account, query, statuses=STATUS_FILTERS[status][1], after=after, limit=PAGE_SIZE
        )
        if query and not (status or after) and len(page.profiles) == 1 and page.after is None:
            return context.redirect_home(f"people/{page.profiles[0].id}")
    reason = None
    if query and page is not None and not page.profiles and page.after is None:
        reason = await context.services.database.read(people.explain_no_result, context.account, query)
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

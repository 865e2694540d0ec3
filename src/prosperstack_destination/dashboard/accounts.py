"""All accounts, live and test apart."""

from starlette.responses import Response

from prosperstack_destination.dashboard.routing import Page
from prosperstack_destination.dashboard.visit import Visit


class AccountPages:
    """The pages of them."""

    def pages(self) -> list[Page]:
        """Its routes."""
        return [Page("/accounts", _show, of_account=False)]


async def _show(visit: Visit) -> Response:
    return visit.page("accounts.html", title="Accounts")

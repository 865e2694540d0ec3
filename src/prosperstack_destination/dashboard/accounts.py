"""All accounts, live and test apart, how each stands, and opening one."""

from starlette.responses import Response

from prosperstack_destination.dashboard.routing import ACTOR, Page
from prosperstack_destination.dashboard.visit import Visit
from prosperstack_destination.errors import Misconfigured
from prosperstack_destination.operations import accounts as choices
from prosperstack_destination.operations.desk import EVERYBODY


class AccountPages:
    """The pages of them."""

    def pages(self) -> list[Page]:
        """Their routes."""
        return [
            Page("/accounts", _show, of_account=False),
            Page("/accounts", _open, "POST", of_account=False),
        ]


async def _show(visit: Visit) -> Response:
    return await _page(visit)


async def _page(visit: Visit, *, status: int = 200, wrong: str | None = None) -> Response:
    found = await visit.desk.backlogs.whole(EVERYBODY)
    backlogs = {account_id: sum(by_status.values()) for account_id, by_status in found.items()}
    modes = [("Live", [each for each in visit.accounts if each.live])]
    modes.append(("Test", [each for each in visit.accounts if not each.live]))
    return visit.page("accounts.html", status=status, title="Accounts", modes=modes, backlogs=backlogs, wrong=wrong)


async def _open(visit: Visit) -> Response:
    desk = visit.desk
    try:
        account, is_new = await desk.database.write(
            choices.open_account, visit.form.get("key", "").strip(), desk.vault, ACTOR, visit.now
        )
    except Misconfigured as refusal:
        return await _page(visit, status=422, wrong=str(refusal))
    desk.on_keys()
    desk.wake([account.id])
    said = "The account is open. ProsperStack is asked about its key now." if is_new else "It was open already."
    return visit.go(f"/dashboard/a/{account.id}/overview", said)

"""All accounts, live and test apart, how each stands, and opening one; and the tokens of the API."""

from typing import Final

from starlette.responses import Response

from prosperstack_destination.admin import accounts as choices
from prosperstack_destination.admin import operator_tokens as token_choices
from prosperstack_destination.admin.services import ALL_ACCOUNTS
from prosperstack_destination.dashboard.context import PageContext
from prosperstack_destination.dashboard.routing import ACTOR, PageRoute
from prosperstack_destination.errors import ConfigurationError, KeyUnverified, NotFoundError
from prosperstack_destination.store import operator_tokens

#: Accounts that the page lists, of either mode.
MOST_ACCOUNTS: Final = 100
#: The longest name of a token, in characters.
MAX_NAME: Final = 200


class AccountPages:
    """The pages of them."""

    def pages(self) -> list[PageRoute]:
        """Their routes."""
        return [
            PageRoute("/accounts", _show, of_account=False),
            PageRoute("/accounts", _open, "POST", of_account=False),
            PageRoute("/tokens", _issue_token, "POST", of_account=False),
            PageRoute("/tokens/revoke", _revoke_token, "POST", of_account=False),
        ]


async def _show(visit: PageContext) -> Response:
    return await _page(visit)


async def _page(
    visit: PageContext,
    *,
    status: int = 200,
    wrong: str | None = None,
    wrong_token: str | None = None,
    issued: str = "",
) -> Response:
    waiting = await visit.services.backlogs.latest(ALL_ACCOUNTS)
    backlogs = None
    if waiting is not None:  # else they are being counted: the service has just begun
        backlogs = {account_id: sum(by_status.values()) for account_id, by_status in waiting.items()}
    find = visit.query("q")
    found = [each for each in visit.accounts if find in each.fingerprint or find in each.id]
    modes = [("Live", [each for each in found if each.live]), ("Test", [each for each in found if not each.live])]
    known = await visit.services.database.read(operator_tokens.all_tokens)
    return visit.page(
        "accounts.html",
        status=status,
        title="Accounts",
        modes=modes,
        find=find,
        most=MOST_ACCOUNTS,
        backlogs=backlogs,
        tokens=[each for each in known[::-1] if each.revoked_at is None],
        revoked=sum(each.revoked_at is not None for each in known),
        issued=issued,
        base=visit.base_url,
        wrong=wrong,
        wrong_token=wrong_token,
    )


async def _issue_token(visit: PageContext) -> Response:
    """Make a token for the API, and show it: only now, so the page is the answer to the form."""
    name = visit.form.get("name", "").strip()[:MAX_NAME]
    try:
        token = await visit.services.database.write(token_choices.issue, name, ACTOR, visit.now)
    except ConfigurationError as refusal:
        return await _page(visit, status=422, wrong_token=str(refusal))
    visit.services.operators.invalidate()
    return await _page(visit, issued=token)


async def _revoke_token(visit: PageContext) -> Response:
    if visit.form.get("sure") != "yes":
        unsure = "Nothing was revoked: tick that you are sure."
        return await _page(visit, status=422, wrong_token=unsure)
    try:
        await visit.services.database.write(token_choices.revoke, visit.form.get("which", ""), ACTOR, visit.now)
    except NotFoundError:
        return visit.redirect("/dashboard/accounts", "There is no such token that is good: it was revoked before.")
    visit.services.operators.invalidate()
    return visit.redirect(
        "/dashboard/accounts", "The token is refused from now on, in other processes within seconds."
    )


async def _open(visit: PageContext) -> Response:
    services = visit.services
    key = visit.form.get("key", "").strip()
    try:
        await services.check_key(key)
        account, is_new = await services.database.write(choices.open_account, key, services.vault, ACTOR, visit.now)
    except ConfigurationError as refusal:
        return await _page(visit, status=422, wrong=str(refusal))
    except KeyUnverified as error:
        return await _page(visit, status=503, wrong=str(error))
    services.invalidate_credentials()
    services.wake([account.id])
    said = "The account is open: ProsperStack takes its key." if is_new else "It was open already."
    return visit.redirect(f"/dashboard/a/{account.id}/overview", said)

"""Page of all accounts with their status, and of the API tokens."""

from typing import Final

from starlette.responses import Response

from prosperstack_destination.admin import accounts as choices
from prosperstack_destination.admin.credentials import issue_token, list_credentials, revoke
from prosperstack_destination.admin.services import ALL_ACCOUNTS
from prosperstack_destination.dashboard.routing import ACTOR, PageContext, PageRoute
from prosperstack_destination.errors import InvalidInput, KeyUnverified, NotFoundError
from prosperstack_destination.store.credentials import CredentialKind

#: Maximum accounts on the page, for each mode.
MOST_ACCOUNTS: Final = 100
#: Maximum length of a token's name, in characters.
MAX_NAME: Final = 200


class AccountPages:
    """Routes of the page."""

    def pages(self) -> list[PageRoute]:
        """Return the routes."""
        return [
            PageRoute("/accounts", _show, of_account=False),
            PageRoute("/accounts", _open, "POST", of_account=False),
            PageRoute("/tokens", _issue_token, "POST", of_account=False),
            PageRoute("/tokens/revoke", _revoke_token, "POST", of_account=False),
        ]


async def _show(context: PageContext) -> Response:
    return await _page(context)


async def _page(
    context: PageContext,
    *,
    status: int = 200,
    wrong: str | None = None,
    wrong_token: str | None = None,
    issued: str = "",
) -> Response:
    waiting = await context.services.backlogs.latest(ALL_ACCOUNTS)
    backlogs = None
    if waiting is not None:  # None while the backlogs are counted, after the start
        backlogs = {account_id: sum(by_status.values()) for account_id, by_status in waiting.items()}
    find = context.query("q")
    found = [each for each in context.accounts if find in each.fingerprint or find in each.id]
    modes = [("Live", [each for each in found if each.live]), ("Test", [each for each in found if not each.live])]
    known = await context.services.database.read(list_credentials, CredentialKind.TOKEN)
    return context.page(
        "accounts.html",
        status=status,
        title="Accounts",
        modes=modes,
        find=find,
        most=MOST_ACCOUNTS,
        backlogs=backlogs,
        tokens=[each for each in known if each.revoked_at is None],
        revoked=sum(each.revoked_at is not None for each in known),
        issued=issued,
        base=context.base_url,
        wrong=wrong,
        wrong_token=wrong_token,
    )


async def _issue_token(context: PageContext) -> Response:
    """Issue an API token. The response shows it, and no later page does."""
    name = context.form.get("name", "").strip()[:MAX_NAME]
    try:
        token = await context.services.database.write(issue_token, name, ACTOR, context.now)
    except InvalidInput as refusal:
        return await _page(context, status=422, wrong_token=str(refusal))
    context.services.invalidate_credentials()
    return await _page(context, issued=token.text)


async def _revoke_token(context: PageContext) -> Response:
    if context.form.get("sure") != "yes":
        unsure = "The token was not revoked. Tick “I am sure” to confirm."
        return await _page(context, status=422, wrong_token=unsure)
    try:
        await context.services.database.write(
            revoke, CredentialKind.TOKEN, None, context.form.get("which", ""), ACTOR, context.now
        )
    except NotFoundError:
        return context.redirect("/dashboard/accounts", "The token does not exist or is already revoked.")
    context.services.invalidate_credentials()
    return context.redirect(
        "/dashboard/accounts", "The token is revoked. Other processes refuse it within seconds."
    )


async def _open(context: PageContext) -> Response:
    services = context.services
    key = context.form.get("key", "").strip()
    try:
        await services.check_key(key)
        account, is_new = await services.database.write(
            choices.open_account, key, services.vault, ACTOR, context.now
        )
    except InvalidInput as refusal:
        return await _page(context, status=422, wrong=str(refusal))
    except KeyUnverified as error:
        return await _page(context, status=503, wrong=str(error))
    services.invalidate_credentials()
    services.wake([account.id])
    flash = "The account is open. ProsperStack accepts its key." if is_new else "The account was already open."
    return context.redirect(f"/dashboard/a/{account.id}/overview", flash)

"""Settings of an account: options, credentials, sources, audit log, and removal."""

from collections.abc import Callable
from typing import Any, Concatenate, Final, ParamSpec

from starlette.responses import Response

from prosperstack_destination.admin import accounts as choices
from prosperstack_destination.admin.accounts import CONSEQUENCES, AccountChanges, remove_account
from prosperstack_destination.admin.credentials import issue, revoke
from prosperstack_destination.dashboard.routing import ACTOR, PageContext, PageRoute
from prosperstack_destination.errors import InvalidInput, KeyUnverified
from prosperstack_destination.store.accounts import HoldUnknown, OnDelete
from prosperstack_destination.store.credentials import CredentialKind

#: Maximum audit log entries and sources on the page.
ENTRIES: Final = 50
SOURCES: Final = 100
#: Maximum length of a credential's name, in characters.
MAX_NAME: Final = 200
_REVOCABLE: Final = (CredentialKind.KEY, CredentialKind.SECRET, CredentialKind.CONNECTOR)

P = ParamSpec("P")


def settings_pages() -> list[PageRoute]:
    """Return the routes of the page and its forms."""
    return [
        PageRoute("/settings", _show),
        PageRoute("/settings/choices", _set_options, "POST"),
        PageRoute("/settings/prosperstack-key", _replace_key, "POST"),
        PageRoute("/settings/issue", _issue, "POST"),
        PageRoute("/settings/revoke", _revoke, "POST"),
        PageRoute("/settings/remove", _remove, "POST"),
    ]


async def _show(context: PageContext) -> Response:
    return await _page(context)


async def _page(context: PageContext, *, status: int = 200, **more: Any) -> Response:
    found = await context.services.database.read(choices.settings_of, context.account, ENTRIES)
    return context.page(
        "settings.html",
        status=status,
        title="Settings",
        **{"issued": None, "wrong": None, **more},
        keys=found.credentials[CredentialKind.KEY],
        secrets=found.credentials[CredentialKind.SECRET],
        connectors=found.credentials[CredentialKind.CONNECTOR],
        sources=found.sources[:SOURCES],
        entries=found.audit,
        default_reserve=context.reserve,
        consequences=CONSEQUENCES,
        choices=list(OnDelete),
        held=list(HoldUnknown),
        on_delete=context.account.on_delete,
        base=str(context.request.base_url).rstrip("/"),
    )


async def _set_options(context: PageContext) -> Response:
    """Set the reserve and the effect of a deletion."""
    account = context.account
    time_zone = context.form.get("time_zone", "").strip() or account.time_zone
    percent = context.form.get("reserve", "").strip().removesuffix("%").strip()
    try:
        reserve = None if percent == "" else float(percent) / 100
        on_delete = OnDelete(context.form.get("on_delete", ""))
        hold_unknown = HoldUnknown(context.form.get("hold_unknown", account.hold_unknown))
    except ValueError:
        return await _page(context, status=422, wrong="Enter the requests kept free in percent, for example 10.")

    changes = AccountChanges(
        on_delete=None if on_delete is account.on_delete else on_delete,
        reserve=... if reserve == account.reserve else reserve,
        hold_unknown=None if hold_unknown is account.hold_unknown else hold_unknown,
        time_zone=None if time_zone == account.time_zone else time_zone,
    )
    saved = "Saved. The change takes effect within seconds."
    return await _done(context, saved, choices.change, account, changes, ACTOR, context.now)


async def _replace_key(context: PageContext) -> Response:
    key = context.form.get("key", "").strip()
    try:
        await context.services.check_key(key)
    except InvalidInput as refusal:
        return await _page(context, status=422, wrong=str(refusal))
    except KeyUnverified as error:
        return await _page(context, status=503, wrong=str(error))
    vault = context.services.vault
    return await _done(
        context, "The key is replaced.", choices.replace_key, context.account, key, vault, ACTOR, context.now
    )


async def _done(
    context: PageContext,
    flash: str,
    change: Callable[Concatenate[Any, P], object],
    *args: P.args,
    **kwargs: P.kwargs,
) -> Response:
    """Run a change, and redirect with a message; render the page with the error if the change is invalid."""
    try:
        await context.services.database.write(change, *args, **kwargs)
    except InvalidInput as refusal:
        return await _page(context, status=422, wrong=str(refusal))
    context.services.invalidate_credentials()
    context.services.wake([context.account.id])
    return context.redirect_home("settings", flash)


async def _issue(context: PageContext) -> Response:
    """Issue a key, a shared secret or a connector. Only this response shows it."""
    kind, name = context.form.get("kind", ""), context.form.get("name", "").strip()[:MAX_NAME]
    base, services = str(context.request.base_url).rstrip("/"), context.services
    origins = context.form.get("origins", "").replace(",", " ").split() if kind == "public-key" else None
    issued_kind = "key" if kind == "public-key" else kind
    if issued_kind not in _REVOCABLE:
        return await _page(context, status=422, wrong="Choose what to issue.")
    try:
        issued = await services.database.write(
            issue,
            CredentialKind(issued_kind),
            context.account,
            name,
            services.vault,
            ACTOR,
            context.now,
            origins,
        )
    except InvalidInput as refusal:
        return await _page(context, status=422, wrong=str(refusal))
    text = issued.text
    shown = {
        "key": [("Inbound key: the API key of the destination in Segment, or the write key of an SDK", text)],
        "public-key": [("Public key: the write key of an SDK in a web page or an app", text)],
        "secret": [("Shared secret", text), ("Webhook URL", f"{base}/webhook/{context.account.id}")],
        "connector": [
            ("URL of a custom data connector", f"{base}/data-connector/{text}"),
            ("URL of a webhook for flow_session_started", f"{base}/flow-webhook/{text}"),
        ],
    }[kind]
    context.services.invalidate_credentials()
    return await _page(context, issued=shown)


async def _revoke(context: PageContext) -> Response:
    kind, which = context.form.get("kind", ""), context.form.get("which", "")
    if context.form.get("sure") != "yes" or kind not in _REVOCABLE:
        return await _page(context, status=422, wrong="Not revoked. Tick “I am sure” to confirm.")
    return await _done(
        context, f"The {kind} is revoked.", revoke, CredentialKind(kind), context.account, which, ACTOR, context.now
    )


async def _remove(context: PageContext) -> Response:
    """Remove the account with all its data."""
    if context.form.get("sure") != "yes":
        return await _page(context, status=422, wrong="The account was not removed. Tick “I am sure” to confirm.")
    await remove_account(context.services.database, context.account, ACTOR, context.now)
    context.services.invalidate_credentials()
    return context.redirect("/dashboard/accounts", f"The account {context.account.fingerprint} is removed.")

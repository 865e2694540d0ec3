"""Settings of an account: options, credentials, sources, audit log, and removal."""

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from sqlalchemy import Connection
from starlette.responses import Response

from prosperstack_destination.admin import accounts as choices
from prosperstack_destination.admin.accounts import CONSEQUENCES, remove_account
from prosperstack_destination.auth.credentials import issue_connector, issue_key, issue_secret, replace_key, revoke
from prosperstack_destination.dashboard.routing import ACTOR, PageContext, PageRoute
from prosperstack_destination.errors import ConfigurationError, KeyUnverified
from prosperstack_destination.store import accounts, activity, credentials, sources
from prosperstack_destination.store.accounts import HoldUnknown, OnDelete
from prosperstack_destination.store.credentials import Credential, CredentialKind

#: Maximum audit log entries and sources on the page.
ENTRIES: Final = 50
SOURCES: Final = 100
#: Maximum length of a credential's name, in characters.
MAX_NAME: Final = 200
_REVOCABLE: Final = (CredentialKind.KEY, CredentialKind.SECRET, CredentialKind.CONNECTOR)


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
    def read(connection: Connection) -> dict[str, Any]:
        return {
            **{
                f"{kind}s": _active_first(credentials.of_kind(connection, kind, context.account.id))
                for kind in _REVOCABLE
            },
            "sources": sources.of_account(connection, context.account.id)[:SOURCES],
            "entries": activity.recent_actions(connection, context.account.id, ENTRIES),
            "on_delete": accounts.on_delete(connection, context.account.id),
        }

    data = await context.services.database.read(read)
    return context.page(
        "settings.html",
        status=status,
        title="Settings",
        **{"issued": None, "wrong": None, **data, **more},
        default_reserve=context.reserve,
        consequences=CONSEQUENCES,
        choices=list(OnDelete),
        held=list(HoldUnknown),
        base=str(context.request.base_url).rstrip("/"),
    )


def _active_first(credentials: list[Credential]) -> list[Credential]:
    """Return the active credentials before the revoked ones, each group in the given order (newest first)."""
    return sorted(credentials, key=lambda each: each.revoked_at is not None)


async def _set_options(context: PageContext) -> Response:
    """Set the reserve and the effect of a deletion."""
    time_zone = context.form.get("time_zone", "").strip() or context.account.time_zone
    percent = context.form.get("reserve", "").strip().removesuffix("%").strip()
    try:
        reserve = None if percent == "" else float(percent) / 100
        on_delete = OnDelete(context.form.get("on_delete", ""))
        hold_unknown = HoldUnknown(context.form.get("hold_unknown", context.account.hold_unknown))
    except ValueError:
        return await _page(context, status=422, wrong="Enter the requests kept free in percent, for example 10.")

    def work(connection: Connection) -> None:
        if reserve != context.account.reserve:
            choices.set_reserve(connection, context.account, reserve, ACTOR, context.now)
        if on_delete is not accounts.on_delete(connection, context.account.id):
            choices.set_on_delete(connection, context.account, on_delete, ACTOR, context.now)
        current = accounts.get(connection, context.account.id) or context.account
        if hold_unknown is not current.hold_unknown:
            choices.set_hold_unknown(connection, current, hold_unknown, ACTOR, context.now)
        if time_zone != current.time_zone:
            choices.set_time_zone(connection, current, time_zone, ACTOR, context.now)

    return await _done(context, work, "Saved. The change takes effect within seconds.")


async def _replace_key(context: PageContext) -> Response:
    key = context.form.get("key", "").strip()
    try:
        await context.services.check_key(key)
    except ConfigurationError as refusal:
        return await _page(context, status=422, wrong=str(refusal))
    except KeyUnverified as error:
        return await _page(context, status=503, wrong=str(error))

    def work(connection: Connection) -> None:
        replace_key(connection, context.account, key, context.services.vault, ACTOR, context.now)

    return await _done(context, work, "The key is replaced.")


async def _done(context: PageContext, work: Callable[[Connection], object], flash: str) -> Response:
    """Run a change, and redirect with a message; render the page with the error if the change is invalid."""
    try:
        await context.services.database.write(work)
    except ConfigurationError as refusal:
        return await _page(context, status=422, wrong=str(refusal))
    context.services.invalidate_credentials()
    context.services.wake([context.account.id])
    return context.redirect_home("settings", flash)


async def _issue(context: PageContext) -> Response:
    """Issue a key, a shared secret or a connector. Only this response shows it."""
    kind, name = context.form.get("kind", ""), context.form.get("name", "").strip()[:MAX_NAME]
    base = str(context.request.base_url).rstrip("/")
    database, vault = context.services.database, context.services.vault
    if kind == "key":
        key = await database.write(issue_key, context.account, name, ACTOR, context.now)
        shown = [("Inbound key: the API key of the destination in Segment, or the write key of an SDK", key.text)]
    elif kind == "public-key":
        issue = partial(issue_key, origins=context.form.get("origins", "").replace(",", " ").split())
        try:
            key = await database.write(issue, context.account, name, ACTOR, context.now)
        except ConfigurationError as refusal:
            return await _page(context, status=422, wrong=str(refusal))
        shown = [("Public key: the write key of an SDK in a web page or an app", key.text)]
    elif kind == "secret":
        secret = await database.write(issue_secret, context.account, name, vault, ACTOR, context.now)
        shown = [("Shared secret", secret.text), ("Webhook URL", f"{base}/webhook/{context.account.id}")]
    elif kind == "connector":
        token = (await database.write(issue_connector, context.account, name, ACTOR, context.now)).text
        shown = [
            ("URL of a custom data connector", f"{base}/data-connector/{token}"),
            ("URL of a webhook for flow_session_started", f"{base}/flow-webhook/{token}"),
        ]
    else:
        return await _page(context, status=422, wrong="Choose what to issue.")
    context.services.invalidate_credentials()
    return await _page(context, issued=shown)


async def _revoke(context: PageContext) -> Response:
    kind, which = context.form.get("kind", ""), context.form.get("which", "")
    if context.form.get("sure") != "yes" or kind not in _REVOCABLE:
        return await _page(context, status=422, wrong="Not revoked. Tick “I am sure” to confirm.")

    def work(connection: Connection) -> None:
        revoke(connection, CredentialKind(kind), context.account, which, ACTOR, context.now)

    return await _done(context, work, f"The {kind} is revoked.")


async def _remove(context: PageContext) -> Response:
    """Remove the account with all its data."""
    if context.form.get("sure") != "yes":
        return await _page(context, status=422, wrong="The account was not removed. Tick “I am sure” to confirm.")
    await remove_account(context.services.database, context.account, ACTOR, context.now)
    context.services.invalidate_credentials()
    return context.redirect("/dashboard/accounts", f"The account {context.account.fingerprint} is removed.")

"""An account's settings: what is shown to get in, what is left to its owner, what a deletion does, who did what."""

from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol, TypeVar

from sqlalchemy import Connection
from starlette.responses import Response

from prosperstack_destination.admin import accounts as choices
from prosperstack_destination.admin.accounts import CONSEQUENCES, remove_account
from prosperstack_destination.auth import credential_service
from prosperstack_destination.dashboard.context import PageContext
from prosperstack_destination.dashboard.routing import ACTOR, PageRoute
from prosperstack_destination.errors import ConfigurationError, KeyUnverified
from prosperstack_destination.store import accounts, audit_log, connector_tokens, credentials, sources
from prosperstack_destination.store.accounts import OnDelete

#: Entries of the audit trail on the page, and sources.
ENTRIES: Final = 50
SOURCES: Final = 100
#: The longest name that something is given, in characters.
MAX_NAME: Final = 200
_REVOKE: Final = {
    "key": credential_service.revoke_key,
    "secret": credential_service.revoke_secret,
    "connector": credential_service.revoke_connector,
}


def setting_pages() -> list[PageRoute]:
    """The routes of the page, and of its forms."""
    return [
        PageRoute("/settings", _show),
        PageRoute("/settings/choices", _choose, "POST"),
        PageRoute("/settings/prosperstack-key", _replace_key, "POST"),
        PageRoute("/settings/issue", _issue, "POST"),
        PageRoute("/settings/revoke", _revoke, "POST"),
        PageRoute("/settings/remove", _remove, "POST"),
    ]


async def _show(visit: PageContext) -> Response:
    return await _page(visit)


async def _page(visit: PageContext, *, status: int = 200, **more: Any) -> Response:
    def read(connection: Connection) -> dict[str, Any]:
        return {
            "keys": _good_first(credentials.list_keys(connection, visit.account.id)),
            "secrets": _good_first(credentials.list_secrets(connection, visit.account.id)),
            "connectors": _good_first(connector_tokens.of_account(connection, visit.account.id)),
            "sources": sources.of_account(connection, visit.account.id)[:SOURCES],
            "entries": audit_log.recent(connection, visit.account.id, ENTRIES),
            "on_delete": accounts.on_delete(connection, visit.account.id),
        }

    found = await visit.services.database.read(read)
    return visit.page(
        "settings.html",
        status=status,
        title="Settings",
        **{"issued": None, "wrong": None, **found, **more},
        usual=visit.reserve,
        consequences=CONSEQUENCES,
        choices=list(OnDelete),
        base=str(visit.request.base_url).rstrip("/"),
    )


class _Revocable(Protocol):
    @property
    def revoked_at(self) -> int | None: ...


R = TypeVar("R", bound=_Revocable)


def _good_first(found: Iterable[R]) -> list[R]:
    """Those that are good, then those that were revoked; of either the newest first, as they come."""
    return sorted(found, key=lambda each: each.revoked_at is not None)


async def _choose(visit: PageContext) -> Response:
    """What is left to the owner, and what a deletion does."""
    wanted = visit.form.get("reserve", "").strip().removesuffix("%").strip()
    try:
        reserve = None if wanted == "" else float(wanted) / 100
        on_delete = OnDelete(visit.form.get("on_delete", ""))
    except ValueError:
        return await _page(visit, status=422, wrong="The reserve is a part of the requests in percent, as in 10.")

    def work(connection: Connection) -> None:
        if reserve != visit.account.reserve:
            choices.set_reserve(connection, visit.account, reserve, ACTOR, visit.now)
        if on_delete is not accounts.on_delete(connection, visit.account.id):
            choices.set_on_delete(connection, visit.account, on_delete, ACTOR, visit.now)

    return await _done(visit, work, "Saved. It counts within seconds.")


async def _replace_key(visit: PageContext) -> Response:
    key = visit.form.get("key", "").strip()
    try:
        await visit.services.check_key(key)
    except ConfigurationError as refusal:
        return await _page(visit, status=422, wrong=str(refusal))
    except KeyUnverified as error:
        return await _page(visit, status=503, wrong=str(error))

    def work(connection: Connection) -> None:
        credential_service.replace_key(connection, visit.account, key, visit.services.vault, ACTOR, visit.now)

    return await _done(visit, work, "The account uses the new key.")


async def _done(visit: PageContext, work: Callable[[Connection], object], said: str) -> Response:
    """Do something that may be refused: then the page says why."""
    try:
        await visit.services.database.write(work)
    except ConfigurationError as refusal:
        return await _page(visit, status=422, wrong=str(refusal))
    visit.services.invalidate_credentials()
    visit.services.wake([visit.account.id])
    return visit.redirect_home("settings", said)


async def _issue(visit: PageContext) -> Response:
    """Make a key, a secret or a connector, and show it: only now, so the page is the answer to the form."""
    kind, name = visit.form.get("kind", ""), visit.form.get("name", "").strip()[:MAX_NAME]
    base = str(visit.request.base_url).rstrip("/")
    database, vault = visit.services.database, visit.services.vault
    if kind == "key":
        key = await database.write(credential_service.issue_key, visit.account, name, ACTOR, visit.now)
        shown = [("The key: the API key of the destination in Segment, or an SDK's write key", key)]
    elif kind == "public-key":
        origins = visit.form.get("origins", "").replace(",", " ").split()
        try:
            key = await database.write(
                credential_service.issue_public_key, visit.account, name, origins, ACTOR, visit.now
            )
        except ConfigurationError as refusal:
            return await _page(visit, status=422, wrong=str(refusal))
        shown = [("The public key: the write key of an SDK in a web page or an app", key)]
    elif kind == "secret":
        secret = await database.write(credential_service.issue_secret, visit.account, name, vault, ACTOR, visit.now)
        shown = [("The shared secret", secret), ("The webhook's URL", f"{base}/webhook/{visit.account.id}")]
    elif kind == "connector":
        token = await database.write(credential_service.issue_connector, visit.account, name, ACTOR, visit.now)
        shown = [
            ("The endpoint of a custom data connector", f"{base}/data-connector/{token}"),
            ("The endpoint of a webhook for flow_session_started", f"{base}/flow-webhook/{token}"),
        ]
    else:
        return await _page(visit, status=422, wrong="Choose what to issue.")
    visit.services.invalidate_credentials()
    return await _page(visit, issued=shown)


async def _revoke(visit: PageContext) -> Response:
    kind, which = visit.form.get("kind", ""), visit.form.get("which", "")
    if visit.form.get("sure") != "yes" or kind not in _REVOKE:
        return await _page(visit, status=422, wrong="Nothing was revoked: tick that you are sure.")

    def work(connection: Connection) -> None:
        _REVOKE[kind](connection, visit.account, which, ACTOR, visit.now)

    return await _done(visit, work, f"The {kind} is refused from now on.")


async def _remove(visit: PageContext) -> Response:
    """Remove the account, with everything that is stored for it."""
    if visit.form.get("sure") != "yes":
        return await _page(visit, status=422, wrong="Nothing was removed: tick that you are sure.")
    await remove_account(visit.services.database, visit.account, ACTOR, visit.now)
    visit.services.invalidate_credentials()
    return visit.redirect("/dashboard/accounts", f"The account {visit.account.fingerprint} is removed.")

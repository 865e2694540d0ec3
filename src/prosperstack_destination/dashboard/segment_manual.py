"""Setting Segment up by hand: issue what it is to show, copy that once, and see the first call arrive."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final
from urllib.parse import urlencode

from sqlalchemy import Connection
from starlette.responses import Response

from prosperstack_destination.auth import credential_service
from prosperstack_destination.auth.api_keys import fingerprint
from prosperstack_destination.dashboard.context import PageContext
from prosperstack_destination.dashboard.routing import ACTOR, PageRoute
from prosperstack_destination.dashboard.segment import arrival
from prosperstack_destination.dashboard.segment_connect import reachable
from prosperstack_destination.dashboard.sse import LiveUpdates
from prosperstack_destination.errors import ConfigurationError, NotFoundError
from prosperstack_destination.segment_api.destination_specs import webhook_url
from prosperstack_destination.store import credentials

#: The longest name of a key or secret, in characters.
MAX_NAME: Final = 100
#: Where the service is, where nothing tells.
EXAMPLE: Final = "https://destination.example.com"


class SetupMethod(StrEnum):
    """How calls come."""

    #: Segment's Webhooks (Actions), with a shared secret.
    WEBHOOK = "webhook"
    #: ProsperStack's own destination, with a key.
    DESTINATION = "destination"
    #: One of Segment's SDKs with this service as its host, with a key.
    SDK = "sdk"


_TITLES: Final = {
    SetupMethod.WEBHOOK: "A webhook, by hand",
    SetupMethod.DESTINATION: "ProsperStack's destination, by hand",
    SetupMethod.SDK: "An SDK, without Segment in between",
}


@dataclass(frozen=True, slots=True)
class Issued:
    """A key or a shared secret."""

    #: What it is listed by: a key's fingerprint, or a secret's id.
    id: str
    name: str
    #: In microseconds since the epoch, to the minute; None: nothing came with it yet.
    last_used_at: int | None
    #: None: it was shown before, and is not any more.
    clear: str | None = field(default=None, repr=False)


class ManualSetupPages:
    """A page for each way."""

    def __init__(self, live: LiveUpdates) -> None:
        self._live = live

    def pages(self) -> list[PageRoute]:
        """Their routes."""
        return [
            PageRoute("/segment/by-hand/{way}", self._show),
            PageRoute("/segment/by-hand/{way}", self._issue, "POST"),
            PageRoute("/segment/by-hand/{way}/live", self._stream),
        ]

    async def _show(self, visit: PageContext) -> Response:
        way = _way(visit)
        return _page(visit, way, await _issued(visit, way, visit.query("issued")), visit.query("public_url"))

    async def _issue(self, visit: PageContext) -> Response:
        """Issue a key or a secret, and show it in this one answer: it is in no cookie, and in no address."""
        way = _way(visit)
        name = visit.form.get("name", "").strip()[:MAX_NAME]
        public_url = visit.form.get("public_url", "").strip()
        errors = {} if name else {"name": "Give it a name, by which it is told from others."}
        if way is SetupMethod.WEBHOOK:
            try:
                webhook_url(public_url, visit.account.id)
            except ConfigurationError as error:
                errors["public_url"] = str(error)
        if errors:
            return _page(visit, way, None, errors=errors)
        issued = await visit.services.database.write(_make, visit, way, name)
        visit.services.invalidate_credentials()
        return _page(visit, way, issued, public_url)

    async def _stream(self, visit: PageContext) -> Response:
        way, wanted = _way(visit), visit.query("issued")

        async def parts() -> dict[str, str]:
            issued = await _issued(visit, way, wanted)
            return {} if issued is None else arrival(visit, issued.last_used_at)

        return self._live.stream(parts, visit.is_open)


def _page(
    visit: PageContext,
    way: SetupMethod,
    issued: Issued | None,
    public_url: str = "",
    errors: dict[str, str] | None = None,
) -> Response:
    address, why_not = reachable(visit)
    again = {"issued": issued.id, "public_url": public_url} if issued is not None else {}
    return visit.page(
        "segment/by_hand.html",
        title=_TITLES[way],
        status=422 if errors else 200,
        way=way.value,
        issued=issued,
        at=f"{visit.base_path}/segment/by-hand/{way}?{urlencode(again)}",
        arrival={} if issued is None else arrival(visit, issued.last_used_at),
        host=EXAMPLE if visit.services.has_admin_port else visit.base_url,
        url=_url(visit, public_url or address),
        public_url=address,
        why_not=why_not,
        errors=errors or {},
        given=visit.form,
    )


def _url(visit: PageContext, public_url: str) -> str:
    """Where a webhook posts to; an example where nothing tells."""
    try:
        return webhook_url(public_url, visit.account.id)
    except ConfigurationError:
        return webhook_url(EXAMPLE, visit.account.id)


def _way(visit: PageContext) -> SetupMethod:
    """The way that the path names. Raises `NotFoundError`."""
    wanted = visit.request.path_params["way"]
    if wanted not in list(SetupMethod):
        raise NotFoundError("There is no such way to set Segment up: the page Segment names those that there are.")
    return SetupMethod(wanted)


def _make(connection: Connection, visit: PageContext, way: SetupMethod, name: str) -> Issued:
    now = visit.services.clock()
    if way is not SetupMethod.WEBHOOK:
        key = credential_service.issue_key(connection, visit.account, name, ACTOR, now)
        return Issued(fingerprint(key), name, None, key)
    secret_id, vault = credential_service.new_secret_id(), visit.services.vault
    secret = credential_service.issue_secret(
        connection, visit.account, name, vault, ACTOR, now, secret_id=secret_id
    )
    return Issued(secret_id, name, None, secret)


async def _issued(visit: PageContext, way: SetupMethod, wanted: str) -> Issued | None:
    """What was issued before, if it is the account's and good."""
    return await visit.services.database.read(_look_up, visit.account.id, way, wanted)


def _look_up(connection: Connection, account_id: str, way: SetupMethod, wanted: str) -> Issued | None:
    known: list[Issued]
    if way is SetupMethod.WEBHOOK:
        secrets = credentials.list_secrets(connection, account_id)
        known = [Issued(each.id, each.name, each.last_used_at) for each in secrets if each.revoked_at is None]
    else:
        keys = credentials.list_keys(connection, account_id)
        known = [Issued(each.fingerprint, each.name, each.last_used_at) for each in keys if each.revoked_at is None]
    return next((each for each in known if each.id == wanted), None)

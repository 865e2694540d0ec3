"""Pages of the manual setup: issue a key or a shared secret, show it once, and wait for the first call."""

from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlencode

from starlette.responses import Response

from prosperstack_destination.admin import segment
from prosperstack_destination.admin.credentials import find_active, issue
from prosperstack_destination.admin.segment import SetupMethod
from prosperstack_destination.dashboard.routing import ACTOR, PageContext, PageRoute
from prosperstack_destination.dashboard.segment import call_status, reachable
from prosperstack_destination.dashboard.sse import LiveUpdates
from prosperstack_destination.errors import InvalidInput, NotFoundError

#: Maximum length of a name, in characters.
MAX_NAME: Final = 100
#: Placeholder for an unknown URL of this service.
EXAMPLE_URL: Final = "https://destination.example.com"


_TITLES: Final = {
    SetupMethod.WEBHOOK: "Set up a webhook manually",
    SetupMethod.DESTINATION: "Set up ProsperStack's destination manually",
    SetupMethod.SDK: "Set up an SDK without Segment in between",
}


@dataclass(frozen=True, slots=True)
class ManualCredential:
    """Key or shared secret that the page issued."""

    #: Fingerprint of a key, or ID of a shared secret.
    id: str
    name: str
    #: In microseconds since the epoch, to the minute; None before the first call.
    last_used_at: int | None
    #: Plain text, in the response that issues it only.
    plaintext: str | None = field(default=None, repr=False)


class SegmentManualPages:
    """Routes of the pages, one page for each method."""

    def __init__(self, live: LiveUpdates) -> None:
        self._live = live

    def pages(self) -> list[PageRoute]:
        """Return the routes."""
        return [
            PageRoute("/segment/by-hand/{method}", self._show),
            PageRoute("/segment/by-hand/{method}", self._issue, "POST"),
            PageRoute("/segment/by-hand/{method}/live", self._stream),
        ]

    async def _show(self, context: PageContext) -> Response:
        method = _method(context)
        return _page(
            context, method, await _issued(context, method, context.query("issued")), context.query("public_url")
        )

    async def _issue(self, context: PageContext) -> Response:
        """Issue a key or a shared secret. Only this response shows it: it is in no cookie and no URL."""
        method = _method(context)
        name = context.form.get("name", "").strip()[:MAX_NAME]
        public_url = context.form.get("public_url", "").strip()
        errors = {} if name else {"name": "Enter a name."}
        if method is SetupMethod.WEBHOOK:
            try:
                segment.webhook_url(public_url, context.account)
            except InvalidInput as error:
                errors["public_url"] = str(error)
        if errors:
            return _page(context, method, None, errors=errors)
        services = context.services
        issued = await services.database.write(
            issue, method.credential_kind, context.account, name, services.vault, ACTOR, services.clock()
        )
        services.invalidate_credentials()
        return _page(context, method, ManualCredential(issued.id, name, None, issued.text), public_url)

    async def _stream(self, context: PageContext) -> Response:
        method, issued_id = _method(context), context.query("issued")

        async def parts() -> dict[str, str]:
            issued = await _issued(context, method, issued_id)
            return {} if issued is None else call_status(context, issued.last_used_at)

        return self._live.stream(parts, context.is_open)


def _page(
    context: PageContext,
    method: SetupMethod,
    issued: ManualCredential | None,
    public_url: str = "",
    errors: dict[str, str] | None = None,
) -> Response:
    address, why_not = reachable(context)
    query = {"issued": issued.id, "public_url": public_url} if issued is not None else {}
    return context.page(
        "segment/manual.html",
        title=_TITLES[method],
        status=422 if errors else 200,
        method=method.value,
        issued=issued,
        issued_url=f"{context.base_path}/segment/by-hand/{method}?{urlencode(query)}",
        call_status={} if issued is None else call_status(context, issued.last_used_at),
        host=EXAMPLE_URL if context.services.has_admin_port else context.base_url,
        url=_url(context, public_url or address),
        public_url=address,
        why_not=why_not,
        errors=errors or {},
        form=context.form,
    )


def _url(context: PageContext, public_url: str) -> str:
    """Return the URL of the webhook, or an example if the public URL is unknown."""
    try:
        return segment.webhook_url(public_url, context.account)
    except InvalidInput:
        return segment.webhook_url(EXAMPLE_URL, context.account)


def _method(context: PageContext) -> SetupMethod:
    """Return the method in the path. Raises `NotFoundError`."""
    method = context.request.path_params["method"]
    if method not in list(SetupMethod):
        raise NotFoundError("No such setup method. The page Segment lists all methods.")
    return SetupMethod(method)


async def _issued(context: PageContext, method: SetupMethod, issued_id: str) -> ManualCredential | None:
    """Return an issued key or shared secret of the account that is not revoked."""
    found = await context.services.database.read(find_active, method.credential_kind, context.account, issued_id)
    return None if found is None else ManualCredential(found.id, found.name, found.last_used_at)

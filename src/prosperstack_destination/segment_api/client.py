"""Client of Segment's Public API for one workspace.

The client neither retries nor waits. Its errors say what the operator can do.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel, JsonValue, ValidationError

from prosperstack_destination.errors import (
    SegmentApiError,
    SegmentInvalidToken,
    SegmentNotFound,
    SegmentNotPermitted,
    SegmentUnavailable,
)
from prosperstack_destination.http_client import (
    InvalidItem,
    UnreadableBody,
    read_body,
    read_retry_after,
    retry_after_header,
    validate_items,
)
from prosperstack_destination.segment_api.destination_specs import (
    BASE_URLS,
    SUBSCRIPTION_MEDIA_TYPE,
    DestinationSpec,
)
from prosperstack_destination.segment_api.models import (
    CatalogEntry,
    Destination,
    DestinationResponse,
    EmptyBody,
    Envelope,
    ErrorBody,
    RawPage,
    Source,
    Workspace,
    WorkspaceResponse,
)
from prosperstack_destination.store.segment_connections import Region

#: Timeout of one request and its response, in seconds.
REQUEST_SECONDS: Final = 20.0
#: Timeout of all pages of a list, in seconds.
LIST_SECONDS: Final = 60.0
#: Part of an error response that is parsed, in bytes.
ERROR_BYTES: Final = 64 * 1024
#: Entries of a page. Entries of the catalog are large.
PAGE_SIZE: Final = 200
CATALOG_PAGE_SIZE: Final = 50
#: Most pages of a list: 10,000 sources.
MAX_PAGES: Final = 50
#: Longest token, in characters.
MAX_TOKEN: Final = 1_000
#: Longest message of Segment that errors quote, in characters.
MAX_MESSAGE: Final = 500
#: Wait before a retry if Segment names none, in seconds.
RETRY_SECONDS: Final = 60.0
#: Longest wait that is accepted from Segment, in seconds.
LONGEST_RETRY_SECONDS: Final = 3_600.0

_CREATE_HINT: Final = (
    "create one in Segment under Settings → Workspace settings → Access Management → Tokens with the role "
    "Workspace Owner, or Source Admin of the sources to connect, and paste it again"
)

Model = TypeVar("Model", bound=BaseModel)
Item = TypeVar("Item", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class WorkspaceCredentials:
    """Token of a workspace, and the workspace's region."""

    token: str = field(repr=False)
    region: Region = Region.US


class PublicApiClient:
    """Client for one workspace. Every method may raise `SegmentApiError` and `SegmentUnavailable`."""

    def __init__(self, http: httpx.AsyncClient, credentials: WorkspaceCredentials) -> None:
        self._http = http
        self._base_url = BASE_URLS[credentials.region]
        self._token = _check_token(credentials.token)

    async def workspace(self) -> Workspace:
        """Return the token's workspace. Segment allows five such requests a minute."""
        return (await self._request("GET", "/", Envelope[WorkspaceResponse])).data.workspace

    async def sources(self) -> list[Source]:
        """Return all sources that the token may see."""
        return [source async for source in self._list("/sources", Source)]

    async def destinations(self) -> list[Destination]:
        """Return all destinations of all sources."""
        return [destination async for destination in self._list("/destinations", Destination)]

    async def find_in_catalog(self, spec: DestinationSpec) -> CatalogEntry | None:
        """Return the catalog's entry for a kind of destination; None if the workspace's catalog has none."""
        listed = self._list("/catalog/destinations", CatalogEntry, CATALOG_PAGE_SIZE)
        async with aclosing(listed) as entries:
            async for entry in entries:
                if spec.matches_entry(entry):
                    return entry
        return None

    async def create_destination(
        self, source_id: str, metadata_id: str, name: str, settings: Mapping[str, JsonValue], *, enabled: bool
    ) -> Destination:
        """Create a destination for a source. Not safe to repeat: it creates another one."""
        body = {
            "sourceId": source_id,
            "metadataId": metadata_id,
            "name": name,
            "enabled": enabled,
            "settings": dict(settings),
        }
        created = await self._request("POST", "/destinations", Envelope[DestinationResponse], json=body)
        return created.data.destination

    async def enable_destination(self, destination_id: str) -> None:
        """Enable a destination. Safe to repeat."""
        body = {"enabled": True}
        await self._request("PATCH", f"/destinations/{_path_segment(destination_id)}", EmptyBody, json=body)

    async def delete_destination(self, destination_id: str) -> bool:
        """Delete a destination with its subscriptions; return False if it did not exist. Safe to repeat."""
        try:
            await self._request("DELETE", f"/destinations/{_path_segment(destination_id)}", EmptyBody)
        except SegmentNotFound:
            return False
        return True

    async def create_subscription(self, destination_id: str, subscription: Mapping[str, JsonValue]) -> None:
        """Add a subscription to a destination. Needs a workspace with the feature Destination Subscriptions."""
        path = f"/destinations/{_path_segment(destination_id)}/subscriptions"
        headers = {"Accept": SUBSCRIPTION_MEDIA_TYPE, "Content-Type": SUBSCRIPTION_MEDIA_TYPE}
        await self._request("POST", path, EmptyBody, json=dict(subscription), headers=headers)

    async def _list(self, path: str, model: type[Item], count: int = PAGE_SIZE) -> AsyncGenerator[Item, None]:
        """Yield the items of all pages. Raises `SegmentUnavailable` for too many pages and after `LIST_SECONDS`."""
        query = {"pagination.count": str(count)}
        deadline = asyncio.get_running_loop().time() + LIST_SECONDS
        for _ in range(MAX_PAGES):
            try:
                async with asyncio.timeout_at(deadline):
                    page = (await self._request("GET", path, Envelope[RawPage], params=query)).data
            except TimeoutError:
                break
            try:
                async for item in validate_items(model, page.items):
                    yield item
            except InvalidItem as error:
                raise _invalid_response(error.cause, 200) from error
            if not page.pagination.next:
                return
            if page.pagination.next == query.get("pagination.cursor"):
                break
            query["pagination.cursor"] = page.pagination.next
        text = f"Segment's list {path} does not end within {MAX_PAGES} pages and {LIST_SECONDS:.0f} s: try again."
        raise SegmentUnavailable(text, retry_after=RETRY_SECONDS)

    async def _request(self, method: str, path: str, model: type[Model], **kwargs: Any) -> Model:
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                response, body = await self._exchange(method, path, **kwargs)
        except TimeoutError as error:
            text = f"Segment's Public API did not answer within {REQUEST_SECONDS:.0f} s: try again in a minute."
            raise SegmentUnavailable(text, retry_after=RETRY_SECONDS) from error
        except httpx.HTTPError as error:
            failure = type(error).__name__
            text = f"Segment's Public API at {self._base_url} could not be reached ({failure}): try again."
            raise SegmentUnavailable(text, retry_after=RETRY_SECONDS) from error
        if response.status_code // 100 != 2:
            raise _error_for_status(response, self._message_of(body[:ERROR_BYTES]))
        try:
            return model.model_validate_json(body or b"{}")
        except ValidationError as error:
            raise _invalid_response(error, response.status_code) from error

    async def _exchange(self, method: str, path: str, **kwargs: Any) -> tuple[httpx.Response, bytes]:
        headers = {
            "Accept": "application/json",
            **kwargs.pop("headers", {}),
            "Authorization": f"Bearer {self._token}",
        }
        request = self._http.build_request(method, self._base_url + path, headers=headers, **kwargs)
        # Never follow a redirect, which would send the token to another host.
        response = await self._http.send(request, stream=True, follow_redirects=False)
        try:
            return response, await read_body(response)
        except UnreadableBody as error:
            text, status = f"Segment's answer {error}.", response.status_code
            raise SegmentUnavailable(text, retry_after=RETRY_SECONDS, status_code=status) from error
        finally:
            await response.aclose()

    def _message_of(self, body: bytes) -> str:
        """Return Segment's message in a response, on one line and without the token; "" without one."""
        try:
            errors = ErrorBody.model_validate_json(body).errors
        except ValidationError:
            return ""
        words = " ".join("; ".join(each.message for each in errors if each.message).split())
        return words.replace(self._token, "…")[:MAX_MESSAGE]


def _check_token(token: str) -> str:
    """Return a pasted token without spaces around it. Raises `SegmentInvalidToken` for text that cannot be one."""
    token = token.strip()
    if not (0 < len(token) <= MAX_TOKEN and token.isascii() and token.isprintable() and " " not in token):
        raise SegmentInvalidToken(f"The text is not a token of a Segment workspace: {_CREATE_HINT}.")
    return token


def _invalid_response(error: ValidationError, status: int) -> SegmentUnavailable:
    first = error.errors(include_input=False, include_url=False)[0]
    place = ".".join(map(str, first["loc"])) or "the body"
    text = f"Segment's Public API sent an invalid response ({place}: {first['msg']}): try again in a minute."
    return SegmentUnavailable(text, retry_after=RETRY_SECONDS, status_code=status)


def _path_segment(text: str) -> str:
    """Return a text as one segment of a path, with slashes escaped."""
    return quote(text, safe="")


def _error_for_status(response: httpx.Response, message: str) -> SegmentApiError | SegmentUnavailable:
    """Return the error for a status other than success."""
    status = response.status_code
    quoted = f" It says: {message}" if message else ""
    match status:
        case 401:
            return SegmentInvalidToken(
                f"Segment refuses the token: {_CREATE_HINT}. The token of a workspace in the EU works only in "
                f"the region EU.{quoted}",
                status_code=status,
                segment_message=message,
            )
        case 403:
            return SegmentNotPermitted(
                "Segment does not permit this to the token: give it the role Workspace Owner, or Source Admin of "
                f"the sources to connect, or create another one.{quoted}",
                status_code=status,
                segment_message=message,
            )
        case 404:
            text = f"Segment has no such resource, or does not show it to this token.{quoted}"
            return SegmentNotFound(text, status_code=status, segment_message=message)
        case 429:
            wait = read_retry_after(response.headers, LONGEST_RETRY_SECONDS) or RETRY_SECONDS
            text = f"Segment's Public API limits the rate of requests: try again in {retry_after_header(wait)} s."
            return SegmentUnavailable(text, retry_after=wait, status_code=status)
        case _ if 400 <= status < 500 and status not in (408, 425):
            return SegmentApiError(
                f"Segment refuses the request ({status}).{quoted}",
                status_code=status,
                segment_message=message,
            )
        case _:
            return SegmentUnavailable(
                f"Segment's Public API answered {status}: try again in a minute.{quoted}",
                retry_after=read_retry_after(response.headers, LONGEST_RETRY_SECONDS) or RETRY_SECONDS,
                status_code=status,
            )

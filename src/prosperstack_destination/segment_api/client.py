"""Segment's Public API, by the token of one workspace: one request, one answer, or an error that says what to do.

The client neither retries nor waits: a person does, who is told to.
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
from prosperstack_destination.http_client import InvalidItem, UnreadableBody, read_body, validate_items
from prosperstack_destination.retry_after import read_retry_after, retry_after_header
from prosperstack_destination.segment_api.destination_specs import (
    BASE_URLS,
    SUBSCRIPTION_MEDIA_TYPE,
    DestinationSpec,
)
from prosperstack_destination.segment_api.models import (
    Answer,
    CatalogEntry,
    Destination,
    DestinationAnswer,
    EmptyAnswer,
    ErrorBody,
    RawPage,
    Source,
    Workspace,
    WorkspaceAnswer,
)
from prosperstack_destination.store.segment_connections import Region

#: From sending a request to having read its answer, in seconds.
ANSWER_SECONDS: Final = 20.0
#: All pages of a list, in seconds.
LIST_SECONDS: Final = 60.0
#: Of an answer that tells of an error so much is read, in bytes.
ERROR_BYTES: Final = 64 * 1024
#: Entries of a page; the catalog's are large.
PAGE_SIZE: Final = 200
CATALOG_PAGE_SIZE: Final = 50
#: Pages of a list: 10,000 sources.
MAX_PAGES: Final = 50
#: A longer text is no token, in characters.
MAX_TOKEN: Final = 1_000
#: What is told of Segment's own words, in characters.
MAX_SAID: Final = 500
#: When to come back where Segment does not say, in seconds.
RETRY_SECONDS: Final = 60.0
#: The longest time that Segment is believed when it names one, in seconds.
LONGEST_RETRY_SECONDS: Final = 3_600.0

_HOW_TO_MAKE_ONE: Final = (
    "create one in Segment under Settings → Workspace settings → Access Management → Tokens with the role "
    "Workspace Owner, or Source Admin of the sources to connect, and paste it again"
)

Model = TypeVar("Model", bound=BaseModel)
Item = TypeVar("Item", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class WorkspaceCredentials:
    """What opens a workspace: its token, and where Segment keeps it."""

    token: str = field(repr=False)
    region: Region = Region.US


class PublicApiClient:
    """The Public API for one workspace.

    Each method raises the kinds of `SegmentApiError`, and `SegmentUnavailable`.
    """

    def __init__(self, http: httpx.AsyncClient, access: WorkspaceCredentials) -> None:
        self._http = http
        self._base_url = BASE_URLS[access.region]
        self._token = _sound(access.token)

    async def workspace(self) -> Workspace:
        """The token's workspace. Segment answers this five times a minute."""
        return (await self._request("GET", "/", Answer[WorkspaceAnswer])).data.workspace

    async def sources(self) -> list[Source]:
        """All sources that the token may see."""
        return [each async for each in self._listed("/sources", Source)]

    async def destinations(self) -> list[Destination]:
        """All destinations of all sources."""
        return [each async for each in self._listed("/destinations", Destination)]

    async def find_in_catalog(self, made: DestinationSpec) -> CatalogEntry | None:
        """The catalog's entry for a kind of destination; None: this workspace's catalog has none."""
        listed = self._listed("/catalog/destinations", CatalogEntry, CATALOG_PAGE_SIZE)
        async with aclosing(listed) as entries:
            async for entry in entries:
                if made.is_made_of(entry):
                    return entry
        return None

    async def create_destination(
        self, source_id: str, metadata_id: str, name: str, settings: Mapping[str, JsonValue], *, enabled: bool
    ) -> Destination:
        """Make a destination for a source. Not safe to repeat: it would be another one."""
        body = {
            "sourceId": source_id,
            "metadataId": metadata_id,
            "name": name,
            "enabled": enabled,
            "settings": dict(settings),
        }
        made = await self._request("POST", "/destinations", Answer[DestinationAnswer], json=body)
        return made.data.destination

    async def enable_destination(self, destination_id: str) -> None:
        """Have a destination sent to. Safe to repeat."""
        body = {"enabled": True}
        await self._request("PATCH", f"/destinations/{_segment(destination_id)}", EmptyAnswer, json=body)

    async def delete_destination(self, destination_id: str) -> bool:
        """Delete a destination, with all that belongs to it; False: it was gone. Safe to repeat."""
        try:
            await self._request("DELETE", f"/destinations/{_segment(destination_id)}", EmptyAnswer)
        except SegmentNotFound:
            return False
        return True

    async def create_subscription(self, destination_id: str, subscription: Mapping[str, JsonValue]) -> None:
        """Have a destination do something with calls. Only workspaces with the feature for it may."""
        path = f"/destinations/{_segment(destination_id)}/subscriptions"
        headers = {"Accept": SUBSCRIPTION_MEDIA_TYPE, "Content-Type": SUBSCRIPTION_MEDIA_TYPE}
        await self._request("POST", path, EmptyAnswer, json=dict(subscription), headers=headers)

    async def _listed(self, path: str, model: type[Item], count: int = PAGE_SIZE) -> AsyncGenerator[Item, None]:
        """The items of all pages. Raises `SegmentUnavailable` for a list that has no end, or none in time."""
        query = {"pagination.count": str(count)}
        until = asyncio.get_running_loop().time() + LIST_SECONDS
        for _ in range(MAX_PAGES):
            try:
                async with asyncio.timeout_at(until):
                    page = (await self._request("GET", path, Answer[RawPage], params=query)).data
            except TimeoutError:
                break
            try:
                async for item in validate_items(model, page.items):
                    yield item
            except InvalidItem as error:
                raise _unexpected(error.cause, 200) from error
            if not page.pagination.next:
                return
            if page.pagination.next == query.get("pagination.cursor"):
                break
            query["pagination.cursor"] = page.pagination.next
        text = f"Segment's list {path} does not end within {MAX_PAGES} pages and {LIST_SECONDS:.0f} s."
        raise SegmentUnavailable(text, retry_after=RETRY_SECONDS)

    async def _request(self, method: str, path: str, model: type[Model], **kwargs: Any) -> Model:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                response, body = await self._exchange(method, path, **kwargs)
        except TimeoutError as error:
            text = f"Segment's Public API did not answer within {ANSWER_SECONDS:.0f} s: try again in a minute."
            raise SegmentUnavailable(text, retry_after=RETRY_SECONDS) from error
        except httpx.HTTPError as error:
            text = f"Segment's Public API at {self._base_url} could not be reached ({type(error).__name__})."
            raise SegmentUnavailable(text, retry_after=RETRY_SECONDS) from error
        if response.status_code // 100 != 2:
            raise _refusal(response, self._said(body[:ERROR_BYTES]))
        try:
            return model.model_validate_json(body or b"{}")
        except ValidationError as error:
            raise _unexpected(error, response.status_code) from error

    async def _exchange(self, method: str, path: str, **kwargs: Any) -> tuple[httpx.Response, bytes]:
        headers = {
            "Accept": "application/json",
            **kwargs.pop("headers", {}),
            "Authorization": f"Bearer {self._token}",
        }
        request = self._http.build_request(method, self._base_url + path, headers=headers, **kwargs)
        # A redirect is never followed: the token would go to wherever it points.
        response = await self._http.send(request, stream=True, follow_redirects=False)
        try:
            return response, await read_body(response)
        except UnreadableBody as error:
            text, status = f"Segment's answer {error}.", response.status_code
            raise SegmentUnavailable(text, retry_after=RETRY_SECONDS, status_code=status) from error
        finally:
            await response.aclose()

    def _said(self, body: bytes) -> str:
        """Segment's own words in an answer, on one line and without the token; "" where it gave none."""
        try:
            errors = ErrorBody.model_validate_json(body).errors
        except ValidationError:
            return ""
        words = " ".join("; ".join(each.message for each in errors if each.message).split())
        return words.replace(self._token, "…")[:MAX_SAID]


def _sound(token: str) -> str:
    """A token as it was pasted, without spaces around it. Raises `SegmentInvalidToken` for what can be none."""
    token = token.strip()
    if not (0 < len(token) <= MAX_TOKEN and token.isascii() and token.isprintable() and " " not in token):
        raise SegmentInvalidToken(f"That is no token of a Segment workspace: {_HOW_TO_MAKE_ONE}.")
    return token


def _unexpected(error: ValidationError, status: int) -> SegmentUnavailable:
    first = error.errors(include_input=False, include_url=False)[0]
    place = ".".join(map(str, first["loc"])) or "the body"
    text = f"Segment's Public API answered with something else than it promises ({place}: {first['msg']})."
    return SegmentUnavailable(text, retry_after=RETRY_SECONDS, status_code=status)


def _segment(text: str) -> str:
    """A text as one segment of a path, wherever it would lead."""
    return quote(text, safe="")


def _refusal(response: httpx.Response, said: str) -> SegmentApiError | SegmentUnavailable:
    """The error for a status that is no success."""
    status = response.status_code
    quoted = f" It says: {said}" if said else ""
    match status:
        case 401:
            return SegmentInvalidToken(
                f"Segment refuses the token: {_HOW_TO_MAKE_ONE}. The token of a workspace in the EU works in the "
                f"region EU alone.{quoted}",
                status_code=status,
                segment_message=said,
            )
        case 403:
            return SegmentNotPermitted(
                "Segment does not permit this to the token: give it the role Workspace Owner, or Source Admin of "
                f"the sources to connect, or create another one.{quoted}",
                status_code=status,
                segment_message=said,
            )
        case 404:
            text = f"Segment knows nothing of the kind, or does not show it to this token.{quoted}"
            return SegmentNotFound(text, status_code=status, segment_message=said)
        case 429:
            wait = read_retry_after(response.headers, LONGEST_RETRY_SECONDS) or RETRY_SECONDS
            text = f"Segment's Public API is asked too often: try again in {retry_after_header(wait)} s."
            return SegmentUnavailable(text, retry_after=wait, status_code=status)
        case _ if 400 <= status < 500 and status not in (408, 425):
            return SegmentApiError(
                f"Segment refuses what it was asked for ({status}).{quoted}",
                status_code=status,
                segment_message=said,
            )
        case _:
            return SegmentUnavailable(
                f"Segment's Public API answered {status}: try again in a minute.{quoted}",
                retry_after=read_retry_after(response.headers, LONGEST_RETRY_SECONDS) or RETRY_SECONDS,
                status_code=status,
            )

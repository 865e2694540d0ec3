"""Client of ProsperStack's API: requests, pages, and the errors for its statuses (401, 404, 409, 422, 429, 5xx)."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Final, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel, JsonValue, ValidationError

from prosperstack_destination.clock import SECOND, utc
from prosperstack_destination.errors import (
    ProsperStackAuthError,
    ProsperStackError,
    ProsperStackNotFound,
    ProsperStackRateLimited,
    ProsperStackRejected,
    ProsperStackUnavailable,
)
from prosperstack_destination.http_client import (
    InvalidItem,
    UnreadableBody,
    basic_auth,
    read_body,
    read_retry_after,
    validate_items,
)
from prosperstack_destination.prosperstack.budget import LONGEST_WINDOW_SECONDS, RateLimit
from prosperstack_destination.prosperstack.models import (
    EmptyResponse,
    Page,
    PropertyDefinition,
    RawPage,
    Subscriber,
    Subscription,
)
from prosperstack_destination.storable_text import storable_text

Item = TypeVar("Item", bound=BaseModel)

#: Largest number of pages of a list, each of which is a request: 5,000 properties, subscribers with one email, or
#: subscriptions.
MAX_PAGES: Final = 50
#: Time for all pages of a list, in seconds, with the waits for the account's budget: a budget of 10 requests a
#: minute reads `MAX_PAGES` in five minutes.
LIST_SECONDS: Final = 600.0


async def all_items(fetch: Callable[[str | None], Awaitable[Page[Item]]]) -> list[Item]:
    """Return the items of all pages; ``fetch`` gets the page at a cursor (None: the first).

    Raises what ``fetch`` raises, and `ProsperStackUnavailable` for a list that does not end within `MAX_PAGES` and
    `LIST_SECONDS`, or that repeats a cursor. It stops with the task that it runs in.
    """
    items: list[Item] = []
    seen: set[str] = set()
    cursor: str | None = None
    until = asyncio.get_running_loop().time() + LIST_SECONDS
    for _ in range(MAX_PAGES):
        try:
            async with asyncio.timeout_at(until):
                page = await fetch(cursor)
        except TimeoutError:
            break
        items.extend(page.data)
        cursor = page.next_cursor
        if not cursor:
            return items
        if cursor in seen:
            raise ProsperStackUnavailable("ProsperStack's list does not end: a cursor was repeated.")
        seen.add(cursor)
    raise ProsperStackUnavailable(
        f"ProsperStack's list does not end within {MAX_PAGES} pages and {LIST_SECONDS / 60:.0f} minutes."
    )


#: Time from sending a request to the end of its response, in seconds.
ANSWER_SECONDS: Final = 20.0
#: ProsperStack's largest page.
PAGE_SIZE: Final = 100
#: Longest quotation of a response that is not JSON, and of an error's text, in characters: both are stored and
#: indexed.
_QUOTED: Final = 200
_ERROR_TEXT: Final = 500
#: Part of an error response that is read, in bytes.
_ERROR_BYTES: Final = 64 * 1024

#: Callback for each request: method and path as in ``PATCH /subscribers/{id}``, status (None: no response), and
#: duration in seconds.
OnRequest = Callable[[str, int | None, float], None]

Model = TypeVar("Model", bound=BaseModel)


#: Context manager around each request, from its method and URL. It may refuse the request with an exception of its
#: own.
Guard = Callable[[str, str], AbstractContextManager[None]]


@dataclass(frozen=True, slots=True)
class SubscriberPage:
    """A page of subscribers."""

    subscribers: tuple[Subscriber, ...]
    #: Cursor of the next page; None or "": this is the last.
    next_cursor: str | None
    #: Time of the response by ProsperStack's clock, in microseconds since the epoch; None: not reported.
    served_at: int | None


class ProsperStackClient:
    """ProsperStack's API for one account, by its key.

    ``on_answer`` gets the rate limit of each response (None: none or an invalid one); ``guard`` wraps each request.
    Each method raises subclasses of `ProsperStackError`, and each is safe to repeat.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        base_url: str,
        api_key: str,
        on_answer: Callable[[RateLimit | None], None] = lambda _: None,
        guard: Guard = lambda _method, _url: nullcontext(),
        on_request: OnRequest = lambda *_: None,
    ) -> None:
        self._http = http
        self._base_url = base_url.rstrip("/")
        self._headers = {"Authorization": basic_auth(api_key)}
        self._on_answer = on_answer
        self._guard = guard
        self._on_request = on_request

    async def list_properties(
        self, cursor: str | None = None, *, entity: str = "subscriber"
    ) -> Page[PropertyDefinition]:
        """Return a page of the custom properties of subscribers, or of subscriptions."""
        query = {"entity": entity, "limit": str(PAGE_SIZE)}
        return (await self._page("/properties", query, cursor, PropertyDefinition))[0]

    async def list_subscribers(self, cursor: str | None = None, updated_since: int | None = None) -> SubscriberPage:
        """Return a page of all subscribers, or of those updated at or after a time by ProsperStack's clock.

        ``updated_since`` is in microseconds since the epoch.
        """
        query = {"limit": str(PAGE_SIZE)}
        if updated_since is not None:
            query["updated_at[gte]"] = _iso(updated_since)
        page, headers = await self._page("/subscribers", query, cursor, Subscriber)
        return SubscriberPage(page.data, page.next_cursor, _served_at(headers))

    async def create_property(self, key: str, name: str, kind: str) -> PropertyDefinition:
        """Create a custom property of subscribers.

        Raises `ProsperStackRejected` with 409 where its key is taken.
        """
        body = {"key": key, "name": name, "entity": "subscriber", "type": kind}
        return await self._request("POST", self._base_url + "/properties", PropertyDefinition, json=body)

    async def find_subscriptions(self, subscriber_id: str, cursor: str | None = None) -> Page[Subscription]:
        """Return a page of a subscriber's subscriptions."""
        query = {"subscriber_id": subscriber_id, "limit": str(PAGE_SIZE)}
        return (await self._page("/subscriptions", query, cursor, Subscription))[0]

    async def update_subscription(self, subscription_id: str, properties: Mapping[str, JsonValue]) -> Subscription:
        """Set a subscription's custom properties by their keys (None deletes a value)."""
        url = f"{self._base_url}/subscriptions/{quote(subscription_id, safe='')}"
        return await self._request("PATCH", url, Subscription, json={"properties": dict(properties)})

    async def find_subscribers(self, email: str, cursor: str | None = None) -> Page[Subscriber]:
        """Return a page of the subscribers with an email: none, one or several."""
        query = {"email": email, "limit": str(PAGE_SIZE)}
        return (await self._page("/subscribers", query, cursor, Subscriber))[0]

    async def update_subscriber(self, subscriber_id: str, properties: Mapping[str, JsonValue]) -> Subscriber:
        """Set custom properties by their keys (None deletes a value); return the updated subscriber."""
        url = f"{self._base_url}/subscribers/{quote(subscriber_id, safe='')}"
        return await self._request("PATCH", url, Subscriber, json={"properties": dict(properties)})

    async def delete_subscriber(self, subscriber_id: str) -> None:
        """Delete a subscriber."""
        await self._request(
            "DELETE", f"{self._base_url}/subscribers/{quote(subscriber_id, safe='')}", EmptyResponse
        )

    async def _page(
        self, path: str, query: dict[str, str], cursor: str | None, model: type[Item]
    ) -> tuple[Page[Item], httpx.Headers]:
        if cursor:
            query["cursor"] = cursor
        raw, headers = await self._request_with_headers("GET", self._base_url + path, RawPage, params=query)
        try:
            items = [each async for each in validate_items(model, raw.data)]
        except InvalidItem as error:
            raise _unexpected_response(f"data.{error.number}.{_first_error(error.cause)}", 200) from error
        return Page[model](data=tuple(items), next_cursor=raw.next_cursor), headers  # type: ignore[valid-type] # mypy knows no variable types

    async def _request(self, method: str, url: str, model: type[Model], **kwargs: Any) -> Model:
        return (await self._request_with_headers(method, url, model, **kwargs))[0]

    async def _request_with_headers(
        self, method: str, url: str, model: type[Model], **kwargs: Any
    ) -> tuple[Model, httpx.Headers]:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                with self._guard(method, url):
                    response, body = await self._exchange(method, url, **kwargs)
        except TimeoutError as error:
            raise ProsperStackUnavailable(f"ProsperStack did not answer within {ANSWER_SECONDS:.0f} s.") from error
        except httpx.HTTPError as error:
            raise ProsperStackUnavailable(f"ProsperStack could not be reached: {type(error).__name__}.") from error
        self._on_answer(RateLimit.from_headers(response.headers))
        if response.status_code // 100 != 2:
            raise _error_from(response, body[:_ERROR_BYTES])
        try:
            parsed = model.model_validate_json(body if response.status_code != 204 else b"{}")
        except ValidationError as error:
            raise _unexpected_response(_first_error(error), response.status_code) from error
        return parsed, response.headers

    async def _exchange(self, method: str, url: str, **kwargs: Any) -> tuple[httpx.Response, bytes]:
        # Redirects are not followed: they would send the key to another host.
        request = self._http.build_request(method, url, headers=self._headers, **kwargs)
        began_at = time.monotonic()
        response = None
        try:
            response = await self._http.send(request, stream=True, follow_redirects=False)
            return response, await read_body(response)
        except UnreadableBody as error:
            status_code = None if response is None else response.status_code
            raise ProsperStackUnavailable(f"ProsperStack's answer {error}.", status_code=status_code) from error
        finally:
            status = None if response is None else response.status_code
            self._on_request(
                _endpoint(method, url.removeprefix(self._base_url)), status, time.monotonic() - began_at
            )
            if response is not None:
                await response.aclose()


def _endpoint(method: str, path: str) -> str:
    """Return the method and path without ids."""
    _, collection, *rest = path.split("/")
    return f"{method} /{collection}" + ("/{id}" if rest else "")


def _iso(microseconds: int) -> str:
    """Format a time for the API: ISO 8601 in UTC, to the millisecond."""
    return utc(microseconds).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _served_at(headers: httpx.Headers) -> int | None:
    """Return the ``Date`` of a response, in microseconds since the epoch."""
    try:
        return int(parsedate_to_datetime(headers["Date"]).timestamp()) * SECOND
    except (KeyError, ValueError, OverflowError):
        return None


def _error_from(response: httpx.Response, body: bytes) -> ProsperStackError:
    """Return the error for an unsuccessful status, with ProsperStack's error text if there is one."""
    status = response.status_code
    text = _error_text(response, body)
    match status:
        case 401:
            return ProsperStackAuthError(f"ProsperStack refuses the API key: {text}", status_code=status)
        case 403:
            return ProsperStackAuthError(
                f"ProsperStack does not permit this to the API key: {text}", status_code=status
            )
        case 404:
            return ProsperStackNotFound(text, status_code=status)
        case 429:
            return ProsperStackRateLimited(
                "ProsperStack's rate limit is spent for this window.",
                retry_after=_retry_after(response.headers),
            )
        case 408 | 425:
            return ProsperStackUnavailable(f"ProsperStack answered {status}: {text}", status_code=status)
        case _ if 400 <= status < 500:
            return ProsperStackRejected(text, status_code=status)
        case _:
            return ProsperStackUnavailable(
                f"ProsperStack answered {status}: {text}",
                status_code=status,
                retry_after=read_retry_after(response.headers, LONGEST_WINDOW_SECONDS),
            )


def _error_text(response: httpx.Response, body: bytes) -> str:
    """Return the error text of a response, or a quotation of another body."""
    try:
        error = _ErrorBody.model_validate_json(body).error
    except ValidationError:
        kind = storable_text(response.headers.get("Content-Type", "no content type").split(";")[0][:_QUOTED])
        return f"({kind}) {body[:_QUOTED].decode(errors='replace')!r}"
    return error if len(error) <= _ERROR_TEXT else f"{error[: _ERROR_TEXT - 1]}…"


def _unexpected_response(fault: str, status: int) -> ProsperStackUnavailable:
    text = f"ProsperStack answered {status} with a body that does not match its API: {fault}."
    return ProsperStackUnavailable(text, status_code=status)


class _ErrorBody(BaseModel):
    error: str


def _first_error(error: ValidationError) -> str:
    """Return the first validation error of a response, without its data."""
    first = error.errors(include_input=False, include_url=False)[0]
    return f"{'.'.join(map(str, first['loc'])) or 'the body'}: {first['msg']}"


def _retry_after(headers: httpx.Headers) -> float | None:
    """Return the time until the window resets, by the later of the two headers, in seconds."""
    waits = [read_retry_after(headers, LONGEST_WINDOW_SECONDS, name) for name in ("Retry-After", "RateLimit-Reset")]
    return max((seconds for seconds in waits if seconds is not None), default=None)

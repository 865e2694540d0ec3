"""Reading a list to its end."""

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
from prosperstack_destination.prosperstack.budget import LONGEST_WINDOW_SECONDS, RateLimit
from prosperstack_destination.prosperstack.models import (
    EmptyResponse,
    Page,
    PropertyDefinition,
    RawPage,
    Subscriber,
    Subscription,
)
from prosperstack_destination.response_body import InvalidItem, UnreadableBody, read_body, validate_items
from prosperstack_destination.retry_after import read_retry_after
from prosperstack_destination.storable import storable_text

Item = TypeVar("Item", bound=BaseModel)

#: Pages of a list, each of which is a request: 5,000 properties, subscribers with one email, or subscriptions.
MAX_PAGES: Final = 50
#: All pages together, in seconds, with the waits for the account's budget: a budget of 10 requests a minute reads
#: `MAX_PAGES` in five minutes.
LIST_SECONDS: Final = 600.0


async def all_items(fetch: Callable[[str | None], Awaitable[Page[Item]]]) -> list[Item]:
    """The items of all pages; ``fetch`` gets the page at a cursor (None: the first).

    Raises what ``fetch`` raises, and `ProsperStackUnavailable` for a list that does not end within `MAX_PAGES` and
    `LIST_SECONDS`, or of which a cursor comes twice. It stops with the task that it runs in.
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
            raise ProsperStackUnavailable("ProsperStack's list does not end: a cursor came twice.")
        seen.add(cursor)
    raise ProsperStackUnavailable(
        f"ProsperStack's list does not end within {MAX_PAGES} pages and {LIST_SECONDS / 60:.0f} minutes."
    )


#: From sending a request to having read its answer, in seconds. An answer that drips in is none.
ANSWER_SECONDS: Final = 20.0
#: ProsperStack's largest page.
PAGE_SIZE: Final = 100
#: What is quoted of an answer that is no JSON, and of an error's text, in characters: it is stored, and indexed.
_QUOTED: Final = 200
_ERROR_TEXT: Final = 500
#: Of an answer that tells of an error so much is read, in bytes.
_ERROR_BYTES: Final = 64 * 1024

#: Told of each request: what was asked, as in ``PATCH /subscribers/{id}``, the status that was answered (None: no
#: answer came), and how long it took in seconds.
OnRequest = Callable[[str, int | None, float], None]

Model = TypeVar("Model", bound=BaseModel)


#: Stands around each request, with its method and its URL; it may refuse, by an error of its own.
Guard = Callable[[str, str], AbstractContextManager[None]]


@dataclass(frozen=True, slots=True)
class SubscriberPage:
    """A page of subscribers."""

    subscribers: tuple[Subscriber, ...]
    #: Asks for the next page; None or "": this is the last.
    next_cursor: str | None
    #: When it was made, by ProsperStack's clock, in microseconds since the epoch; None: it does not say.
    served_at: int | None


class ProsperStackClient:
    """The API for one account, by its key.

    ``on_answer`` is told what each answer's headers say of the rate limit (None: nothing that makes sense);
    ``guard`` stands around each request.
    Each method raises the kinds of `ProsperStackError`, and each is safe to repeat.
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
        self._auth = httpx.BasicAuth(api_key, "")
        self._on_answer = on_answer
        self._guard = guard
        self._on_request = on_request

    async def list_properties(
        self, cursor: str | None = None, *, entity: str = "subscriber"
    ) -> Page[PropertyDefinition]:
        """A page of the custom properties of subscribers, or of subscriptions."""
        query = {"entity": entity, "limit": str(PAGE_SIZE)}
        return (await self._page("/properties", query, cursor, PropertyDefinition))[0]

    async def list_subscribers(self, cursor: str | None = None, updated_since: int | None = None) -> SubscriberPage:
        """A page of all subscribers, or of those updated at or after a time by ProsperStack's clock.

        ``updated_since`` is in microseconds since the epoch.
        """
        query = {"limit": str(PAGE_SIZE)}
        if updated_since is not None:
            query["updated_at[gte]"] = _iso(updated_since)
        page, headers = await self._page("/subscribers", query, cursor, Subscriber)
        return SubscriberPage(page.data, page.next_cursor, _served_at(headers))

    async def create_property(self, key: str, name: str, kind: str) -> PropertyDefinition:
        """Create a custom property of subscribers. Raises `ProsperStackRejected` with 409 where its key is
        taken.
        """
        body = {"key": key, "name": name, "entity": "subscriber", "type": kind}
        return await self._request("POST", self._base_url + "/properties", PropertyDefinition, json=body)

    async def find_subscriptions(self, subscriber_id: str, cursor: str | None = None) -> Page[Subscription]:
        """A page of a subscriber's subscriptions."""
        query = {"subscriber_id": subscriber_id, "limit": str(PAGE_SIZE)}
        return (await self._page("/subscriptions", query, cursor, Subscription))[0]

    async def update_subscription(self, subscription_id: str, properties: Mapping[str, JsonValue]) -> Subscription:
        """Set a subscription's custom properties by their keys (None deletes a value)."""
        url = f"{self._base_url}/subscriptions/{quote(subscription_id, safe='')}"
        return await self._request("PATCH", url, Subscription, json={"properties": dict(properties)})

    async def find_subscribers(self, email: str, cursor: str | None = None) -> Page[Subscriber]:
        """A page of the subscribers with an email: none, one or several."""
        query = {"email": email, "limit": str(PAGE_SIZE)}
        return (await self._page("/subscribers", query, cursor, Subscriber))[0]

    async def update_subscriber(self, subscriber_id: str, properties: Mapping[str, JsonValue]) -> Subscriber:
        """Set custom properties by their keys (None deletes a value); the subscriber as it is now."""
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
        raw, headers = await self._exchanged("GET", self._base_url + path, RawPage, params=query)
        try:
            items = [each async for each in validate_items(model, raw.data)]
        except InvalidItem as error:
            raise _unexpected(f"data.{error.number}.{_fault(error.cause)}", 200) from error
        return Page[model](data=tuple(items), next_cursor=raw.next_cursor), headers  # type: ignore[valid-type] # mypy knows no variable types

    async def _request(self, method: str, url: str, model: type[Model], **kwargs: Any) -> Model:
        return (await self._exchanged(method, url, model, **kwargs))[0]

    async def _exchanged(
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
            raise _refusal(response, body[:_ERROR_BYTES])
        try:
            answer = model.model_validate_json(body if response.status_code != 204 else b"{}")
        except ValidationError as error:
            raise _unexpected(_fault(error), response.status_code) from error
        return answer, response.headers

    async def _exchange(self, method: str, url: str, **kwargs: Any) -> tuple[httpx.Response, bytes]:
        # A redirect is never followed: the key would go to wherever it points.
        request = self._http.build_request(method, url, **kwargs)
        begun = time.monotonic()
        response = None
        try:
            response = await self._http.send(request, auth=self._auth, stream=True, follow_redirects=False)
            return response, await read_body(response)
        except UnreadableBody as error:
            status_code = None if response is None else response.status_code
            raise ProsperStackUnavailable(f"ProsperStack's answer {error}.", status_code=status_code) from error
        finally:
            status = None if response is None else response.status_code
            self._on_request(_kind(method, url.removeprefix(self._base_url)), status, time.monotonic() - begun)
            if response is not None:
                await response.aclose()


def _kind(method: str, path: str) -> str:
    """What is asked, without whom it is about."""
    _, collection, *rest = path.split("/")
    return f"{method} /{collection}" + ("/{id}" if rest else "")


def _iso(microseconds: int) -> str:
    """A time as the API takes it: ISO 8601 in UTC, to the millisecond."""
    return utc(microseconds).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _served_at(headers: httpx.Headers) -> int | None:
    """The ``Date`` of an answer, in microseconds since the epoch."""
    try:
        return int(parsedate_to_datetime(headers["Date"]).timestamp()) * SECOND
    except (KeyError, ValueError, OverflowError):
        return None


def _refusal(response: httpx.Response, body: bytes) -> ProsperStackError:
    """The error for a status that is no success, with ProsperStack's own words where it gave any."""
    status = response.status_code
    said = _said(response, body)
    match status:
        case 401:
            return ProsperStackAuthError(f"ProsperStack refuses the API key: {said}", status_code=status)
        case 403:
            return ProsperStackAuthError(
                f"ProsperStack does not permit this to the API key: {said}", status_code=status
            )
        case 404:
            return ProsperStackNotFound(said, status_code=status)
        case 429:
            return ProsperStackRateLimited(
                "ProsperStack's rate limit is spent for this window.",
                retry_after=_retry_after(response.headers),
            )
        case 408 | 425:
            return ProsperStackUnavailable(f"ProsperStack answered {status}: {said}", status_code=status)
        case _ if 400 <= status < 500:
            return ProsperStackRejected(said, status_code=status)
        case _:
            return ProsperStackUnavailable(
                f"ProsperStack answered {status}: {said}",
                status_code=status,
                retry_after=read_retry_after(response.headers, LONGEST_WINDOW_SECONDS),
            )


def _said(response: httpx.Response, body: bytes) -> str:
    """The error text of an answer, or a quotation of what it was instead."""
    try:
        error = _ErrorBody.model_validate_json(body).error
    except ValidationError:
        kind = storable_text(response.headers.get("Content-Type", "no content type").split(";")[0][:_QUOTED])
        return f"({kind}) {body[:_QUOTED].decode(errors='replace')!r}"
    return error if len(error) <= _ERROR_TEXT else f"{error[: _ERROR_TEXT - 1]}…"


def _unexpected(fault: str, status: int) -> ProsperStackUnavailable:
    text = f"ProsperStack answered {status} with something else than the API promises: {fault}."
    return ProsperStackUnavailable(text, status_code=status)


class _ErrorBody(BaseModel):
    error: str


def _fault(error: ValidationError) -> str:
    """Where an answer is not as promised, without quoting people's data."""
    first = error.errors(include_input=False, include_url=False)[0]
    return f"{'.'.join(map(str, first['loc'])) or 'the body'}: {first['msg']}"


def _retry_after(headers: httpx.Headers) -> float | None:
    """When the window resets, by the later of the headers that name a time, in seconds."""
    named = [read_retry_after(headers, LONGEST_WINDOW_SECONDS, name) for name in ("Retry-After", "RateLimit-Reset")]
    return max((seconds for seconds in named if seconds is not None), default=None)

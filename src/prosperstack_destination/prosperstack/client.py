"""One request, one answer, or one of the errors that say what to do next.

The client neither retries nor waits: the reconciler does, since it knows what a request is worth.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel, JsonValue, ValidationError

from prosperstack_destination.errors import (
    CredentialsRefused,
    NotFound,
    ProsperStackError,
    RateLimited,
    Rejected,
    Unavailable,
)
from prosperstack_destination.prosperstack.budget import RateLimit
from prosperstack_destination.prosperstack.models import Nothing, Page, PropertyDefinition, Subscriber

#: From sending a request to having read its answer, in seconds. An answer that drips in is none.
ANSWER_SECONDS: Final = 20.0
#: An answer larger than this is not read: a page of 100 subscribers has far less.
ANSWER_BYTES: Final = 16 * 1024 * 1024
#: ProsperStack's largest page.
PAGE_SIZE: Final = 100
#: What is quoted of an answer that is no JSON, in characters.
_QUOTED: Final = 200

#: Told of each request: what was asked, as in ``PATCH /subscribers/{id}``, the status that was answered (None: no
#: answer came), and how long it took in seconds.
OnRequest = Callable[[str, int | None, float], None]

Model = TypeVar("Model", bound=BaseModel)


class ProsperStack:
    """The API for one account, by its key.

    ``on_answer`` is told what each answer's headers say of the rate limit (None: nothing that makes sense).
    Each method raises the kinds of `ProsperStackError`, and each is safe to repeat.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        base_url: str,
        api_key: str,
        on_answer: Callable[[RateLimit | None], None] = lambda _: None,
        on_request: OnRequest = lambda *_: None,
    ) -> None:
        self._http = http
        self._base_url = base_url.rstrip("/")
        self._auth = httpx.BasicAuth(api_key, "")
        self._on_answer = on_answer
        self._on_request = on_request

    async def list_properties(self, cursor: str | None = None) -> Page[PropertyDefinition]:
        """A page of the custom properties of subscribers."""
        query = {"entity": "subscriber", "limit": str(PAGE_SIZE)}
        return await self._get("/properties", query, cursor, Page[PropertyDefinition])

    async def find_subscribers(self, email: str, cursor: str | None = None) -> Page[Subscriber]:
        """A page of the subscribers with an email: none, one or several."""
        query = {"email": email, "limit": str(PAGE_SIZE)}
        return await self._get("/subscribers", query, cursor, Page[Subscriber])

    async def update_subscriber(self, subscriber_id: str, properties: Mapping[str, JsonValue]) -> Subscriber:
        """Set custom properties by their keys (None deletes a value); the subscriber as it is now."""
        url = f"{self._base_url}/subscribers/{quote(subscriber_id, safe='')}"
        return await self._request("PATCH", url, Subscriber, json={"properties": dict(properties)})

    async def delete_subscriber(self, subscriber_id: str) -> None:
        """Delete a subscriber."""
        await self._request("DELETE", f"{self._base_url}/subscribers/{quote(subscriber_id, safe='')}", Nothing)

    async def _get(self, path: str, query: dict[str, str], cursor: str | None, model: type[Model]) -> Model:
        if cursor:
            query["cursor"] = cursor
        return await self._request("GET", self._base_url + path, model, params=query)

    async def _request(self, method: str, url: str, model: type[Model], **kwargs: Any) -> Model:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                response, body = await self._exchange(method, url, **kwargs)
        except TimeoutError as error:
            raise Unavailable(f"ProsperStack did not answer within {ANSWER_SECONDS:.0f} s.") from error
        except httpx.HTTPError as error:
            raise Unavailable(f"ProsperStack could not be reached: {type(error).__name__}.") from error
        self._on_answer(RateLimit.from_headers(response.headers))
        if response.status_code // 100 != 2:
            raise _refusal(response, body)
        try:
            return model.model_validate_json(body if response.status_code != 204 else b"{}")
        except ValidationError as error:
            raise Unavailable(
                f"ProsperStack answered {response.status_code} with something else than the API promises: "
                f"{_fault(error)}.",
                status_code=response.status_code,
            ) from error

    async def _exchange(self, method: str, url: str, **kwargs: Any) -> tuple[httpx.Response, bytes]:
        # A redirect is never followed: the key would go to wherever it points.
        request = self._http.build_request(method, url, **kwargs)
        begun = time.monotonic()
        response = None
        try:
            response = await self._http.send(request, auth=self._auth, stream=True, follow_redirects=False)
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > ANSWER_BYTES:
                    raise Unavailable(
                        f"ProsperStack's answer has more than {ANSWER_BYTES // 1024**2} MB.",
                        status_code=response.status_code,
                    )
            return response, bytes(body)
        finally:
            status = None if response is None else response.status_code
            self._on_request(_kind(method, url.removeprefix(self._base_url)), status, time.monotonic() - begun)
            if response is not None:
                await response.aclose()


def _kind(method: str, path: str) -> str:
    """What is asked, without whom it is about."""
    _, collection, *rest = path.split("/")
    return f"{method} /{collection}" + ("/{id}" if rest else "")


def _refusal(response: httpx.Response, body: bytes) -> ProsperStackError:
    """The error for a status that is no success, with ProsperStack's own words where it gave any."""
    status = response.status_code
    said = _said(response, body)
    match status:
        case 401:
            return CredentialsRefused(f"ProsperStack refuses the API key: {said}", status_code=status)
        case 403:
            return CredentialsRefused(
                f"ProsperStack does not permit this to the API key: {said}", status_code=status
            )
        case 404:
            return NotFound(said, status_code=status)
        case 429:
            return RateLimited(
                "ProsperStack's rate limit is spent for this window.",
                retry_after=_retry_after(response.headers),
            )
        case 408 | 425:
            return Unavailable(f"ProsperStack answered {status}: {said}", status_code=status)
        case _ if 400 <= status < 500:
            return Rejected(said, status_code=status)
        case _:
            return Unavailable(
                f"ProsperStack answered {status}: {said}",
                status_code=status,
                retry_after=_seconds(response.headers.get("Retry-After")),
            )


def _said(response: httpx.Response, body: bytes) -> str:
    """The error text of an answer, or a quotation of what it was instead."""
    try:
        error = _ErrorBody.model_validate_json(body).error
    except ValidationError:
        kind = response.headers.get("Content-Type", "no content type").split(";")[0]
        return f"({kind}) {body[:_QUOTED].decode(errors='replace')!r}"
    return error


class _ErrorBody(BaseModel):
    error: str


def _fault(error: ValidationError) -> str:
    """Where an answer is not as promised, without quoting people's data."""
    first = error.errors(include_input=False, include_url=False)[0]
    return f"{'.'.join(map(str, first['loc'])) or 'the body'}: {first['msg']}"


def _retry_after(headers: httpx.Headers) -> float | None:
    """When the window resets, by whichever header names a time in seconds."""
    named = [_seconds(headers.get(name)) for name in ("Retry-After", "RateLimit-Reset")]
    return max((seconds for seconds in named if seconds is not None), default=None)


def _seconds(text: str | None) -> float | None:
    return float(text) if text is not None and text.isascii() and text.isdigit() else None

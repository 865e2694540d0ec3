"""Bodies of the answers that ProsperStack and Segment's Public API give: bounded, and read without blocking."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Final, TypeVar

import httpx
from pydantic import BaseModel, JsonValue, ValidationError

from prosperstack_destination.storable import storable_json

#: A larger answer is not read, in bytes: a page of 100 subscribers has far less.
MAX_RESPONSE_BYTES: Final = 8 * 1024 * 1024
#: The longest id or cursor, in bytes of UTF-8.
ID_BYTES: Final = 1024
#: The most items that a page may have, and an item's list of properties.
MAX_ITEMS: Final = 1_000
#: A larger body is looked through in a thread, in bytes.
_LARGE: Final = 64 * 1024
#: Items that are validated before the event loop has its turn.
_AT_ONCE: Final = 10

Item = TypeVar("Item", bound=BaseModel)


class UnreadableBody(Exception):
    """A body is not read. ``str()`` of it goes on after "The answer"."""


class InvalidItem(Exception):
    """An item of a page is not as promised: its ``number``, from 0, and the ``cause``."""

    def __init__(self, number: int, cause: ValidationError) -> None:
        super().__init__(str(number))
        self.number = number
        self.cause = cause


async def read_body(response: httpx.Response) -> bytes:
    """Return the body of an answer; what JSON in it spells can be stored.

    Raises `UnreadableBody` for more than `ANSWER_BYTES`, and for a compressed body: a few KB of it may inflate to
    GB, piece by piece within one call. Requests ask for `identity` (see `outbound`).
    """
    if response.headers.get("Content-Encoding", "").strip().lower() not in ("", "identity"):
        raise UnreadableBody("is compressed, though it was asked for as it is (Accept-Encoding: identity)")
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > MAX_RESPONSE_BYTES:
            raise UnreadableBody(f"has more than {MAX_RESPONSE_BYTES // 1024**2} MB")
    if len(body) <= _LARGE:
        return storable_json(bytes(body))
    return await asyncio.to_thread(storable_json, bytes(body))


async def validate_items(model: type[Item], items: Sequence[JsonValue]) -> AsyncIterator[Item]:
    """The items of a page, validated a few at a time. Raises `InvalidItem`."""
    for number, each in enumerate(items):
        if number % _AT_ONCE == 0:
            await asyncio.sleep(0)
        try:
            yield model.model_validate(each)
        except ValidationError as error:
            raise InvalidItem(number, error) from error


def short_id(text: str) -> str:
    """A validator: the id or cursor, if it is no longer than `ID_BYTES`. Raises `ValueError`."""
    if len(text.encode(errors="replace")) > ID_BYTES:
        raise ValueError(f"it has more than {ID_BYTES} bytes")
    return text


def limit_items(value: object) -> object:
    """A validator that runs before others: the value, unless it is a list of more than `MAX_ITEMS`."""
    if isinstance(value, list) and len(value) > MAX_ITEMS:
        raise ValueError(f"there are more than {MAX_ITEMS:,}")
    return value

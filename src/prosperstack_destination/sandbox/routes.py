"""Routes of the sandbox, as ProsperStack documents them, with pages and filters by time.

Pages follow the order of creation, and a cursor names the last record shown. Updates change neither: a client
that pages during writes sees every remaining record exactly once, and reaches the end. In the order of
``updated_at``, an updated record would move behind the cursor and be shown again, as often as it is updated.
"""

import base64
import operator
import re
import secrets
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import Annotated, Any, Final, Literal, Protocol

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from prosperstack_destination.sandbox.account import SandboxAccount
from prosperstack_destination.sandbox.store import Record, Records, Refused

router = APIRouter(prefix="/v1")

#: Statuses in filters of subscribers. Records have only some of them.
_STATUSES: Final = ("active", "canceled", "converted", "deflected", "inactive", "reactivated", "saved")
#: Number of records on a page without a limit, and largest limit.
DEFAULT_LIMIT = 10
MAX_LIMIT = 100
_CURSOR: Final = re.compile(r"after:([0-9]{1,18})")
_LIMIT: Final = re.compile(r"[0-9]{1,3}")
_TIME_FILTER: Final = re.compile(r"(created_at|updated_at)(?:\[(.*)\])?", re.DOTALL)
_COMPARE: Final[dict[str, Callable[[datetime, datetime], bool]]] = {
    "gt": operator.gt,
    "lt": operator.lt,
    "gte": operator.ge,
    "lte": operator.le,
}
#: Function that returns True for the records of a list.
Condition = Callable[[Record], bool]


async def _account(request: Request) -> SandboxAccount:  # async: a sync dependency would run in a thread
    account: SandboxAccount = request.state.account
    return account


TheAccount = Annotated[SandboxAccount, Depends(_account)]
Text = Annotated[str | None, Query()]


class PropertyBody(BaseModel):
    """Body of a request that creates a property."""

    key: Annotated[str, Field(pattern=r"^[a-z0-9_]+$", max_length=100)]
    name: Annotated[str, Field(min_length=1, max_length=200)]
    entity: Literal["subscriber", "subscription"]
    type: Literal["text", "number", "boolean", "date"]
    format: Literal["number", "currency"] | None = None


class Update(BaseModel):
    """Body of a request that sets custom properties. They are required: the reference has no body without them."""

    properties: dict[str, Any]


@router.get("/properties")
async def list_properties(
    account: TheAccount, entity: Text = None, cursor: Text = None, limit: Text = None
) -> dict[str, object]:
    """Return the custom properties in the order of creation."""
    if entity not in (None, "subscriber", "subscription"):
        raise Refused(400, "entity must be subscriber or subscription")
    size, start = read_limit(limit), read_cursor(cursor)
    properties = account.data.properties.values()
    return page((each for each in properties if each.number > start and entity in (None, each.entity)), size)


@router.post("/properties", status_code=201)
async def create_property(account: TheAccount, new: PropertyBody, response: Response) -> dict[str, object]:
    """Create a custom property."""
    made_id = f"prop_{secrets.token_hex(12)}"
    arguments = {
        "made_id": made_id,
        "key": new.key,
        "name": new.name,
        "entity": new.entity,
        "kind": new.type,
        "display": new.format,
    }
    created = account.write("create_property", arguments)
    response.headers["Location"] = f"/v1/properties/{made_id}"
    return created


@router.get("/properties/{property_id}")
async def retrieve_property(account: TheAccount, property_id: str) -> dict[str, object]:
    """Return one custom property."""
    record = account.data.properties.get(property_id)
    if record is None:
        raise Refused(404, "Not found")
    return record.shown()


@router.delete("/properties/{property_id}", status_code=204)
async def delete_property(account: TheAccount, property_id: str) -> None:
    """Delete a custom property. Stored values stay."""
    account.write("delete_property", {"property_id": property_id})


@router.get("/subscribers")
async def list_subscribers(
    request: Request,
    account: TheAccount,
    email: Text = None,
    platform_id: Text = None,
    status: Text = None,
    cursor: Text = None,
    limit: Text = None,
) -> dict[str, object]:
    """Return subscribers in the order of creation."""
    if status not in (None, *_STATUSES):
        raise Refused(400, f"status must be one of {', '.join(_STATUSES)}")
    fields = {"email": email, "platform_id": platform_id, "status": status}
    return _list(request, account.data.subscribers, fields, cursor, limit)


@router.get("/subscribers/{subscriber_id}")
async def retrieve_subscriber(account: TheAccount, subscriber_id: str) -> dict[str, object]:
    """Return one subscriber."""
    return account.data.subscribers.get(subscriber_id).shown()


@router.patch("/subscribers/{subscriber_id}")
async def update_subscriber(
    request: Request, account: TheAccount, subscriber_id: str, update: Update
) -> dict[str, object]:
    """Set a subscriber's custom properties. null and "" delete a value."""
    return account.write("update_subscriber", _update(request, subscriber_id, update))


@router.delete("/subscribers/{subscriber_id}", status_code=204)
async def delete_subscriber(account: TheAccount, subscriber_id: str) -> None:
    """Delete a subscriber."""
    account.write("delete_subscriber", {"subscriber_id": subscriber_id})


@router.get("/subscriptions")
async def list_subscriptions(
    request: Request,
    account: TheAccount,
    platform_id: Text = None,
    subscriber_id: Text = None,
    cursor: Text = None,
    limit: Text = None,
) -> dict[str, object]:
    """Return subscriptions in the order of creation."""
    fields = {"platform_id": platform_id, "subscriber_id": subscriber_id}
    return _list(request, account.data.subscriptions, fields, cursor, limit)


@router.patch("/subscriptions/{subscription_id}")
async def update_subscription(
    request: Request, account: TheAccount, subscription_id: str, update: Update
) -> dict[str, object]:
    """Set a subscription's custom properties."""
    return account.write("update_subscription", _update(request, subscription_id, update))


def _update(request: Request, record_id: str, update: Update) -> dict[str, Any]:
    return {"record_id": record_id, "properties": update.properties, "at": request.state.now}


def _list(
    request: Request, records: Records, fields: dict[str, str | None], cursor: str | None, limit: str | None
) -> dict[str, object]:
    size, start = read_limit(limit), read_cursor(cursor)
    matching = records.after(start, **fields)
    for condition in time_filters(request.query_params.multi_items()):
        matching = filter(condition, matching)
    return page(matching, size)


class ListItem(Protocol):
    """Item of a list."""

    @property
    def number(self) -> int:
        """Position in the order of creation."""

    def shown(self) -> dict[str, object]:
        """Return the item as JSON of the API."""


def read_limit(text: str | None) -> int:
    """Return the size of a page. Raises `Refused` (400) for an invalid one."""
    if text is None:
        return DEFAULT_LIMIT
    if _LIMIT.fullmatch(text) is None or not 1 <= int(text) <= MAX_LIMIT:
        raise Refused(400, f"limit must be a number from 1 to {MAX_LIMIT}")
    return int(text)


def read_cursor(text: str | None) -> int:
    """Return the number after which a page begins. Raises `Refused` (400) for an invalid cursor."""
    if text is None:
        return 0
    try:
        match = _CURSOR.fullmatch(base64.urlsafe_b64decode(text.encode()).decode())
    except ValueError:  # neither base64 nor text
        match = None
    if match is None:
        raise Refused(400, "cursor is invalid")
    return int(match[1])


def page(items: Iterator[ListItem], limit: int) -> dict[str, object]:
    """Return a page as JSON of the API. The items are in order, from the first of the page."""
    items_and_next = list(islice(items, limit + 1))
    more = len(items_and_next) > limit
    cursor = f"after:{items_and_next[limit - 1].number}" if more else None
    return {
        "data": [item.shown() for item in items_and_next[:limit]],
        "next_cursor": None if cursor is None else base64.urlsafe_b64encode(cursor.encode()).decode(),
    }


def time_filters(query: Iterable[tuple[str, str]]) -> list[Condition]:
    """Return the filters of a query such as ``updated_at[gte]``. A date means its first moment in UTC.

    Raises `Refused` (400) for an invalid date, and for an undocumented comparison: ignoring it would return every
    record.
    """
    return [
        _time_comparison(match[1], match[2], text)
        for name, text in query
        if (match := _TIME_FILTER.fullmatch(name)) is not None
    ]


def _time_comparison(field: str, comparison: str | None, text: str) -> Condition:
    compare = _COMPARE.get(comparison or "")
    if compare is None:
        raise Refused(400, f"{field} takes one of {', '.join(f'{field}[{each}]' for each in _COMPARE)}")
    try:
        bound = datetime.fromisoformat(text)
    except ValueError:
        raise Refused(400, f"{field}[{comparison}] must be an ISO 8601 date") from None
    if bound.tzinfo is None:
        bound = bound.replace(tzinfo=UTC)
    value = operator.attrgetter(field)
    return lambda record: compare(value(record), bound)

"""The operations of ProsperStack's REST API v1 that a destination needs."""

import secrets
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from prosperstack_destination.sandbox.account import SandboxAccount
from prosperstack_destination.sandbox.pages import page, read_cursor, read_limit, time_filters
from prosperstack_destination.sandbox.store import Records, Refused

router = APIRouter(prefix="/v1")

#: What subscribers may be filtered by; it is more than the statuses that are shown.
_STATUSES: Final = ("active", "canceled", "converted", "deflected", "inactive", "reactivated", "saved")


async def _account(request: Request) -> SandboxAccount:  # a thread for it would cost more than it does
    account: SandboxAccount = request.state.account
    return account


TheAccount = Annotated[SandboxAccount, Depends(_account)]
Text = Annotated[str | None, Query()]


class NewProperty(BaseModel):
    """The body that makes a property."""

    key: Annotated[str, Field(pattern=r"^[a-z0-9_]+$", max_length=100)]
    name: Annotated[str, Field(min_length=1, max_length=200)]
    entity: Literal["subscriber", "subscription"]
    type: Literal["text", "number", "boolean", "date"]
    format: Literal["number", "currency"] | None = None


class Update(BaseModel):
    """The body that sets custom properties. One without any is taken for a mistake, as the document shows none."""

    properties: dict[str, Any]


@router.get("/properties")
async def list_properties(
    account: TheAccount, entity: Text = None, cursor: Text = None, limit: Text = None
) -> dict[str, object]:
    """The custom properties, in the order of their creation."""
    if entity not in (None, "subscriber", "subscription"):
        raise Refused(400, "entity must be subscriber or subscription")
    size, start = read_limit(limit), read_cursor(cursor)
    every = account.data.properties.values()
    return page((each for each in every if each.number > start and entity in (None, each.entity)), size)


@router.post("/properties", status_code=201)
async def create_property(account: TheAccount, new: NewProperty, response: Response) -> dict[str, object]:
    """Make a custom property."""
    made_id = f"prop_{secrets.token_hex(12)}"
    arguments = {
        "made_id": made_id,
        "key": new.key,
        "name": new.name,
        "entity": new.entity,
        "kind": new.type,
        "display": new.format,
    }
    made = account.write("create_property", arguments)
    response.headers["Location"] = f"/v1/properties/{made_id}"
    return made


@router.get("/properties/{property_id}")
async def retrieve_property(account: TheAccount, property_id: str) -> dict[str, object]:
    """One custom property."""
    found = account.data.properties.get(property_id)
    if found is None:
        raise Refused(404, "Not found")
    return found.shown()


@router.delete("/properties/{property_id}", status_code=204)
async def delete_property(account: TheAccount, property_id: str) -> None:
    """Delete a custom property; values that are stored stay."""
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
    """Subscribers in the order of their creation."""
    if status not in (None, *_STATUSES):
        raise Refused(400, f"status must be one of {', '.join(_STATUSES)}")
    fields = {"email": email, "platform_id": platform_id, "status": status}
    return _list(request, account.data.subscribers, fields, cursor, limit)


@router.get("/subscribers/{subscriber_id}")
async def retrieve_subscriber(account: TheAccount, subscriber_id: str) -> dict[str, object]:
    """One subscriber."""
    return account.data.subscribers.get(subscriber_id).shown()


@router.patch("/subscribers/{subscriber_id}")
async def update_subscriber(
    request: Request, account: TheAccount, subscriber_id: str, update: Update
) -> dict[str, object]:
    """Set a subscriber's custom properties; null and "" delete a value."""
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
    """Subscriptions in the order of their creation."""
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
    found = records.after(start, **fields)
    for condition in time_filters(request.query_params.multi_items()):
        found = filter(condition, found)
    return page(found, size)

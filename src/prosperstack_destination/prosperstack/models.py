"""Responses of ProsperStack's API, read tolerantly: undocumented fields may occur."""

from typing import Annotated, Generic, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, JsonValue

from prosperstack_destination.http_client import ID_BYTES, limit_items, short_id

Item = TypeVar("Item", bound=BaseModel)

#: An id, key or cursor of at most `ID_BYTES` bytes.
Id = Annotated[str, AfterValidator(short_id)]


def _email(value: object) -> object:
    """Return an email, or "" for one longer than any that Segment can send."""
    if isinstance(value, str) and len(value.encode(errors="replace")) > ID_BYTES:
        return ""
    return value or ""


class _Response(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class PropertyDefinition(_Response):
    """A custom property of the account; ``entity`` is "subscriber" or "subscription"."""

    id: Id
    key: Id
    name: Id
    entity: Id
    type: Id


class _PropertyRef(_Response):
    key: Id


class PropertyValue(_Response):
    """A property's value on a subscriber, in the property's type."""

    property: _PropertyRef
    value: JsonValue = None


_Properties = Annotated[tuple[PropertyValue, ...], BeforeValidator(limit_items)]


class Subscriber(_Response):
    """A subscriber with its custom properties that have values. ProsperStack chooses the email's spelling."""

    id: Id
    email: Annotated[str, BeforeValidator(_email)] = ""
    #: Id in the billing platform.
    platform_id: Id | None = None
    properties: _Properties = ()

    def values(self) -> dict[str, JsonValue]:
        """Return values by property key; properties without a value are left out."""
        return {each.property.key: each.value for each in self.properties if each.value not in (None, "")}


class Subscription(_Response):
    """A subscription with its custom properties that have values."""

    id: Id
    status: Id = ""
    properties: _Properties = ()

    def values(self) -> dict[str, JsonValue]:
        """Return values by property key; properties without a value are left out."""
        return {each.property.key: each.value for each in self.properties if each.value not in (None, "")}


class EmptyResponse(_Response):
    """A response without content."""


class Page(_Response, Generic[Item]):
    """One page of a list; ``next_cursor`` is the cursor of the next, None or "" for the last."""

    data: tuple[Item, ...]
    next_cursor: Id | None = None


class RawPage(_Response):
    """A page whose items are not validated yet."""

    data: Annotated[list[JsonValue], BeforeValidator(limit_items)]
    next_cursor: Id | None = None

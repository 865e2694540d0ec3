"""What ProsperStack answers: read tolerantly, since what is not documented may come too."""

from typing import Annotated, Generic, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, JsonValue

from prosperstack_destination.response_body import ID_BYTES, limit_items, short_id

Item = TypeVar("Item", bound=BaseModel)

#: An id, a key or a cursor, of `ID_BYTES` at most.
Id = Annotated[str, AfterValidator(short_id)]


def _email(value: object) -> object:
    """An email, or "": one that is longer than any is nobody's whom Segment can name."""
    if isinstance(value, str) and len(value.encode(errors="replace")) > ID_BYTES:
        return ""
    return value or ""


class _Answer(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class PropertyDefinition(_Answer):
    """One custom property of the account; ``entity`` is "subscriber" or "subscription"."""

    id: Id
    key: Id
    name: Id
    entity: Id
    type: Id


class _PropertyRef(_Answer):
    key: Id


class PropertyValue(_Answer):
    """A property's value on a subscriber, by the property's type."""

    property: _PropertyRef
    value: JsonValue = None


_Properties = Annotated[tuple[PropertyValue, ...], BeforeValidator(limit_items)]


class Subscriber(_Answer):
    """One subscriber with the custom properties that have values. Emails come as ProsperStack keeps them."""

    id: Id
    email: Annotated[str, BeforeValidator(_email)] = ""
    #: Its id in the billing platform.
    platform_id: Id | None = None
    properties: _Properties = ()

    def values(self) -> dict[str, JsonValue]:
        """Property keys to values; a property without a value is not in it."""
        return {each.property.key: each.value for each in self.properties if each.value not in (None, "")}


class Subscription(_Answer):
    """One subscription with the custom properties that have values."""

    id: Id
    status: Id = ""
    properties: _Properties = ()

    def values(self) -> dict[str, JsonValue]:
        """Property keys to values; a property without a value is not in it."""
        return {each.property.key: each.value for each in self.properties if each.value not in (None, "")}


class EmptyResponse(_Answer):
    """The answer to what leaves nothing to show."""


class Page(_Answer, Generic[Item]):
    """One page of a list; ``next_cursor`` asks for the next, None or "" ends it."""

    data: tuple[Item, ...]
    next_cursor: Id | None = None


class RawPage(_Answer):
    """A page whose items are not validated yet."""

    data: Annotated[list[JsonValue], BeforeValidator(limit_items)]
    next_cursor: Id | None = None

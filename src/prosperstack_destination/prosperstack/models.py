"""What ProsperStack answers: read tolerantly, since what is not documented may come too."""

from typing import Annotated, Generic, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, JsonValue

Item = TypeVar("Item", bound=BaseModel)


class _Answer(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class PropertyDefinition(_Answer):
    """One custom property of the account; ``entity`` is "subscriber" or "subscription"."""

    id: str
    key: str
    name: str
    entity: str
    type: str


class _PropertyRef(_Answer):
    key: str


class PropertyValue(_Answer):
    """A property's value on a subscriber, by the property's type."""

    property: _PropertyRef
    value: JsonValue = None


class Subscriber(_Answer):
    """One subscriber with the custom properties that have values. Emails come as ProsperStack keeps them."""

    id: str
    email: Annotated[str, BeforeValidator(lambda value: value or "")] = ""
    #: Its id in the billing platform.
    platform_id: str | None = None
    properties: tuple[PropertyValue, ...] = ()

    def values(self) -> dict[str, JsonValue]:
        """Property keys to values; a property without a value is not in it."""
        return {each.property.key: each.value for each in self.properties if each.value not in (None, "")}


class Subscription(_Answer):
    """One subscription with the custom properties that have values."""

    id: str
    status: str = ""
    properties: tuple[PropertyValue, ...] = ()

    def values(self) -> dict[str, JsonValue]:
        """Property keys to values; a property without a value is not in it."""
        return {each.property.key: each.value for each in self.properties if each.value not in (None, "")}


class Nothing(_Answer):
    """The answer to what leaves nothing to show."""


class Page(_Answer, Generic[Item]):
    """One page of a list; ``next_cursor`` asks for the next, None or "" ends it."""

    data: tuple[Item, ...]
    next_cursor: str | None = None

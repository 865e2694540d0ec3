"""What ProsperStack sends when a cancel flow begins, and what it is answered.

How the answer has to look is not public, nor are its signature and its time-outs: all that is believed of the
answer stands here, in `body_of`.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from prosperstack_destination.errors import BadCall
from prosperstack_destination.mapping.coercion import PropertyValue
from prosperstack_destination.state.cancel_flows import Person
from prosperstack_destination.state.json_text import dump
from prosperstack_destination.storable import REPLACEMENT, storable_json

#: The webhook that a cancel flow begins with.
STARTED: Final = "flow_session_started"
#: The longest id or email that is looked for, in characters.
MAX_TEXT: Final = 500


class Shape(StrEnum):
    """How the answer of the data connector looks."""

    #: ``{"property_key": value}``
    FLAT = "flat"
    #: ``{"properties": {"property_key": value}}``
    PROPERTIES = "properties"


def body_of(values: Mapping[str, PropertyValue], shape: Shape) -> bytes:
    """The answer that tells a person's properties; null is a property that should have no value."""
    content = {"properties": dict(values)} if shape is Shape.PROPERTIES and values else dict(values)
    return dump(content).encode()


def _text_or_none(value: object) -> object:
    """Whatever cannot be an id or an email is as good as missing: what is not documented may come too."""
    good = isinstance(value, str) and value.strip() and len(value) <= MAX_TEXT and REPLACEMENT not in value
    return value if good else None


Text = Annotated[str | None, BeforeValidator(_text_or_none)]


class _Wire(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class _Subscriber(_Wire):
    id: Text = None
    platform_id: Text = None
    email: Text = None


class _Subscription(_Wire):
    subscriber_id: Text = None


class _Data(_Wire):
    subscriber: _Subscriber = Field(default_factory=_Subscriber)
    subscription: _Subscription | None = None

    def person(self) -> Person:
        """Whom it speaks of."""
        email = self.subscriber.email
        of_subscription = None if self.subscription is None else self.subscription.subscriber_id
        ids = dict.fromkeys(each for each in (self.subscriber.id, of_subscription) if each)
        return Person(None if email is None else email.strip().lower(), tuple(ids), self.subscriber.platform_id)


class ConnectorCall(_Wire):
    """What the data connector is called with."""

    data_connector_id: Text = None
    data: _Data = Field(default_factory=_Data)


class FlowEvent(_Wire):
    """One of ProsperStack's webhooks."""

    event: Text = None
    event_id: Text = None
    data: _Data = Field(default_factory=_Data)


def read_connector_call(body: bytes) -> Person:
    """Of whom a call of the data connector speaks. Raises `BadCall` for what is no such call."""
    try:
        return ConnectorCall.model_validate_json(storable_json(body)).data.person()
    except ValidationError as error:
        raise _bad(error) from None


def read_flow_event(body: bytes) -> Person | None:
    """Who begins to cancel; None: the event tells of something else. Raises `BadCall` for what is no event."""
    try:
        event = FlowEvent.model_validate_json(storable_json(body))
    except ValidationError as error:
        raise _bad(error) from None
    return event.data.person() if event.event == STARTED else None


def _bad(error: ValidationError) -> BadCall:
    first = error.errors(include_input=False, include_url=False)[0]
    place = ".".join(map(str, first["loc"])) or "The body"
    return BadCall(f"{place} is not as ProsperStack documents it: {first['msg']}.", field=place)

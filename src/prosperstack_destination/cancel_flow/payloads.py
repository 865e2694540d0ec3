"""Requests that ProsperStack sends when a cancel flow starts, and the response to them.

The response format, the signature and the time limits are not public: `response_body` has all assumptions about the
response. The request is parsed tolerantly: an email is also found in the places where people put it who try the
endpoint or build a request of their own.
"""

from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum
from typing import Annotated, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, ValidationError

from prosperstack_destination.emails import is_email, normalize_email
from prosperstack_destination.errors import InvalidCall
from prosperstack_destination.ingest.documented_call import DOCUMENTED_EMAIL
from prosperstack_destination.ingest.request_body import parse_object
from prosperstack_destination.mapping.coercion import PropertyValue
from prosperstack_destination.storable_text import REPLACEMENT
from prosperstack_destination.store.cancel_flows import PersonRef
from prosperstack_destination.store.json_codec import dump

#: Event of the webhook at the start of a cancel flow.
SESSION_STARTED: Final = "flow_session_started"
_EMAIL_FIELD: Final = "data.subscriber.email"
_ADVICE: Final = f"Send the email as {_EMAIL_FIELD}."
#: Names of fields with an email, and of objects with such a field, without case, underscores and hyphens.
_EMAIL_NAMES: Final = ("email", "emailaddress", "subscriberemail", "customeremail", "useremail")
_OBJECT_NAMES: Final = (
    *("subscriber", "customer", "user", "person", "contact", "data", "subscription", "traits", "attributes"),
    *("payload", "session", "flowsession", "context"),
)
#: Levels of objects that are searched for an email.
_MAX_DEPTH: Final = 4
#: Longest ID or email, in characters; a longer one is ignored.
MAX_TEXT: Final = 500


class ResponseFormat(StrEnum):
    """Format of the data connector's response."""

    #: ``{"property_key": value}``
    FLAT = "flat"
    #: ``{"properties": {"property_key": value}}``
    PROPERTIES = "properties"


def response_body(values: Mapping[str, PropertyValue], response_format: ResponseFormat) -> bytes:
    """Return the response with a person's properties; null is a property without a value."""
    content = (
        {"properties": dict(values)} if response_format is ResponseFormat.PROPERTIES and values else dict(values)
    )
    return dump(content).encode()


def _text_or_none(value: object) -> object:
    """Return None for a value that cannot be an ID or email: the request may have undocumented fields."""
    good = isinstance(value, str) and value.strip() and len(value) <= MAX_TEXT and REPLACEMENT not in value
    return value if good else None


Text = Annotated[str | None, BeforeValidator(_text_or_none)]


class _Payload(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class _Subscriber(_Payload):
    id: Text = None
    platform_id: Text = None
    email: Text = None


class _Subscription(_Payload):
    subscriber_id: Text = None


class _Data(_Payload):
    subscriber: _Subscriber = Field(default_factory=_Subscriber)
    subscription: _Subscription | None = None

    def person(self) -> PersonRef:
        """Return the person that the request names."""
        of_subscription = None if self.subscription is None else self.subscription.subscriber_id
        ids = dict.fromkeys(each for each in (self.subscriber.id, of_subscription) if each)
        return PersonRef(_email(self.subscriber.email), tuple(ids), self.subscriber.platform_id)


#: Request of ProsperStack as in its documentation.
EXAMPLE: Final[dict[str, JsonValue]] = {
    "data_connector_id": "dcon_Ga3w4qnkM4AvhgDUQm0rrZ7b",
    "data": {
        "subscription": {
            "id": "subn_aB1cD2eF3gH4iJ5kL6mN7oP8",
            "platform_id": "sub_1234",
            "subscriber_id": "subr_aB1cD2eF3gH4iJ5kL6mN7oP8",
            "mrr": "14.99",
            "status": "active",
            "properties": [],
        },
        "subscriber": {
            "id": "subr_aB1cD2eF3gH4iJ5kL6mN7oP8",
            "platform_id": "cus_1234",
            "name": "John Doe",
            "email": DOCUMENTED_EMAIL,
            "status": "active",
            "properties": [],
        },
    },
}


class ConnectorCall(_Payload):
    """Request of a data connector. An email is found in some other places as well, e.g. `{"email": "…"}`."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    data_connector_id: Text = None
    data: _Data = Field(default_factory=_Data)


class FlowEvent(_Payload):
    """One of ProsperStack's webhooks."""

    event: Text = None
    event_id: Text = None
    data: _Data = Field(default_factory=_Data)


def read_connector_call(body: bytes) -> PersonRef:
    """Return the person that a data connector call names. Raises `InvalidCall` if it names none."""
    return _person(parse_object(body), ConnectorCall)


def read_flow_event(body: bytes) -> PersonRef | None:
    """Return the person who starts to cancel; None for other events. Raises `InvalidCall` if it names none."""
    raw = parse_object(body)
    return _person(raw, FlowEvent) if raw.get("event") == SESSION_STARTED else None


def _person(raw: dict[str, JsonValue], form: type[ConnectorCall | FlowEvent]) -> PersonRef:
    """Return the person in the documented fields, with the email from another place if it is not there."""
    try:
        person = form.model_validate(raw).data.person()
    except ValidationError as error:
        person, fault = PersonRef(), _invalid_call(error)
    else:
        fault = InvalidCall(f"The request has no email and no subscriber ID. {_ADVICE}", field=_EMAIL_FIELD)
    if person.email is None:
        person = replace(person, email=_email_elsewhere(raw))
    if person == PersonRef():
        raise fault
    return person


def _email_elsewhere(raw: dict[str, JsonValue]) -> str | None:
    """Return the first email in an undocumented place, outermost first; None if there is none."""
    level = [raw]
    for _ in range(_MAX_DEPTH):
        named = [{_folded(name): value for name, value in each.items()} for each in level]
        for place in (*_EMAIL_NAMES, *_OBJECT_NAMES):
            for each in named:
                if (email := _email(each.get(place))) is not None:
                    return email
        inner = (each[name] for name in _OBJECT_NAMES for each in named if name in each)
        level = [each for each in inner if isinstance(each, dict)]
    return None


def _email(value: JsonValue) -> str | None:
    """Return the normalized email of a value; None if it is none."""
    if not isinstance(value, str):
        return None
    email = normalize_email(value)
    return email if is_email(email) else None


def _folded(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")


def _invalid_call(error: ValidationError) -> InvalidCall:
    first = error.errors(include_input=False, include_url=False)[0]
    place = ".".join(map(str, first["loc"])) or "The body"
    return InvalidCall(
        f"{place} does not match ProsperStack's documentation: {first['msg']}. {_ADVICE}", field=place
    )

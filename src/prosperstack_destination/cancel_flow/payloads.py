"""What ProsperStack sends when a cancel flow begins, and what it is answered.

How the answer has to look is not public, nor are its signature and its time-outs: all that is believed of the
answer stands here, in `body_of`. The request is read tolerantly as well: an email is found where people put it
who try the endpoint, or build a request of their own.
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
from prosperstack_destination.storable import REPLACEMENT
from prosperstack_destination.store.cancel_flows import PersonRef
from prosperstack_destination.store.json_codec import dump

#: The webhook that a cancel flow begins with.
STARTED: Final = "flow_session_started"
_PLACE: Final = "data.subscriber.email"
_HOW: Final = f"Send the email as {_PLACE}."
#: Names of fields that hold an email, and of objects that have one, without case, underscores and hyphens.
_EMAILS: Final = ("email", "emailaddress", "subscriberemail", "customeremail", "useremail")
_HOLDERS: Final = (
    *("subscriber", "customer", "user", "person", "contact", "data", "subscription", "traits", "attributes"),
    *("payload", "session", "flowsession", "context"),
)
#: Levels of objects that an email is looked for in.
_DEPTH: Final = 4
#: The longest id or email that is looked for, in characters.
MAX_TEXT: Final = 500


class ResponseFormat(StrEnum):
    """How the answer of the data connector looks."""

    #: ``{"property_key": value}``
    FLAT = "flat"
    #: ``{"properties": {"property_key": value}}``
    PROPERTIES = "properties"


def response_body(values: Mapping[str, PropertyValue], shape: ResponseFormat) -> bytes:
    """The answer that tells a person's properties; null is a property that should have no value."""
    content = {"properties": dict(values)} if shape is ResponseFormat.PROPERTIES and values else dict(values)
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

    def person(self) -> PersonRef:
        """The person that it speaks of."""
        of_subscription = None if self.subscription is None else self.subscription.subscriber_id
        ids = dict.fromkeys(each for each in (self.subscriber.id, of_subscription) if each)
        return PersonRef(_email(self.subscriber.email), tuple(ids), self.subscriber.platform_id)


#: A request of ProsperStack's, as its documentation has it.
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


class ConnectorCall(_Wire):
    """The request of a data connector. An email is found in some other places as well, as in `{"email": "…"}`."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    data_connector_id: Text = None
    data: _Data = Field(default_factory=_Data)


class FlowEvent(_Wire):
    """One of ProsperStack's webhooks."""

    event: Text = None
    event_id: Text = None
    data: _Data = Field(default_factory=_Data)


def read_connector_call(body: bytes) -> PersonRef:
    """Return the person that a call of the data connector speaks of. Raises `InvalidCall` where it names none."""
    return _person(parse_object(body), ConnectorCall)


def read_flow_event(body: bytes) -> PersonRef | None:
    """Return the person who begins to cancel; None for other events. Raises `InvalidCall` where it names none."""
    raw = parse_object(body)
    return _person(raw, FlowEvent) if raw.get("event") == STARTED else None


def _person(raw: dict[str, JsonValue], form: type[ConnectorCall | FlowEvent]) -> PersonRef:
    """The person in the documented places, and with the email in another one if it is not there."""
    try:
        person = form.model_validate(raw).data.person()
    except ValidationError as error:
        person, fault = PersonRef(), _invalid_call(error)
    else:
        fault = InvalidCall(f"It names no email and no id of a subscriber. {_HOW}", field=_PLACE)
    if person.email is None:
        person = replace(person, email=_email_elsewhere(raw))
    if person == PersonRef():
        raise fault
    return person


def _email_elsewhere(raw: dict[str, JsonValue]) -> str | None:
    """The first email in a place where people put one, the outermost first; None where there is none."""
    level = [raw]
    for _ in range(_DEPTH):
        named = [{_folded(name): value for name, value in each.items()} for each in level]
        for place in (*_EMAILS, *_HOLDERS):
            for each in named:
                if (email := _email(each.get(place))) is not None:
                    return email
        inner = (each[name] for name in _HOLDERS for each in named if name in each)
        level = [each for each in inner if isinstance(each, dict)]
    return None


def _email(value: JsonValue) -> str | None:
    """The email that a value is, normalized; None where it is none."""
    if not isinstance(value, str):
        return None
    email = normalize_email(value)
    return email if is_email(email) else None


def _folded(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")


def _invalid_call(error: ValidationError) -> InvalidCall:
    first = error.errors(include_input=False, include_url=False)[0]
    place = ".".join(map(str, first["loc"])) or "The body"
    return InvalidCall(f"{place} is not as ProsperStack documents it: {first['msg']}. {_HOW}", field=place)

"""What ProsperStack sends when a cancel flow begins, and what it is answered."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prosperstack_destination.cancel_flow.payloads import (
    EXAMPLE,
    ResponseFormat,
    read_connector_call,
    read_flow_event,
    response_body,
)
from prosperstack_destination.errors import InvalidCall
from prosperstack_destination.store.cancel_flows import PersonRef

SUBSCRIBER = {"id": "subr_1", "platform_id": "cus_1", "email": " Guybrush@Example.com ", "properties": []}
SUBSCRIPTION = {"id": "subn_1", "subscriber_id": "subr_2", "mrr": "14.99"}


def call(**data: object) -> bytes:
    return json.dumps({"data_connector_id": "dcon_1", "data": data}).encode()


def test_the_documented_call() -> None:
    """A call has the normalized email and every ID of the person."""
    assert read_connector_call(call(subscriber=SUBSCRIBER, subscription=SUBSCRIPTION)) == PersonRef(
        "guybrush@example.com", ("subr_1", "subr_2"), "cus_1"
    )


@pytest.mark.parametrize("email", [None, "", " ", 5, ["a@b.c"], "a\0@b.c", "a" * 501])
def test_invalid_email_counts_as_missing(email: object) -> None:
    """An invalid email is ignored, and the IDs still count."""
    assert read_connector_call(call(subscriber={**SUBSCRIBER, "email": email})) == PersonRef(
        None, ("subr_1",), "cus_1"
    )


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"data": 5}', b'{"data": {"subscriber": "x"}}', b"\xff"])
def test_invalid_call_is_refused(body: bytes) -> None:
    """An invalid call is refused with its field, without personal data."""
    with pytest.raises(InvalidCall, match=r"The body|not match ProsperStack's documentation"):
        read_connector_call(body)


@pytest.mark.parametrize(
    "content",
    [
        {"email": "John.Doe@example.com "},
        {"Email": "john.doe@example.com"},
        {"emailAddress": "john.doe@example.com"},
        {"subscriber_email": "john.doe@example.com"},
        {"data": {"email": "john.doe@example.com"}},
        {"data": {"subscriber": {"email": "john.doe@example.com"}}},
        {"data": {"subscriber": {"email": "n/a"}, "customer": {"email": "john.doe@example.com"}}},
        {"data": {"Subscriber": {"Email": "john.doe@example.com"}}},
        {"data": {"subscription": {"subscriber": {"email": "john.doe@example.com"}}}},
        {"data": {"subscriber": "john.doe@example.com"}},
        {"data": "broken", "email": "john.doe@example.com"},
        {"subscriber": {"email": "john.doe@example.com"}},
        {"user": {"email": "john.doe@example.com"}},
        {"traits": {"email": "john.doe@example.com"}},
        {"context": {"traits": {"email": "john.doe@example.com"}}},
    ],
)
def test_email_in_undocumented_place_is_found(content: object) -> None:
    """An email in an undocumented place is found, in any casing."""
    assert read_connector_call(json.dumps(content).encode()).email == "john.doe@example.com"


def test_the_documented_place_goes_first() -> None:
    """An email elsewhere does not replace the documented one, and adds to ids alone."""
    both = {"email": "other@example.com", "data": {"subscriber": SUBSCRIBER}}
    ids = {"email": "other@example.com", "data": {"subscriber": {"id": "subr_1"}}}

    assert read_connector_call(json.dumps(both).encode()).email == "guybrush@example.com"
    assert read_connector_call(json.dumps(ids).encode()) == PersonRef("other@example.com", ("subr_1",))


@pytest.mark.parametrize("content", [{}, {"data": {}}, {"email": "n/a"}, {"name": "john.doe@example.com"}])
def test_call_without_person_is_refused(content: object) -> None:
    """A call without an email and an ID is refused with the field of the email."""
    with pytest.raises(InvalidCall, match=r"Send the email as data\.subscriber\.email"):
        read_connector_call(json.dumps(content).encode())


def test_the_example_is_understood() -> None:
    """The documented request names a person in all three ways."""
    assert read_connector_call(json.dumps(EXAMPLE).encode()) == PersonRef(
        "john.doe@example.com", ("subr_aB1cD2eF3gH4iJ5kL6mN7oP8",), "cus_1234"
    )


def test_only_session_start_names_a_person() -> None:
    """Only the webhook of a started session names a person."""
    begun = {"event": "flow_session_started", "data": {"id": "sess_1", "subscriber": SUBSCRIBER}}

    assert read_flow_event(json.dumps(begun).encode()) == PersonRef("guybrush@example.com", ("subr_1",), "cus_1")
    assert read_flow_event(json.dumps({**begun, "event": "flow_session_completed"}).encode()) is None


@pytest.mark.parametrize(
    ("shape", "answer"),
    [(ResponseFormat.FLAT, {"a": 1, "b": None}), (ResponseFormat.PROPERTIES, {"properties": {"a": 1, "b": None}})],
)
def test_response_formats(shape: ResponseFormat, answer: object) -> None:
    """The response is flat, or under a name; a deleted value is null."""
    assert json.loads(response_body({"a": 1, "b": None}, shape)) == answer


@given(
    st.binary()
    | st.recursive(st.none() | st.text(), lambda inner: st.dictionaries(st.text(), inner)).map(json.dumps)
)
def test_any_body_is_parsed_or_refused(body: bytes | str) -> None:
    """Any body is parsed or refused."""
    with suppress(InvalidCall):
        assert isinstance(read_connector_call(body if isinstance(body, bytes) else body.encode()), PersonRef)

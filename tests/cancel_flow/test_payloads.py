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
    """A call tells the email, trimmed and in lower case, and every id that the person may be known by."""
    assert read_connector_call(call(subscriber=SUBSCRIBER, subscription=SUBSCRIPTION)) == PersonRef(
        "guybrush@example.com", ("subr_1", "subr_2"), "cus_1"
    )


@pytest.mark.parametrize("email", [None, "", " ", 5, ["a@b.c"], "a\0@b.c", "a" * 501])
def test_what_is_no_email_counts_as_missing(email: object) -> None:
    """An email that nobody can have is no reason to know less by the ids."""
    assert read_connector_call(call(subscriber={**SUBSCRIBER, "email": email})) == PersonRef(
        None, ("subr_1",), "cus_1"
    )


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"data": 5}', b'{"data": {"subscriber": "x"}}', b"\xff"])
def test_what_is_no_call(body: bytes) -> None:
    """What is not as documented is refused with the place, and nobody's data."""
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
def test_an_email_where_people_put_it(content: object) -> None:
    """A request that is built by hand names its email in other places than ProsperStack's do, in any casing."""
    assert read_connector_call(json.dumps(content).encode()).email == "john.doe@example.com"


def test_the_documented_place_goes_first() -> None:
    """An email elsewhere does not replace the documented one, and adds to ids alone."""
    both = {"email": "other@example.com", "data": {"subscriber": SUBSCRIBER}}
    ids = {"email": "other@example.com", "data": {"subscriber": {"id": "subr_1"}}}

    assert read_connector_call(json.dumps(both).encode()).email == "guybrush@example.com"
    assert read_connector_call(json.dumps(ids).encode()) == PersonRef("other@example.com", ("subr_1",))


@pytest.mark.parametrize("content", [{}, {"data": {}}, {"email": "n/a"}, {"name": "john.doe@example.com"}])
def test_a_call_that_names_nobody(content: object) -> None:
    """A call without an email and an id is told to be one, with the place where the email belongs."""
    with pytest.raises(InvalidCall, match=r"Send the email as data\.subscriber\.email"):
        read_connector_call(json.dumps(content).encode())


def test_the_example_is_understood() -> None:
    """The documented request names a person in all three ways."""
    assert read_connector_call(json.dumps(EXAMPLE).encode()) == PersonRef(
        "john.doe@example.com", ("subr_aB1cD2eF3gH4iJ5kL6mN7oP8",), "cus_1234"
    )


def test_only_the_start_counts() -> None:
    """Of the webhooks only the one that a cancel flow begins with names somebody."""
    begun = {"event": "flow_session_started", "data": {"id": "sess_1", "subscriber": SUBSCRIBER}}

    assert read_flow_event(json.dumps(begun).encode()) == PersonRef("guybrush@example.com", ("subr_1",), "cus_1")
    assert read_flow_event(json.dumps({**begun, "event": "flow_session_completed"}).encode()) is None


@pytest.mark.parametrize(
    ("shape", "answer"),
    [(ResponseFormat.FLAT, {"a": 1, "b": None}), (ResponseFormat.PROPERTIES, {"properties": {"a": 1, "b": None}})],
)
def test_the_shapes_of_the_answer(shape: ResponseFormat, answer: object) -> None:
    """The answer is flat, or under a name; what is to be deleted is null."""
    assert json.loads(response_body({"a": 1, "b": None}, shape)) == answer


@given(
    st.binary()
    | st.recursive(st.none() | st.text(), lambda inner: st.dictionaries(st.text(), inner)).map(json.dumps)
)
def test_nothing_breaks_the_reading(body: bytes | str) -> None:
    """Whatever comes is understood or refused."""
    with suppress(InvalidCall):
        assert isinstance(read_connector_call(body if isinstance(body, bytes) else body.encode()), PersonRef)

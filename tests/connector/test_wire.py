"""What ProsperStack sends when a cancel flow begins, and what it is answered."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prosperstack_destination.connector.wire import (
    Shape,
    body_of,
    read_connector_call,
    read_flow_event,
)
from prosperstack_destination.errors import BadCall
from prosperstack_destination.state.cancel_flows import Person

SUBSCRIBER = {"id": "subr_1", "platform_id": "cus_1", "email": " Guybrush@Example.com ", "properties": []}
SUBSCRIPTION = {"id": "subn_1", "subscriber_id": "subr_2", "mrr": "14.99"}


def call(**data: object) -> bytes:
    return json.dumps({"data_connector_id": "dcon_1", "data": data}).encode()


def test_the_documented_call() -> None:
    """A call tells the email, trimmed and in lower case, and every id that the person may be known by."""
    assert read_connector_call(call(subscriber=SUBSCRIBER, subscription=SUBSCRIPTION)) == Person(
        "guybrush@example.com", ("subr_1", "subr_2"), "cus_1"
    )


@pytest.mark.parametrize("email", [None, "", " ", 5, ["a@b.c"], "a\0@b.c", "a" * 501])
def test_what_is_no_email_counts_as_missing(email: object) -> None:
    """An email that nobody can have is no reason to know less by the ids."""
    assert read_connector_call(call(subscriber={**SUBSCRIBER, "email": email})) == Person(
        None, ("subr_1",), "cus_1"
    )


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"data": 5}', b'{"data": {"subscriber": "x"}}', b"\xff"])
def test_what_is_no_call(body: bytes) -> None:
    """What is not as documented is refused with the place, and nobody's data."""
    with pytest.raises(BadCall, match="not as ProsperStack documents it"):
        read_connector_call(body)


def test_only_the_start_counts() -> None:
    """Of the webhooks only the one that a cancel flow begins with names somebody."""
    begun = {"event": "flow_session_started", "data": {"id": "sess_1", "subscriber": SUBSCRIBER}}

    assert read_flow_event(json.dumps(begun).encode()) == Person("guybrush@example.com", ("subr_1",), "cus_1")
    assert read_flow_event(json.dumps({**begun, "event": "flow_session_completed"}).encode()) is None


@pytest.mark.parametrize(
    ("shape", "answer"),
    [(Shape.FLAT, {"a": 1, "b": None}), (Shape.PROPERTIES, {"properties": {"a": 1, "b": None}})],
)
def test_the_shapes_of_the_answer(shape: Shape, answer: object) -> None:
    """The answer is flat, or under a name; what is to be deleted is null."""
    assert json.loads(body_of({"a": 1, "b": None}, shape)) == answer


@given(
    st.binary()
    | st.recursive(st.none() | st.text(), lambda inner: st.dictionaries(st.text(), inner)).map(json.dumps)
)
def test_nothing_breaks_the_reading(body: bytes | str) -> None:
    """Whatever comes is understood or refused."""
    with suppress(BadCall):
        assert isinstance(read_connector_call(body if isinstance(body, bytes) else body.encode()), Person)

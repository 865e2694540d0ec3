"""What is told of a call."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prosperstack_destination.errors import InvalidCall, MissingEmail, Overloaded, UnsupportedCall
from prosperstack_destination.ingest.observer import to_call_record
from prosperstack_destination.ingest.responses import SKIPPED, Result
from prosperstack_destination.store.models import CallSource, Delete, IdKind, SourceKind
from prosperstack_destination.store.recent_calls import MAX_BODY_BYTES, CallOutcome, Channel, IncomingCall
from support.clocks import NEW_YEAR
from support.intake import ACCOUNT, identify
from support.json_values import json_values

REFUSED = MissingEmail(has_ids=True)


def told(text: bytes | dict[str, Any], result: Result = REFUSED) -> IncomingCall:
    """What is told of a call of which nothing was understood."""
    raw = text if isinstance(text, bytes) else json.dumps(text).encode()
    return to_call_record(ACCOUNT, Channel.IDENTIFY, raw, None, result, NEW_YEAR)


def test_what_was_understood() -> None:
    """An understood call tells the person, when it happened, and where it comes from."""
    source = CallSource(SourceKind.AUDIENCE, "power_users", "a library")
    call = identify("a@b.c", at=5, user_id="u1", anonymous_id="a1", source=source)
    arrival = to_call_record(ACCOUNT, Channel.WEBHOOK, b'{"x": 1}', call, SKIPPED, NEW_YEAR)

    assert arrival == IncomingCall(
        account_id=ACCOUNT,
        received_at=NEW_YEAR,
        at=5,
        channel=Channel.WEBHOOK,
        type="identify",
        outcome=CallOutcome.SKIPPED,
        message=SKIPPED.message,
        source="audience:power_users",
        email="a@b.c",
        ids=((IdKind.USER, "u1"), (IdKind.ANONYMOUS, "a1")),
        body='{"x": 1}',
        size=8,
    )


def test_a_deletion() -> None:
    """A Delete call identifies the person to erase."""
    arrival = to_call_record(ACCOUNT, Channel.IDENTIFY, b"{}", Delete(ACCOUNT, "u1", 5, 6), SKIPPED, NEW_YEAR)

    assert (arrival.type, arrival.email, arrival.ids) == ("delete", None, ((IdKind.USER, "u1"),))


@pytest.mark.parametrize(
    ("call", "email", "ids"),
    [
        ({"TRAITS": {"Email": " A@b.c "}, "type": "track"}, "a@b.c", []),
        ({"traits": {"email": 5, "traits": {"email": "a@b.c"}}}, "a@b.c", []),
        ({"traits": 5, "context": {"traits": {"email": "a@b.c"}}, "user_id": "u1"}, "a@b.c", ["u1"]),
        ({"email": "not an address", "context": {"traits": 5}, "userId": 7}, "not an address", ["7"]),
        ({"userId": {"no": "id"}, "anonymousId": "a1", "timestamp": []}, None, ["a1"]),
        ({"userId": "x" * 501}, None, []),
        ({}, None, []),
    ],
)
def test_whom_a_bad_call_names(call: dict[str, Any], email: str | None, ids: list[str]) -> None:
    """A call that is refused or skipped tells whom it names as well, as far as that can be made out."""
    arrival = told(call)

    assert (arrival.email, [external_id for _, external_id in arrival.ids]) == (email, ids)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (b'{"type": "Track"}', "track"),
        (b'{"type": "john.doe@example.com"}', "other"),
        (b'{"type": 5}', "identify"),
        (b"{", "other"),
        (b"[]", "other"),
        (b"", "other"),
        (b"\xff\x00", "other"),
    ],
)
def test_types(text: bytes, kind: str) -> None:
    """A type is one that there is, or another; what it calls itself is nowhere but in the text."""
    arrival = told(text, UnsupportedCall("john.doe@example.com"))

    assert arrival.type == kind
    assert repr(kind) in arrival.message
    assert "john" not in arrival.message
    assert "\x00" not in arrival.body  # PostgreSQL takes none


def test_fates() -> None:
    """What is to be sent again is told from what is at fault."""
    assert told(b"", InvalidCall("x")).outcome is CallOutcome.REFUSED
    assert told(b"", Overloaded("x", retry_after=1)).outcome is CallOutcome.LATER


@pytest.mark.parametrize(
    "text",
    [
        '{"writeKey": "key_live", "type": "identify"}',
        '{"WRITE_KEY" :\n"key_live", "batch": [',
        '{"writeKey":"key_\\"live',
        '{"pad": "' + "x" * (MAX_BODY_BYTES - 29) + '", "writeKey": "key_live"}',
    ],
)
def test_a_key_in_the_text_is_not_kept(text: str) -> None:
    """Some SDKs write their key into the body; nothing of it is kept, also where the text is cut off within it."""
    arrival = told(text.encode())

    assert "live" not in arrival.body
    assert "key_" not in arrival.body.replace("WRITE_KEY", "")


def test_a_large_text_is_cut() -> None:
    """Of a text the beginning is kept, and how long it was."""
    arrival = told(b'{"x": "' + "\u00fc".encode() * 20_000 + b'"}')

    assert arrival.size == 40_009
    assert len(arrival.body.encode()) <= MAX_BODY_BYTES + 2
    assert arrival.type == "identify"  # all of it was looked at


@given(json_values, st.sampled_from(["type", "userId", "traits", "context", "email", "timestamp"]), st.binary())
def test_nothing_breaks_it(value: Any, name: str, text: bytes) -> None:
    """Whatever comes, something can be told of it."""
    for each in (json.dumps(value).encode(), json.dumps({name: value}).encode(), text):
        assert told(each).size == len(each)

"""Understanding Identify calls."""

import re
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from prosperstack_destination.errors import CallError, InvalidCall, MissingEmail, UnsupportedCall
from prosperstack_destination.ingest.identify_call import IdentifyCall
from prosperstack_destination.ingest.parser import ParsedDelete, ParsedIdentify, parse_call, summarize
from prosperstack_destination.mapping.call_rules import LeftOut
from prosperstack_destination.store.models import CallSource, SourceKind
from support.clocks import NEW_YEAR

NOW = NEW_YEAR

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
field_names = st.sampled_from([field.alias or name for name, field in IdentifyCall.model_fields.items()])


def understood(call: dict[str, Any]) -> ParsedIdentify:
    result = parse_call(call, NOW)
    assert isinstance(result, ParsedIdentify)
    return result


@pytest.mark.parametrize(
    ("call", "address", "place"),
    [
        ({"traits": {"email": "a@b.c"}}, "a@b.c", "traits.email"),
        ({"traits": {"Email": "a@b.c"}}, "a@b.c", "traits.email"),
        ({"traits": {"EMAIL": "x@y.z", "email": "a@b.c"}}, "a@b.c", "traits.email"),
        ({"Traits": {"email": "a@b.c"}}, "a@b.c", "traits.email"),
        ({"traits": {"email": " a@b.c\n"}}, "a@b.c", "traits.email"),
        ({"traits": {"email": "\u200ba@b.c\ufeff"}}, "a@b.c", "traits.email"),
        ({"traits": {"email": "\xa0a@b.c\xa0"}}, "a@b.c", "traits.email"),
        ({"traits": {"email": "n/a"}, "context": {"traits": {"email": "a@b.c"}}}, "a@b.c", "context.traits.email"),
        ({"traits": {"email": 5}, "email": "a@b.c"}, "a@b.c", "email"),
        ({"traits": {"traits": {"email": "a@b.c"}}}, "a@b.c", "traits.traits.email"),
        ({"context": {"traits": {"email": "a@b.c"}}}, "a@b.c", "context.traits.email"),
        ({"Context": {"Traits": {"EMail": "a@b.c"}}}, "a@b.c", "context.traits.email"),
        ({"traits": {"x": 1}, "context": {"traits": {"email": "a@b.c"}}}, "a@b.c", "context.traits.email"),
        (
            {"traits": {"email": ""}, "context": {"traits": {"email": "a@b.c"}}},
            "a@b.c",
            "context.traits.email",
        ),
        ({"traits": {"email": None}, "email": "a@b.c"}, "a@b.c", "email"),
        ({"traits": [], "context": [], "email": "a@b.c"}, "a@b.c", "email"),
        ({"EMAIL": "A@b.c", "traits": None, "context": None}, "A@b.c", "email"),
    ],
)
def test_where_the_email_is_found(call: dict[str, Any], address: str, place: str) -> None:
    """The email is taken from the first of its places that has one, in any casing."""
    result = understood(call)

    assert (result.address, result.email, result.email_field) == (address, address.lower(), place)


@pytest.mark.parametrize(
    "call", [{}, {"traits": {}}, {"traits": {"email": None}}, {"traits": {"email": "  "}}, {"userId": ""}]
)
def test_a_call_about_nobody_is_refused(call: dict[str, Any]) -> None:
    """Without an email and an id nobody can be found, and the message says what to do."""
    with pytest.raises(MissingEmail, match=r"^Missing email address: .*Add the trait 'email'"):
        understood(call)


@pytest.mark.parametrize(
    "email", ["x", "@", "a@", "@b", "a@b@c", "a b@c.d", "a@b\u0000.c", "a\n@b.c", "x" * 251 + "@b.c"]
)
def test_what_is_no_address_is_refused(email: str) -> None:
    """An email that is no address is a fault of the call, which names where it stood."""
    with pytest.raises(InvalidCall, match=re.escape("traits.email is not an email address")) as caught:
        understood({"traits": {"email": email}})

    assert caught.value.field == "traits.email"


@pytest.mark.parametrize("ids", [{"userId": "u1"}, {"anonymousId": "a1"}])
@pytest.mark.parametrize("email", ["n/a", "-", "none@", 5, ["a@b.c"], {}, "\u200b?"])
def test_an_id_decides_where_the_email_is_none(ids: dict[str, str], email: JsonValue) -> None:
    """A call with an id and junk for an email is understood as one with null, and the junk's place is kept."""
    result = understood({**ids, "traits": {"email": email, "plan": "pro"}})

    assert (result.email, result.email_field) == (None, None)
    assert list(result.invalid_emails) == ["traits.email"]
    assert result.traits["plan"] == "pro"


def test_an_event_in_an_envelope_named_json() -> None:
    """Segment's Extensible Webhook wraps an event; it is understood as if it were not."""
    event: dict[str, JsonValue] = {"type": "identify", "userId": "u1", "traits": {"email": "a@b.c", "plan": "pro"}}

    assert parse_call({"json": event}, NOW) == parse_call(event, NOW)
    assert isinstance(parse_call({"json": {"type": "delete", "userId": "u1"}}, NOW), ParsedDelete)
    with pytest.raises(UnsupportedCall):
        parse_call({"json": {"type": "track"}}, NOW)
    with pytest.raises(MissingEmail):
        parse_call({"json": {}}, NOW)
    assert summarize({"json": event}, NOW) == summarize(event, NOW)


@pytest.mark.parametrize(
    ("call", "field", "kind"),
    [
        ({"traits": {"email": 5}}, "traits.email", "a number"),
        ({"context": {"traits": {"email": ["a@b.c"]}}}, "context.traits.email", "an array"),
        ({"email": {"a": "b"}}, "email", "an object"),
        ({"traits": "x"}, "traits", "text"),
        ({"traits": [1]}, "traits", "an array"),
        ({"context": 1}, "context", "a number"),
        ({"context": {"traits": "x"}}, "context.traits", "text"),
        ({"integrations": True}, "integrations", "a boolean"),
        ({"userId": {}}, "userId", "an object"),
        ({"user_id": False}, "userId", "a boolean"),
        ({"anonymousId": []}, "anonymousId", "an array"),
        ({"messageId": {}}, "messageId", "an object"),
        ({"type": 5}, "type", "a number"),
    ],
)
def test_a_wrong_type_names_the_field(call: dict[str, Any], field: str, kind: str) -> None:
    """A field of the wrong type is named, with what it is instead."""
    with pytest.raises(InvalidCall) as caught:
        understood(call)

    assert caught.value.field == field
    assert str(caught.value).startswith(field)
    assert kind in str(caught.value)


@pytest.mark.parametrize("user_id", ["x" * 501, "a\u0000b"])
def test_an_id_that_cannot_be_kept_is_refused(user_id: str) -> None:
    """Ids have bounds."""
    with pytest.raises(InvalidCall, match=r"^userId"):
        understood({"userId": user_id, "traits": {"email": "a@b.c"}})


@pytest.mark.parametrize("name", ["userId", "UserID", "user_id", "USERID", "User-Id", "userid"])
def test_envelope_fields_in_any_casing(name: str) -> None:
    """The fields of the envelope are known in any casing."""
    assert understood({name: "u1", "email": "a@b.c"}).user_id == "u1"


def test_the_documented_casing_wins() -> None:
    """Where a field comes twice, the documented spelling counts, wherever it stands."""
    call = {"user_id": "other", "userId": "u1", "USERID": "third", "email": "a@b.c"}

    assert understood(call).user_id == "u1"


def test_a_numeric_id_is_text() -> None:
    """Those who keep ids as numbers send them so."""
    assert understood({"userId": 5678, "email": "a@b.c"}).user_id == "5678"


@pytest.mark.parametrize("call_type", ["track", "page", "Group", "x" * 1000])
def test_other_types_are_not_supported(call_type: str) -> None:
    """Another type of call is refused as such, whatever else is wrong with it."""
    with pytest.raises(UnsupportedCall):
        parse_call({"type": call_type, "traits": 5}, NOW)


@pytest.mark.parametrize("call_type", ["identify", "Identify", None, ""])
def test_identify_in_any_casing_or_untold(call_type: str | None) -> None:
    """The type may be missing: the Event Tester's samples carry little but an email."""
    assert understood({"type": call_type, "email": "a@b.c"}).email == "a@b.c"


@pytest.mark.parametrize(
    ("traits", "flat"),
    [
        ({"a": 1, "b": 2}, {"a": 1, "b": 2}),
        ({"a": 1, "traits": {"a": 2, "c": 3}}, {"a": 2, "c": 3}),  # the nested one wins
        ({"traits": "x"}, {"traits": "x"}),  # a trait that happens to have this name
        ({"a": {"b": 1}}, {"a": {"b": 1}}),
        ({"traits": {}}, {}),
    ],
)
def test_nested_traits_come_flat(traits: dict[str, JsonValue], flat: dict[str, JsonValue]) -> None:
    """Custom traits count whether they are nested in traits.traits or not."""
    assert understood({"email": "a@b.c", "traits": traits}).traits == flat


@pytest.mark.parametrize(
    ("call", "traits"),
    [
        ({"context": {"traits": {"a": 1}}}, {"a": 1}),
        ({"traits": {}, "context": {"traits": {"a": 1}}}, {"a": 1}),
        ({"traits": {"b": 2}, "context": {"traits": {"a": 1, "b": 1}}}, {"a": 1, "b": 2}),
        ({"traits": {"traits": {"b": 2}}, "context": {"traits": {"b": 1, "traits": {"c": 3}}}}, {"b": 2, "c": 3}),
        ({"traits": {"email": "x@y.z"}, "context": {"traits": "x"}}, {"email": "x@y.z"}),
        ({"context": {"traits": {"traits": {"a": 1}}}}, {"a": 1}),
    ],
)
def test_traits_of_the_context_stand_in(call: dict[str, Any], traits: dict[str, JsonValue]) -> None:
    """The traits of the context are taken as well; those of the call go before them."""
    assert understood({"email": "a@b.c", **call}).traits == traits


@pytest.mark.parametrize(
    ("call", "at", "place"),
    [
        ({"timestamp": "2025-12-31T00:00:00Z", "sentAt": "2025-01-01T00:00:00Z"}, -86_400, "timestamp"),
        ({"timestamp": None, "originalTimestamp": "2025-12-31T00:00:00Z"}, -86_400, "originalTimestamp"),
        ({"timestamp": "garbage", "sentAt": "2025-12-31T00:00:00Z"}, -86_400, "sentAt"),
        ({"received_at": "2025-12-31T00:00:00Z"}, -86_400, "receivedAt"),
        ({"timestamp": "1767139200"}, -86_400, "timestamp"),
        ({"timestamp": 1_767_139_200_000_000}, -86_400, "timestamp"),
        ({"timestamp": "0001-01-01T00:00:00+00:01", "sentAt": "2025-12-31 00:00:00 UTC"}, -86_400, "sentAt"),
        ({"timestamp": 0, "originalTimestamp": "1970-01-01", "sentAt": 1_767_139_200}, -86_400, "sentAt"),
        ({"timestamp": {}, "originalTimestamp": True, "sentAt": [], "receivedAt": "5/4/2021"}, 0, "now"),
        ({"timestamp": "9999-12-31T23:59:59-23:59"}, 0, "timestamp"),
        ({"timestamp": "2027-01-01T00:00:00Z"}, 0, "timestamp"),  # the future counts as now
        ({}, 0, "now"),
    ],
)
def test_the_events_time(call: dict[str, Any], at: int, place: str) -> None:
    """The best of the times that can be read is taken; none, or one to come, is now."""
    result = understood({"email": "a@b.c", **call})

    assert (result.at, result.time_field) == (NOW + at * 1_000_000, place)


def test_times_that_cannot_be_read_are_named() -> None:
    """A call whose better times cannot be read says which ones, and why; an empty one says nothing."""
    times = {"timestamp": "05/04/2021", "originalTimestamp": 0, "sentAt": "", "receivedAt": "2025-12-31"}
    result = understood({"email": "a@b.c", **times})

    assert [(each.field, each.value) for each in result.skipped_times] == [
        ("timestamp", "05/04/2021"),
        ("originalTimestamp", 0),
    ]
    assert "which number is the day" in result.skipped_times[0].reason
    assert "before the year 2000" in result.skipped_times[1].reason


@pytest.mark.parametrize(
    ("integrations", "skips"),
    [
        ({"ProsperStack": False}, True),
        ({"prosperstack": False}, True),
        ({"Prosper Stack": False}, True),
        ({"ProsperStack": True}, False),
        ({"ProsperStack": {}}, False),
        ({"All": False}, False),  # Segment has judged that already
        ({"All": False, "ProsperStack": True}, False),
        ({}, False),
        (None, False),
        ([], False),
    ],
)
def test_integrations(integrations: JsonValue, skips: bool) -> None:
    """Only an explicit false for this destination skips a call."""
    call: dict[str, JsonValue] = {"email": "a@b.c", "integrations": integrations}

    assert (parse_call(call, NOW) is None) is skips


@pytest.mark.parametrize(
    ("integrations", "skips"),
    [
        ({"All": False}, True),
        ({"all": False}, True),
        ({"All": False, "ProsperStack": True}, False),
        ({"All": False, "ProsperStack": {}}, False),
        ({"All": True, "ProsperStack": False}, True),
        ({"All": True}, False),
        ({}, False),
    ],
)
def test_all_is_judged_where_segment_has_not(integrations: JsonValue, skips: bool) -> None:
    """Straight from an SDK "All": false counts, unless this destination is named."""
    call: dict[str, JsonValue] = {"email": "a@b.c", "integrations": integrations}

    assert (parse_call(call, NOW, from_sdk=True) is None) is skips


def test_an_id_may_stand_in_for_the_email() -> None:
    """A call with an id and no email is understood: what is known of the id decides."""
    result = understood({"userId": "u1", "anonymousId": "a1", "traits": {"plan": "pro"}})

    assert (result.email, result.user_id, result.anonymous_id) == (None, "u1", "a1")


@pytest.mark.parametrize(
    ("call", "source"),
    [
        ({}, CallSource(SourceKind.SOURCE, "")),
        (
            {"projectId": "p1", "context": {"library": {"name": "analytics.js", "version": "3.8.2"}}},
            CallSource(SourceKind.SOURCE, "p1", "analytics.js 3.8.2"),
        ),
        ({"context": {"library": {"name": 5}}}, CallSource(SourceKind.SOURCE, "")),
        (
            {"context": {"personas": {"computation_class": "audience", "computation_key": "power_users"}}},
            CallSource(SourceKind.AUDIENCE, "power_users"),
        ),
        (
            {"context": {"personas": {"computation_class": "journey_step", "computation_key": "j_o_1"}}},
            CallSource(SourceKind.AUDIENCE, "j_o_1"),
        ),
        (
            {"context": {"personas": {"computation_class": "trait", "computation_key": "total_spent"}}},
            CallSource(SourceKind.TRAIT, "total_spent"),
        ),
        ({"context": {"personas": {}}}, CallSource(SourceKind.SOURCE, "")),
    ],
)
def test_where_a_call_comes_from(call: dict[str, Any], source: CallSource) -> None:
    """Engage's calls name their audience or trait; others name their source and library."""
    assert understood({"email": "a@b.c", **call}).source == source


@pytest.mark.parametrize(
    ("call", "traits", "unknown"),
    [
        ({"Preferred name": "Jo", "plan": None}, {"Preferred name": "Jo", "plan": None}, ()),
        ({"Preferred name": "Jo", "traits": {}, "version": 2, "writeKey": "k"}, {"Preferred name": "Jo"}, ()),
        ({"Preferred name": "Jo", "traits": {"plan": "pro"}}, {"plan": "pro"}, ("Preferred name",)),
        ({"channel": "server", "_metadata": {}, "write_key": "k", "version": 2}, {}, ()),
        ({"x" * 500: 1, "traits": {"plan": "pro"}}, {"plan": "pro"}, ("x" * 500,)),
    ],
)
def test_fields_beside_the_traits(
    call: dict[str, Any], traits: dict[str, JsonValue], unknown: tuple[str, ...]
) -> None:
    """The fields of a flat body are its traits; beside traits they are kept apart; those of Segment are neither."""
    read = understood({"email": "a@b.c", **call})

    assert (read.traits, read.unknown_fields) == (traits, unknown)


@pytest.mark.parametrize("empty", [None, [], {}])
def test_a_deletion(empty: JsonValue) -> None:
    """A Delete call identifies the person to erase by userId; its times may be Go's."""
    call: dict[str, JsonValue] = {
        "type": "delete",
        "userId": "507f191e81",
        "context": empty,
        "integrations": empty,
        "originalTimestamp": "2025-12-31 00:00:00.209808489 +0000 UTC m=+70366.298768264",
    }

    assert parse_call(call, NOW) == ParsedDelete("507f191e81", NOW - 86_400_000_000 + 209_808)


@pytest.mark.parametrize("user_id", [None, ""])
def test_a_deletion_of_nobody_is_refused(user_id: JsonValue) -> None:
    """A Delete call without a userId says nothing."""
    with pytest.raises(InvalidCall, match="userId is missing"):
        parse_call({"type": "delete", "userId": user_id}, NOW)


def outcome(raw: dict[str, JsonValue]) -> object:
    try:
        return parse_call(raw, NOW)
    except CallError as refused:
        return type(refused), str(refused)


identify_calls = st.fixed_dictionaries(
    {"traits": st.fixed_dictionaries({"email": st.just("a@b.c")}, optional={"plan": json_values})},
    optional={
        "type": st.sampled_from(["identify", "Delete", "track", "", None]),
        "userId": st.text(max_size=3) | st.integers() | st.none(),
        "context": st.dictionaries(st.text(), json_values) | st.none() | st.just([]),
        "integrations": st.sampled_from([{"All": True}, {"ProsperStack": False}, [], None]),
        "timestamp": st.sampled_from(["2025-12-31T00:00:00Z", 5, "soon", None, []]),
        "channel": json_values,
    },
)


@given(st.dictionaries(field_names, json_values) | identify_calls)
def test_other_names_for_the_same_say_the_same(raw: dict[str, JsonValue]) -> None:
    """A call is understood, or refused, alike whether its fields have their documented names or others."""
    assert outcome(raw) == outcome({name.upper(): value for name, value in raw.items()})


def test_names_are_not_kept_however_long_they_are() -> None:
    """Whoever makes up long names for fields costs no memory once their calls are answered."""
    tracemalloc.start()
    for number in range(200):
        names = {f"{number}-{field}-{'x' * 5_000}": 1 for field in range(20)}
        parse_call({"traits": {"email": "a@b.c"}, **names}, NOW)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert kept < 1_000_000


@given(st.dictionaries(field_names | st.text(), json_values))
def test_any_object_is_understood_or_refused(raw: dict[str, JsonValue]) -> None:
    """Any JSON object whatever is understood, or refused with a reason; never another exception."""
    try:
        result = parse_call(raw, NOW)
    except CallError:
        return

    assert not isinstance(result, LeftOut)
    assert result is None or result.at <= NOW
    assert not isinstance(result, ParsedIdentify) or result.email is None or "@" in result.email

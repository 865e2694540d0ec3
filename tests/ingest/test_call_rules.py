"""Parsing calls by what a mapping says about them."""

import time
from typing import Any

import pytest
from pydantic import JsonValue

from prosperstack_destination.errors import InvalidCall, MissingEmail
from prosperstack_destination.ingest.email_fields import places_of_emails
from prosperstack_destination.ingest.parser import ParsedIdentify, parse_call
from prosperstack_destination.mapping.call_rules import CallRules, LeftOut, load_call_rules
from prosperstack_destination.mapping.mapping_file import InvalidMapping, check_mapping
from prosperstack_destination.mapping.rules import call_rules_text
from support.clocks import NEW_YEAR

CONSENTED = {"consent": {"categoryPreferences": {"Advertising": True, "Analytics": False}}}


def rules(**options: JsonValue) -> CallRules:
    """Return the call rules of a mapping file, in the form in which the service loads them."""
    text = call_rules_text(check_mapping(options).rules)
    assert text is not None
    return load_call_rules(text)


def parsed(call: dict[str, Any], **options: JsonValue) -> ParsedIdentify:
    """Return an Identify call that is parsed by a mapping's options."""
    found = parse_call(call, NEW_YEAR, rules=rules(**options))
    assert isinstance(found, ParsedIdentify)
    return found


@pytest.mark.parametrize(
    ("call", "email", "place"),
    [
        ({"context": {"externalIds": [{"type": "email", "id": "A@x.org"}]}}, "a@x.org", "context.externalIds"),
        ({"context": {"externalId": {"type": "email", "id": "a@x.org"}}}, "a@x.org", "context.externalIds"),
        ({"context": {"externalIds": [{"type": "ga_id", "id": "a@x.org"}]}, "userId": "u"}, None, None),
        ({"traits": {"email": "b@x.org"}, "userId": "a@x.org"}, "b@x.org", "traits.email"),
        ({"traits": {"email": "b@x.org"}, "context": CONSENTED}, "b@x.org", "traits.email"),
    ],
)
def test_email_has_default_places(call: dict[str, Any], email: str | None, place: str | None) -> None:
    """Without an email rule, the email is a trait, or an external ID of the type email."""
    found = parse_call(call, NEW_YEAR)

    assert isinstance(found, ParsedIdentify)
    assert (found.email, found.email_field) == (email, place)


def test_user_id_that_is_an_email_is_kept_for_unknown_ids() -> None:
    """A user ID that is an email address is a fallback, and no email of the call."""
    found = parse_call({"userId": " Jo@X.org "}, NEW_YEAR)

    assert isinstance(found, ParsedIdentify)
    assert (found.email, found.id_email) == (None, "Jo@X.org")


@pytest.mark.parametrize(
    ("rule", "call", "email"),
    [
        ("traits.contact.email", {"traits": {"contact": {"email": "a@x.org"}, "email": "b@x.org"}}, "a@x.org"),
        ({"first_of": ["traits.a", "properties.email"]}, {"properties": {"email": "p@x.org"}}, "p@x.org"),
        (
            {"first_of": ["context.externalIds[?type=='email'] | [0].id"]},
            {"context": {"externalIds": [{"type": "email", "id": "e@x.org"}]}},
            "e@x.org",
        ),
        ({"from": "traits.login", "clean": ["trim", "lower"]}, {"traits": {"login": " L@X.ORG "}}, "l@x.org"),
        ("traits.login", {"traits": {"login": "none", "email": "b@x.org"}, "userId": "u"}, None),
        ("userId", {"userId": "a@x.org"}, "a@x.org"),
    ],
)
def test_email_rule_replaces_the_default_places(rule: JsonValue, call: dict[str, Any], email: str | None) -> None:
    """An email rule says whose call it is, in place of the usual places."""
    assert parsed(call, email=rule).email == email


@pytest.mark.parametrize(
    ("options", "call", "reason"),
    [
        ({"accept": "source.id == 'src_1'"}, {"projectId": "src_1"}, None),
        ({"accept": "source.id == 'src_1'"}, {"projectId": "src_2"}, LeftOut.FILTERED),
        ({"accept": "source.kind != 'audience'"}, {"projectId": "src_2"}, None),
        ({"accept": "context.locale == 'de'"}, {"context": {"locale": "en"}}, LeftOut.FILTERED),
        ({"accept": "traits.seats > `1`"}, {"traits": {"seats": "many"}}, LeftOut.FILTERED),
        ({"accept": "type == 'identify'"}, {}, None),
        ({"consent": {"required_categories": ["Advertising"]}}, {"context": CONSENTED}, None),
        ({"consent": {"required_categories": ["Analytics"]}}, {"context": CONSENTED}, LeftOut.NO_CONSENT),
        ({"consent": {"required_categories": ["Other"]}}, {"context": CONSENTED}, LeftOut.NO_CONSENT),
        ({"consent": {"required_categories": ["Analytics"]}}, {}, LeftOut.NO_CONSENT),
        ({"consent": {"required_categories": ["Analytics"], "missing": "accept"}}, {}, None),
    ],
)
def test_call_is_left_out_by_accept_and_consent(
    options: dict[str, JsonValue], call: dict[str, Any], reason: LeftOut | None
) -> None:
    """A call that the mapping does not take, or without the required consent, is left out with its reason."""
    found = parse_call({"userId": "u", **call}, NEW_YEAR, rules=rules(**options))

    assert (found if reason else isinstance(found, ParsedIdentify)) == (reason or True)


def test_deletion_is_always_taken() -> None:
    """Neither accept nor consent leaves a deletion out."""
    options: dict[str, JsonValue] = {"accept": "type == 'identify'", "consent": {"required_categories": ["x"]}}

    assert not isinstance(parse_call({"type": "delete", "userId": "u"}, NEW_YEAR, rules=rules(**options)), LeftOut)


@pytest.mark.parametrize(
    ("drop", "call", "traits"),
    [
        (["ssn"], {"traits": {"ssn": "1", "SSN": "2", "ssn_hash": "3"}}, {"ssn_hash": "3"}),
        (["*.password"], {"traits": {"password": 1, "a": {"password": 2, "b": {"password": 3, "c": 4}}}},
         {"a": {"b": {"c": 4}}}),
        (["a.b"], {"traits": {"a": [{"b": 1, "c": 2}], "b": 3}}, {"a": [{"c": 2}], "b": 3}),
        (["card*"], {"traits": {"card_number": 1, "card": 2, "x": 3}}, {"x": 3}),
        (["ssn"], {"traits": {"traits": {"ssn": 1, "x": 2}}}, {"x": 2}),
        (["ssn"], {"traits": {}, "context": {"traits": {"ssn": 1, "x": 2}}}, {"x": 2}),
        (["ssn"], {"email": "a@x.org", "ssn": 1, "x": 2}, {"x": 2}),
        (["type", "userId"], {"type": "identify", "traits": {"type": 1, "x": 2}}, {"x": 2}),
        (["ssn"], {"json": {"userId": "u", "traits": {"ssn": 1, "x": 2}}}, {"x": 2}),
        (["a.*"], {"traits": {"a": {"b": 1}, "b": 2}}, {"a": {}, "b": 2}),
    ],
)  # fmt: skip
def test_dropped_traits_are_removed_wherever_they_are(
    drop: list[JsonValue], call: dict[str, Any], traits: dict[str, JsonValue]
) -> None:
    """Traits that a mapping drops are removed in every place of traits and at any depth, and envelopes stay."""
    call = call if "json" in call or "email" in call else {"userId": "u", **call}

    assert parsed(call, drop=drop).traits == traits


def test_facts_are_only_what_rules_read() -> None:
    """Of a context, only the paths that rules read are kept, and of a source only the traits of its rules."""
    context = {
        "locale": "de",
        "ip": "1.2.3.4",
        "campaign": {"name": "May", "term": "x"},
        "page": {"url": "y" * 9_000},
    }
    call: dict[str, Any] = {
        "userId": "u",
        "projectId": "src_1",
        "traits": {"plan": "pro", "seats": 5},
        "context": {**context, "library": {"name": "analytics.js", "version": "2.1"}},
    }
    written: list[JsonValue] = [
        {"property": "a", "from": "context.campaign.name"},
        {"property": "b", "from": "context.page.url"},
        {"property": "c", "from": "traits.plan", "sources": ["src_1", "src_2", "analytics.js"]},
    ]
    facts = parsed(call, rules=written).facts

    assert sorted(facts.values(), key=str) == ["May", "pro", "pro"]
    assert not any("ip" in name or "term" in name or "seats" in name for name in facts)


def test_missing_email_names_the_places_of_other_emails() -> None:
    """The error for a call without an email names the places where it has one, and never the email."""
    call: dict[str, Any] = {"traits": {"contact": {"mail": "jo@x.org"}}, "properties": {"emails": ["jo@x.org"]}}
    with pytest.raises(MissingEmail) as error:
        parse_call(call, NEW_YEAR)

    assert "an email address at traits.contact.mail, properties.emails[0]" in str(error.value)
    assert "jo@x.org" not in str(error.value)
    assert places_of_emails({"a": "x@y", "b": [[["x@y.z"] * 9]]}) == ("a", *(f"b[0][0][{n}]" for n in range(4)))


def test_alias_names_both_ids() -> None:
    """An Alias call has a new and a former ID; without one of them it is refused with its name."""
    found = parse_call({"type": "alias", "userId": "new", "previous_id": 7}, NEW_YEAR)

    assert isinstance(found, ParsedIdentify)
    assert (found.user_id, found.previous_id) == ("new", "7")
    wrongs: list[dict[str, JsonValue]] = [
        {"userId": "new"},
        {"previousId": "old"},
        {"userId": "n", "previousId": ["x"]},
    ]
    for wrong in wrongs:
        with pytest.raises(InvalidCall, match="is missing: an Alias call names"):
            parse_call({"type": "alias", **wrong}, NEW_YEAR)


@pytest.mark.parametrize(
    ("options", "key", "message"),
    [
        ({"accept": "traits.vip = true"}, "accept", "did you mean"),
        ({"accept": "now > '2026'"}, "accept", "there is no 'now' here"),
        ({"email": "traitss.email"}, "email", "did you mean traits.email"),
        ({"email": {"first_of": ["traits.a", "audiences"]}}, "email.first_of", "there is no 'audiences' here"),
        ({"email": {}}, "email", "write one source"),
        ({"consent": {"categories": ["a"]}}, "consent.categories", "did you mean required_categories?"),
        ({"consent": {"required_categories": ["a"], "missing": "drop"}}, "consent.missing", "'refuse' or 'accept'"),
        ({"consent": {}}, "consent", "required_categories is missing: add the categories"),
        ({"email": {"form": "traits.a"}}, "email.form", "did you mean from?"),
        ({"dropp": ["a"]}, "dropp", "did you mean drop?"),
        ({"drop": "ssn"}, "drop", "write a list here"),
        ({"rules": [{"property": "a", "from": "context"}]}, "rules[0].from", "name the part of the context"),
        ({"rules": [{"property": "a", "from": "userId", "sources": ["x"]}]}, "rules[0]", "name the traits"),
        ({"rules": [{"property": "a", "from": "source == 'x'"}]}, "rules[0].from", "compare source.id"),
    ],
)
def test_wrong_option_is_refused_by_its_key(options: dict[str, JsonValue], key: str, message: str) -> None:
    """A fault in what a mapping says about calls is reported with its key and the nearest right word."""
    with pytest.raises(InvalidMapping) as error:
        check_mapping(options)

    assert any(each.key.startswith(key) and message in each.message for each in error.value.faults)


@pytest.mark.parametrize("pattern", ["*.*.*.password", "*a*a*b", "*.*a*.*b"])
@pytest.mark.parametrize("name", ["a." * 30_000, "a" * 60_000], ids=["steps", "letters"])
def test_long_names_are_matched_in_linear_time(pattern: str, name: str) -> None:
    """A pattern with several wildcards is compared with a name of 60 KB at once; it took minutes."""
    began_at = time.monotonic()
    rules(drop=[pattern]).without_dropped({"traits": {name: 1}}, ())

    assert time.monotonic() - began_at < 2


def test_all_patterns_fit_into_memory() -> None:
    """The most patterns of the greatest length compile, and match."""
    patterns = [f"{number:03}" + "*.é" * 65 for number in range(200)]
    name = "007" + ".é" * 65

    assert rules(drop=[*patterns]).without_dropped({"traits": {name: 1, "kept\ud800\n": 2}}, ()) == {
        "traits": {"kept\ud800\n": 2}
    }

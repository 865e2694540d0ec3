"""Redaction of ProsperStack's error texts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from prosperstack_destination.reconcile.redaction import ELLIPSIS, MAX_LENGTH, redact

SENT: dict[str, JsonValue] = {
    "plan": "Premium plus",
    "seats": 5800,
    "since": "2021-05-04",
    "pro": True,
    "note": "a",
}


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("properties.plan: is not known", "properties.plan: is not known"),
        ("premium plus is no plan", "… is no plan"),
        ("'Premium plus' is no value of 'plan'", "'…' is no value of 'plan'"),
        ("seats can't be 5800, and isn't 58001", "seats can't be …, and isn't 58001"),
        ("No subscriber john.doe@example.com here", "No subscriber … here"),
        ('"whatever \n else" and `more` for "since"', '"…" and `…` for "since"'),
        ("a value has to be at most 255 characters", "… value has to be at most 255 characters"),
        ("(text/html) '<h1>Hello John</h1>'", "(text/html) '…'"),
        ("", ""),
    ],
)
def test_personal_data_is_removed(said: str, shown: str) -> None:
    """Sent values, emails and quotations become an ellipsis; property keys and all other text stay."""
    assert redact(said, SENT.values(), SENT) == shown


def test_long_text_is_cut() -> None:
    """A long text is cut to the bound."""
    shown = redact("word " * 1000, [], [])

    assert len(shown) == MAX_LENGTH
    assert shown.endswith(ELLIPSIS)


@given(
    st.from_regex(r"[A-Za-z]{2,30}", fullmatch=True), st.sampled_from(["{}", "1: {}.", "({})", "2 '{}' 3", "{}@4"])
)
def test_sent_value_never_appears(value: str, around: str) -> None:
    """A sent value is removed in any case and any surroundings."""
    shown = redact(around.format(value.swapcase()), [value], [value])

    assert value.lower() not in shown.lower()

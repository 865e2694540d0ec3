"""ProsperStack's words without anybody's data."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from prosperstack_destination.reconcile.redaction import DOTS, WORDS, redact

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
def test_what_is_left_out(said: str, shown: str) -> None:
    """Values that were sent, emails and quotations are dots; property keys and all else stay."""
    assert redact(said, SENT.values(), SENT) == shown


def test_it_is_cut() -> None:
    """However much ProsperStack says, little of it is kept."""
    shown = redact("word " * 1000, [], [])

    assert len(shown) == WORDS
    assert shown.endswith(DOTS)


@given(
    st.from_regex(r"[A-Za-z]{2,30}", fullmatch=True), st.sampled_from(["{}", "1: {}.", "({})", "2 '{}' 3", "{}@4"])
)
def test_a_value_is_nowhere(value: str, around: str) -> None:
    """A value that was sent is left out, in any case and whatever is around it."""
    shown = redact(around.format(value.swapcase()), [value], [value])

    assert value.lower() not in shown.lower()

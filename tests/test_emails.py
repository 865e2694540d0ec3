"""Normalization of email addresses."""

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prosperstack_destination.emails import normalize_email, trim_email


@pytest.mark.parametrize(
    "around", [" ", "\t\r\n", "\u200b", "\ufeff", "\xa0", "\u200d\u2060", "\u202a\u202c", "\xad", "\u3000 \ufeff"]
)
def test_what_nobody_sees_around_an_email_is_trimmed(around: str) -> None:
    """White space and invisible characters at either end are no part of an email."""
    assert trim_email(f"{around}John@Example.com{around}") == "John@Example.com"
    assert normalize_email(f"{around}John@Example.com{around}") == "john@example.com"


def test_all_white_space_is_trimmed() -> None:
    """Every character that Python takes for white space is trimmed."""
    spaces = "".join(each for each in map(chr, range(sys.maxunicode + 1)) if each.isspace())

    assert trim_email(f"{spaces}a@b.c{spaces}") == "a@b.c"


@given(st.text())
def test_normalizing_is_safe_to_repeat(text: str) -> None:
    """An email that was normalized is normalized already."""
    once = trim_email(text)

    assert trim_email(once) == once
    assert once in text

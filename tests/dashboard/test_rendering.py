"""Tests of the rendering of foreign values."""

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from prosperstack_destination.dashboard.rendering import MAX_HOVER, MAX_SHOWN, attempt, name, pretty, value

SECOND = 1_000_000
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))


class _Elements(HTMLParser):
    """The elements of a piece of HTML, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.attributes: dict[str, str | None] = {}
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.attributes |= dict(attrs)

    def handle_data(self, data: str) -> None:
        self.text += data


@given(JSON)
def test_any_value_is_one_element(content: JsonValue) -> None:
    """Any value is one element with short text, without control characters."""
    written = str(value(content))
    found = _Elements(written)

    assert found.names in (["bdi"], ["span"])
    assert found.attributes.keys() <= {"class", "title"}
    assert len(found.text) <= MAX_SHOWN
    assert not any(ord(each) < 0x20 or 0x7F <= ord(each) < 0xA0 for each in written)
    assert pretty(content)


@pytest.mark.parametrize(
    ("content", "written"),
    [
        ("x", '<bdi class="value text">x</bdi>'),
        ("", '<bdi class="value text">“”</bdi>'),
        (True, '<bdi class="value boolean">true</bdi>'),
        (1.5, '<bdi class="value number">1.5</bdi>'),
        ([1, "é"], '<bdi class="value json">[1,&#34;é&#34;]</bdi>'),
        (None, '<span class="faint">null</span>'),
        ("a\x00b\tc\x85", '<bdi class="value text">a␀b␉c\N{REPLACEMENT CHARACTER}</bdi>'),
        ("<script>", '<bdi class="value text">&lt;script&gt;</bdi>'),
    ],
)
def test_values_are_styled_by_type(content: JsonValue, written: str) -> None:
    """A value is styled by its type, and is never markup."""
    assert value(content) == written


def test_long_values_are_truncated() -> None:
    """Long texts and numbers are truncated, with more on hover."""
    for content in ("x" * 10_000, 10**9_999):
        written = str(value(content))
        assert "…" in _Elements(written).text
        assert "(10,000 characters)" in written
        assert len(written) < MAX_SHOWN + MAX_HOVER + 100
    assert str(name("y" * 10_000)).startswith('<bdi class="name" title="yyy')
    assert name("z" * 100) == f'<bdi class="name" title="{"z" * 100}">{"z" * 79}…</bdi>'


@pytest.mark.parametrize("character", ['"', "💩", "\x01", "&", "é"])
def test_wide_characters_are_truncated_earlier(character: str) -> None:
    """Characters of many bytes as HTML are truncated earlier."""
    assert len(str(value(character * 10_000)).encode()) < 550
    assert len(str(value([character * 10_000])).encode()) < 550


def test_a_next_attempt_is_never_in_the_past() -> None:
    """The time of an attempt that is due says so, and never that it was some time ago."""
    assert attempt(5 * SECOND, 9 * SECOND) == attempt(9 * SECOND, 9 * SECOND) == "in a moment"
    assert "in 4 s" in attempt(9 * SECOND, 5 * SECOND)

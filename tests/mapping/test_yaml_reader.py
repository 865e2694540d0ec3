"""The YAML reader."""

import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prosperstack_destination.mapping.yaml_reader import Place, YamlError, read_yaml


def test_yaml_1_2_gives_plain_data() -> None:
    """``no``, dates and keys are text, and comments are ignored."""
    text = """
    # a comment
    country: no
    day: 2021-05-04
    sure: true
    nothing: null
    numbers: [1, 0x10, 1.5, -2, 1e3, 010]
    quoted: "5"
    table: {1: one, true: yes}
    """

    assert read_yaml(text).data == {
        "country": "no",
        "day": "2021-05-04",
        "sure": True,
        "nothing": None,
        "numbers": [1, 16, 1.5, -2, 1000.0, 10],
        "quoted": "5",
        "table": {"1": "one", "true": "yes"},
    }
    assert read_yaml("").data is None


def test_surrogate_pairs_are_joined() -> None:
    """A character that JSON writes as two escapes is joined; half of one is error."""
    assert read_yaml('{"\\ud83d\\ude00": "a\\ud83d\\ude00"}').data == {"\U0001f600": "a\U0001f600"}
    for text in ('{"a": "\\ud83d"}', '{"\\ude00\\ud83d": 1}'):
        with pytest.raises(YamlError, match="half of a character"):
            read_yaml(text)


def test_place_is_that_of_the_key_or_its_container() -> None:
    """A path has the place of its key or item; a missing one has the place of its container."""
    document = read_yaml("rules:\n  - property: plan\n    values:\n      a: 1\n")

    assert document.place(("rules", 0, "values", "a")) == Place(4, 7)
    assert document.place(("rules", 0)) == Place(2, 5)
    assert document.place(("rules", 0, "from")) == Place(2, 5)
    assert document.place(()) == Place(1, 1)


@pytest.mark.parametrize(
    ("text", "message", "line"),
    [
        ("a:\n\t- b", "not with tabs", 2),
        ("a: b: c", "write text with a colon in quotes", 1),
        ("a: 1\nb: 2\na: 3", "the key 'a' occurs twice", 3),
        ("a: &x 1\nb: *x", "anchors and aliases (& and *) are not allowed", 1),
        ("a: !!python/object:os.system x", "tags (!) are not allowed", 1),
        ("? [a]\n: 1", "a key is not a single value", 1),
        ("--- a\n--- b", "another document", 2),
        ("[" * 5_000, "nested more than 20 levels deep", 1),
        ("- " * 5_000, "nested more than 20 levels deep", 1),
        ("a: {" * 5_000, "nested more than 20 levels deep", 1),
        ("x\0", "special characters are not allowed", None),
        ("x" * 300_000, "shorten it to 262,144", None),
        ('"' + "x" * 200_000, "end of stream", 1),
    ],
)
def test_invalid_text_is_refused_with_its_line(text: str, message: str, line: int | None) -> None:
    """Invalid and hostile texts are error with their line, within 3 s of processor time."""
    started = time.process_time()
    with pytest.raises(YamlError) as error:
        read_yaml(text)

    assert message in str(error.value)
    assert (None if error.value.place is None else error.value.place.line) == line
    assert time.process_time() - started < 3


@given(st.text(alphabet="ab:- \n[]{}'\"#&*!|>%?,0.~", max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Any text gives data or `YamlError`."""
    with suppress(YamlError):
        read_yaml(text)

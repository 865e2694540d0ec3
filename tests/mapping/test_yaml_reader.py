"""YAML as mapping files have it."""

import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prosperstack_destination.mapping.yaml_reader import Place, YamlError, read_yaml


def test_plain_data() -> None:
    """YAML 1.2: no and on are text, dates are text, keys are always text; comments say nothing."""
    text = """
    # what a comment says
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


def test_what_json_escapes() -> None:
    """A sign that JSON writes as two escapes is one sign; half of one is none."""
    assert read_yaml('{"\\ud83d\\ude00": "a\\ud83d\\ude00"}').data == {"\U0001f600": "a\U0001f600"}
    for text in ('{"a": "\\ud83d"}', '{"\\ude00\\ud83d": 1}'):
        with pytest.raises(YamlError, match="halves of a sign"):
            read_yaml(text)


def test_places() -> None:
    """Where a key or an item stands is remembered; what is not there stands where its parent does."""
    document = read_yaml("rules:\n  - property: plan\n    values:\n      a: 1\n")

    assert document.place(("rules", 0, "values", "a")) == Place(4, 7)
    assert document.place(("rules", 0)) == Place(2, 5)
    assert document.place(("rules", 0, "from")) == Place(2, 5)
    assert document.place(()) == Place(1, 1)


@pytest.mark.parametrize(
    ("text", "said", "line"),
    [
        ("a:\n\t- b", "not with tabs", 2),
        ("a: b: c", "text with a colon in it is written in quotes", 1),
        ("a: 1\nb: 2\na: 3", "the key 'a' is there twice", 3),
        ("a: &x 1\nb: *x", "anchors and aliases (& and *) are not taken", 1),
        ("a: !!python/object:os.system x", "tags (!) are not taken", 1),
        ("? [a]\n: 1", "a key has to be one word", 1),
        ("--- a\n--- b", "another document", 2),
        ("[" * 5_000, "nested more than 20 deep", 1),
        ("- " * 5_000, "nested more than 20 deep", 1),
        ("a: {" * 5_000, "nested more than 20 deep", 1),
        ("x\0", "special characters are not allowed", None),
        ("x" * 300_000, "262,144 is the most", None),
        ('"' + "x" * 200_000, "end of stream", 1),
    ],
)
def test_what_is_not_read(text: str, said: str, line: int | None) -> None:
    """What cannot be read, or is made to take for ever, is refused with its place, and soon."""
    begun = time.process_time()
    with pytest.raises(YamlError) as refused:
        read_yaml(text)

    assert said in str(refused.value)
    assert (None if refused.value.place is None else refused.value.place.line) == line
    assert time.process_time() - begun < 3


@given(st.text(alphabet="ab:- \n[]{}'\"#&*!|>%?,0.~", max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Whatever a file has gives data or the one error."""
    with suppress(YamlError):
        read_yaml(text)

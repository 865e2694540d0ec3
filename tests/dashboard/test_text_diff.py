"""Tests of the diff of two texts."""

import time

from hypothesis import given
from hypothesis import strategies as st

from prosperstack_destination.dashboard.text_diff import MAX_DIFF, MAX_LINES, Line, diff_lines

TEXTS = st.lists(st.sampled_from("abc"), max_size=40).map("\n".join)


def test_diff_has_changes_with_context() -> None:
    """Added and removed lines have context lines, and the number of hidden lines."""
    old = "\n".join([*map(str, range(10)), "old", *map(str, range(10, 30)), "gone"])
    new = "\n".join([*map(str, range(10)), "new", *map(str, range(10, 30)), "", "x" * 500])

    assert diff_lines(old, new) == (
        Line("left-out", "7 lines"),
        *(Line("same", f"{number}") for number in (7, 8, 9)),
        Line("gone", "old"),
        Line("added", "new"),
        *(Line("same", f"{number}") for number in (10, 11, 12)),
        Line("left-out", "14 lines"),
        *(Line("same", f"{number}") for number in (27, 28, 29)),
        Line("gone", "gone"),
        Line("added", ""),
        Line("added", "x" * 300 + "…"),
    )
    assert diff_lines(old, old) == ()
    assert diff_lines("a\nb\nc\nd\ne", "x\na\nb\nc\nd\ne")[-1] == Line("left-out", "2 lines")


@given(TEXTS, TEXTS)
def test_diff_has_every_difference(old: str, new: str) -> None:
    """Every differing line is in the diff, on its side."""
    lines = diff_lines(old, new)

    def count(kind: str) -> int:
        return sum(each.kind == kind for each in lines)

    assert count("added") - count("gone") == len(new.splitlines()) - len(old.splitlines())
    assert (lines == ()) == (old.splitlines() == new.splitlines())


def test_diff_of_long_texts_is_bounded() -> None:
    """The diff of long texts is quick and bounded."""
    begun = time.process_time()
    lines = diff_lines("\n".join(map(str, range(60_000))), "\n".join(f"{number} x" for number in range(60_000)))
    diff_lines("a\nb\n" * (MAX_LINES // 2), "b\na\na\n" * (MAX_LINES // 3))

    assert lines[-1] == Line("left-out", "and more")
    assert sum(len(each.text) for each in lines) < MAX_DIFF + 100
    assert time.process_time() - begun < 3

"""Tests of cursors, limits and filters by time."""

import base64
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prosperstack_destination.sandbox.routes import page, read_cursor, read_limit, time_filters
from prosperstack_destination.sandbox.seed import seed_account
from prosperstack_destination.sandbox.store import Record, Refused


@given(st.integers(1, 30), st.integers(1, 30))
def test_any_page_size_pages_through(count: int, limit: int) -> None:
    """Pages of every size have every record once, and end."""
    store = seed_account(count, "x")
    seen: list[object] = []
    cursor: str | None = None
    while True:
        answer: Any = page(store.subscribers.after(read_cursor(cursor)), limit)
        assert len(answer["data"]) <= limit
        seen += [each["id"] for each in answer["data"]]
        cursor = answer["next_cursor"]
        if cursor is None:
            break

    assert len(seen) == len(set(seen)) == count


@given(st.sets(st.integers(1, 20)), st.integers(1, 10))
def test_deletions_between_pages_hide_no_record(deleted: set[int], limit: int) -> None:
    """If records are deleted after the first page, the others are seen once."""
    records = seed_account(20, "x").subscribers
    numbers = {each.fields["id"]: each.number for each in records.after(0)}
    first: Any = page(records.after(0), limit)
    for record in [each for each in records.after(0) if each.number in deleted]:
        records.remove(record.fields["id"])
    rest: Any = page(records.after(read_cursor(first["next_cursor"])), 100)

    seen = [numbers[each["id"]] for each in (*first["data"], *rest["data"])]
    assert len(seen) == len(set(seen))
    assert {*seen} | deleted == set(range(1, 21))


@given(st.text() | st.binary().map(lambda raw: base64.urlsafe_b64encode(raw).decode()))
def test_any_cursor_is_valid_or_refused(text: str) -> None:
    """Any text is a valid cursor or refused."""
    with suppress(Refused):
        assert read_cursor(text) >= 0


@pytest.mark.parametrize("raw", ["12", "after:-1", "after:1_0", "after:", f"after:{'9' * 5000}", "before:1"])
def test_invalid_cursor_is_refused(raw: str) -> None:
    """Base64 of other text is not a cursor."""
    with pytest.raises(Refused, match="cursor"):
        read_cursor(base64.urlsafe_b64encode(raw.encode()).decode())


@pytest.mark.parametrize(("text", "limit"), [(None, 10), ("1", 1), ("100", 100)])
def test_limit_is_10_by_default(text: str | None, limit: int) -> None:
    """A page has 10 items by default, and at most 100."""
    assert read_limit(text) == limit


@pytest.mark.parametrize("text", ["", "0", "101", "-1", "1.5", "x", "٣", "00000000999", "9" * 5000])
def test_invalid_limit_is_refused(text: str) -> None:
    """A limit that is not a number from 1 to 100 is refused."""
    with pytest.raises(Refused, match="limit") as refused:
        read_limit(text)

    assert refused.value.status == 400


NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("name", "bound", "passes"),
    [
        ("updated_at[gt]", "2026-01-01T12:00:00Z", False),
        ("updated_at[gte]", "2026-01-01T12:00:00.000Z", True),
        ("updated_at[gte]", "2026-01-01T12:00:00.0001Z", False),  # finer than what is shown
        ("updated_at[lt]", "2026-01-01T12:00:00+00:00", False),
        ("updated_at[lte]", "2026-01-01T13:00:00+01:00", True),  # noon in UTC
        ("created_at[gt]", "2026-01-01", True),  # its first moment
        ("created_at[lt]", "2026-01-02", True),
    ],
)
def test_times_are_compared(name: str, bound: str, passes: bool) -> None:
    """The four comparisons work for bounds in every zone."""
    [condition] = time_filters([(name, bound), ("limit", "5")])

    assert condition(Record(1, {}, NOON, NOON)) is passes


@pytest.mark.parametrize("query", ["updated_at", "updated_at[eq]", "created_at[]", "updated_at[gte]"])
def test_unknown_comparison_is_refused(query: str) -> None:
    """An unknown filter is refused, not ignored."""
    with pytest.raises(Refused, match=query.partition("[")[0]):
        time_filters([(query, "yesterday")])

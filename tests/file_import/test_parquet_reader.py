"""Tests of the Parquet reader, with the real pyarrow."""

from pathlib import Path
from typing import Any

import pytest

from prosperstack_destination.errors import InvalidInput
from prosperstack_destination.file_import.row_parser import rows
from prosperstack_destination.file_import.source import InvalidRow

pyarrow: Any = pytest.importorskip("pyarrow")
parquet: Any = pytest.importorskip("pyarrow.parquet")

EMAILS = ["a@b.c", "b@b.c", "c@b.c"]


def read(file: Path, table: Any, **options: Any) -> list[Any]:
    """Return the rows of a table, with the reasons of invalid ones."""
    parquet.write_table(table, file, **options)
    return [row.reason if isinstance(row, InvalidRow) else dict(row) for row in rows(file)]


def test_warehouse_values_become_json(tmp_path: Path) -> None:
    """Each type becomes JSON: nanoseconds are truncated, NaN and Infinity are missing, null is null."""
    times = pyarrow.array([1_620_129_600_123_456_789, None, 0], pyarrow.timestamp("ns", "UTC"))
    found = read(
        tmp_path / "a.parquet",
        pyarrow.table(
            {
                "time": times,
                "number": [1.5, float("nan"), float("inf")],
                "list": [[1.0, float("nan")], None, []],
                "bytes": [b"x", b"\xff", None],
                "clock": pyarrow.array([1, 2, 3], pyarrow.time64("ns")),
                "text": ["a\0b", "", None],
            }
        ),
    )

    assert found == [
        {
            "time": "2021-05-04T12:00:00.123456+00:00",
            "number": 1.5,
            "list": [1.0],
            "bytes": "x",
            "clock": "00:00:00",
            "text": "a\ufffdb",
        },
        {"time": None, "list": None, "bytes": "\ufffd", "clock": "00:00:00", "text": ""},
        {"time": "1970-01-01T00:00:00+00:00", "list": [], "bytes": None, "clock": "00:00:00", "text": None},
    ]


def test_dates_after_9999_are_invalid(tmp_path: Path) -> None:
    """A row with a date or time that Python cannot represent is invalid; the others are read."""
    days = pyarrow.array([18_751, 10**7, 18_751], pyarrow.int32()).cast(pyarrow.date32())
    times = pyarrow.array([0, 0, 10**18], pyarrow.timestamp("us"))
    first, day, time = read(tmp_path / "a.parquet", pyarrow.table({"email": EMAILS, "day": days, "time": times}))

    assert first == {"email": "a@b.c", "day": "2021-05-04", "time": "1970-01-01T00:00:00+00:00"}
    assert "'day'" in day
    assert "'time'" in time


def test_deep_nesting_is_invalid(tmp_path: Path) -> None:
    """A value that nests deeper than a call may is an invalid row."""
    deep = pyarrow.array([1, 2, 3])
    for _ in range(40):
        deep = pyarrow.StructArray.from_arrays([deep], names=["x"])

    assert all("deeper" in each for each in read(tmp_path / "a.parquet", pyarrow.table({"deep": deep})))


def test_damaged_page_invalidates_its_row_group(tmp_path: Path) -> None:
    """Every row of a damaged row group is invalid; those of the others are read."""
    file = tmp_path / "a.parquet"
    count, part = 3_000, 1_000
    table = pyarrow.table(
        {"email": [f"p{n}@b.c" for n in range(count)], "noise": [str(n**9) for n in range(count)]}
    )
    whole = read(file, table, row_group_size=part, compression="snappy", use_dictionary=False)
    content = bytearray(file.read_bytes())
    begin = parquet.ParquetFile(file).metadata.row_group(1).column(1).data_page_offset + 200
    content[begin : begin + 2_000] = b"\xff" * 2_000
    file.write_bytes(content)
    found = list(rows(file))

    assert len(whole) == len(found) == count
    assert [isinstance(each, InvalidRow) for each in found] == [False] * part + [True] * part + [False] * part


def test_invalid_file_is_rejected(tmp_path: Path) -> None:
    """A duplicate column and a truncated file are rejected."""
    file = tmp_path / "a.parquet"
    doubled = pyarrow.Table.from_arrays([pyarrow.array(EMAILS)] * 3, names=["email", "name", "email"])
    with pytest.raises(InvalidInput, match="more than one column 'email'"):
        read(file, doubled)
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(InvalidInput, match="cannot be read"):
        list(rows(file))

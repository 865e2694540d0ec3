"""Reader of Parquet files. Rows with values that JSON cannot hold, and rows of damaged parts, are invalid."""

import importlib
import math
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from pydantic import JsonValue

from prosperstack_destination.errors import InvalidCall, InvalidInput
from prosperstack_destination.file_import.source import InvalidRow, Row, reject_duplicate_columns
from prosperstack_destination.ingest.request_body import check_bounds, without_nan
from prosperstack_destination.storable_text import storable

#: Number of rows in memory at once.
_ROWS: Final = 5_000


class _Unreadable:
    """Marker of a cell whose value Python cannot represent, such as a day after the year 9999."""


_UNREADABLE: Final = _Unreadable()


def parquet_rows(file: Path) -> Iterator[Row | InvalidRow]:
    """Yield the rows of a Parquet file. Raises `InvalidInput` for an invalid file or invalid columns."""
    try:
        parquet = importlib.import_module("pyarrow.parquet")  # an optional extra
    except ImportError:
        raise InvalidInput(
            "Parquet files need pyarrow. Run pip install 'prosperstack-destination[parquet]', or export CSV or "
            "JSONL."
        ) from None
    try:
        table = parquet.ParquetFile(file)
        names = table.schema_arrow.names
        groups = [table.metadata.row_group(group).num_rows for group in range(table.num_row_groups)]
    except Exception as error:  # noqa: BLE001 -- for damaged files pyarrow raises errors of many kinds
        raise InvalidInput(f"{file} cannot be read: {error}") from None
    reject_duplicate_columns(file, names)
    for group, count in enumerate(groups):
        yield from _group(table, group, count)


def _group(table: Any, group: int, count: int) -> Iterator[Row | InvalidRow]:
    """Yield the rows of one row group; from a damaged page on they are invalid."""
    done = 0
    try:
        for batch in table.iter_batches(batch_size=_ROWS, row_groups=[group]):
            rows = _rows(batch)
            done += len(rows)
            yield from rows
    except Exception as error:  # noqa: BLE001 -- for damaged files pyarrow raises errors of many kinds
        reason = f"its part of the file is damaged: {error}"
        for _ in range(count - done):
            yield InvalidRow(reason)


def _rows(batch: Any) -> list[Row | InvalidRow]:
    names = batch.schema.names
    columns = [_values(column) for column in batch.columns]
    return [_row(names, cells) for cells in zip(*columns, strict=True)]


def _values(column: Any) -> list[Any]:
    """Return the values of a column, with nanoseconds truncated as in the times of calls."""
    pyarrow = importlib.import_module("pyarrow")
    kind, types = column.type, pyarrow.types
    if types.is_timestamp(kind) and kind.unit == "ns":
        column = column.cast(pyarrow.timestamp("us", tz=kind.tz), safe=False)
    elif types.is_time64(kind) and kind.unit == "ns":
        column = column.cast(pyarrow.time64("us"), safe=False)
    elif types.is_duration(kind) and kind.unit == "ns":
        column = column.cast(pyarrow.duration("us"), safe=False)
    try:
        values: list[Any] = column.to_pylist()
    except Exception:  # noqa: BLE001 -- Python cannot represent a value: find it
        return [_value(cell) for cell in column]
    return values


def _value(cell: Any) -> Any:
    try:
        return cell.as_py()
    except Exception:  # noqa: BLE001 -- pyarrow raises errors of many kinds
        return _UNREADABLE


def _row(names: Sequence[str], cells: Sequence[Any]) -> Row | InvalidRow:
    row: dict[str, JsonValue] = {}
    for name, cell in zip(names, cells, strict=True):
        if cell is _UNREADABLE:
            return InvalidRow(f"its value of {name!r} cannot be read, as a day after the year 9999")
        value = _as_json(cell)
        if not (isinstance(value, float) and math.isnan(value)):
            row[name] = value
    try:
        check_bounds(row, "its value")
    except InvalidCall as error:
        return InvalidRow(str(error))
    result = storable(without_nan(row))
    assert isinstance(result, dict)  # noqa: S101 -- for mypy: the type stays
    return result


def _as_json(value: Any) -> JsonValue:
    """Return a warehouse value as JSON. Infinity and NaN count as missing."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else math.nan
        case datetime():
            return (value if value.tzinfo else value.replace(tzinfo=UTC)).isoformat()
        case date() | time():
            return value.isoformat()
        case Decimal():
            if not value.is_finite():
                return math.nan
            return int(value) if value == value.to_integral_value() else float(value)
        case bytes():
            return value.decode(errors="replace")
        case timedelta():
            return value.total_seconds()
        case dict():
            return {str(name): _as_json(each) for name, each in value.items()}
        case list() | tuple():
            return [_as_json(each) for each in value]
        case _:
            return str(value)

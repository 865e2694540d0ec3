"""JSON as it stands in the tables."""

from typing import Any

from pydantic_core import from_json, to_json


def dump(value: object) -> str:
    """JSON text of plain values; numbers that JSON has no form for never get here (see `segment.body`)."""
    return to_json(value, inf_nan_mode="constants").decode()


def load(text: str) -> Any:
    """What `dump` was given."""
    return from_json(text)

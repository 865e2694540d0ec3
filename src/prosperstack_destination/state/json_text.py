"""JSON as it stands in the tables."""

from typing import Any

from pydantic_core import from_json, to_json


def dump(value: object) -> str:
    """JSON text of plain values; `load` reads what is written for infinities, which JSON itself has no form for."""
    return to_json(value, inf_nan_mode="constants").decode()


def load(text: str) -> Any:
    """What `dump` was given."""
    return from_json(text)

"""JSON as it stands in the tables."""

import json
from typing import Any

from pydantic_core import from_json, to_json


def dump(value: object) -> str:
    """JSON text of plain values; NaN and infinities, which JSON has no form for, become null."""
    return to_json(value, inf_nan_mode="null").decode()


def load(text: str) -> Any:
    """What `dump` was given. An integer that Python does not read becomes infinite: what is stored can be read."""
    try:
        return from_json(text)
    except ValueError:  # a number of more digits than any that is stored today
        return json.loads(text, parse_int=_number)


def _number(digits: str) -> int | float:
    try:
        return int(digits)
    except ValueError:
        return float(digits)

"""JSON codec of the tables' text columns."""

import json
from typing import Any, Final

from pydantic_core import from_json, to_json

from prosperstack_destination.storable_text import storable_json

_NUL: Final = r"\u0000"


def dump(value: object) -> str:
    """Return the JSON text of plain values. NaN and infinities become null, since JSON has no form for them."""
    return to_json(value, inf_nan_mode="null").decode()


def load(text: str) -> Any:
    """Return the value of a JSON text from the database.

    It also reads texts of earlier versions: an integer that Python cannot read becomes infinite, and U+0000
    becomes U+FFFD, since PostgreSQL's text columns reject it.
    """
    if _NUL in text:
        text = storable_json(text.encode()).decode()
    try:
        return from_json(text)
    except ValueError:  # a number with more digits than are stored today
        return json.loads(text, parse_int=_number)


def _number(digits: str) -> int | float:
    try:
        return int(digits)
    except ValueError:
        return float(digits)

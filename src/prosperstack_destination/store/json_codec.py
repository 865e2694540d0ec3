"""JSON as it stands in the tables."""

import json
from typing import Any, Final

from pydantic_core import from_json, to_json

from prosperstack_destination.storable import storable_json

_NUL: Final = r"\u0000"


def dump(value: object) -> str:
    """JSON text of plain values; NaN and infinities, which JSON has no form for, become null."""
    return to_json(value, inf_nan_mode="null").decode()


def load(text: str) -> Any:
    """What `dump` was given.

    What earlier versions stored can be read as well: an integer that Python does not read becomes infinite, and
    U+0000 becomes U+FFFD, since parts of it go into columns of text.
    """
    if _NUL in text:
        text = storable_json(text.encode()).decode()
    try:
        return from_json(text)
    except ValueError:  # a number of more digits than any that is stored today
        return json.loads(text, parse_int=_number)


def _number(digits: str) -> int | float:
    try:
        return int(digits)
    except ValueError:
        return float(digits)

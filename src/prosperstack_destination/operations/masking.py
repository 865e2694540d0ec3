"""Showing what a call looked like without showing anybody's data."""

from typing import Final

from pydantic import JsonValue

#: Stands for what is hidden, however long it is.
DOTS: Final = "…"
#: Deeper than this nothing is shown.
_DEEPEST: Final = 50


def mask(value: JsonValue, depth: int = 0) -> JsonValue:
    """The same shape without the data: of text the first character, of numbers only whether they are whole.

    Keys, booleans and null stay, but for keys that have an email address in them. Takes any JSON.
    """
    match value:
        case str():
            return _text(value)
        case bool() | None:
            return value
        case int():
            return 0
        case float():
            return 0.0
        case _ if depth >= _DEEPEST:
            return DOTS
        case list():
            return [mask(each, depth + 1) for each in value]
        case dict():
            shown: dict[str, JsonValue] = {}
            for key, each in value.items():
                name = _text(key) if "@" in key else key
                while name in shown:
                    name += DOTS
                shown[name] = mask(each, depth + 1)
            return shown


def _text(text: str) -> str:
    hidden = text[:1] + DOTS if text else ""
    return DOTS if hidden == text and text else hidden

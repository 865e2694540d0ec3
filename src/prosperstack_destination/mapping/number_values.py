"""Numbers in the forms that people write, and exact arithmetic."""

import re
from collections.abc import Callable
from decimal import ROUND_HALF_UP, Context, Decimal, DecimalException
from functools import reduce
from typing import Final

from pydantic import JsonValue

from prosperstack_destination.mapping.coercion import CoercionError
from prosperstack_destination.mapping.coercion import parse_number as parse_plain_number

#: Decimal marks of languages: those of the first set write "1.299,00".
_COMMA: Final = frozenset(
    {
        *("bg", "ca", "cs", "da", "de", "el", "es", "et", "fi", "fr", "hr", "hu", "id", "is", "it", "lt", "lv"),
        *("nb", "nl", "nn", "no", "pl", "pt", "ro", "ru", "sk", "sl", "sr", "sv", "tr", "uk", "vi"),
    }
)
_POINT: Final = frozenset({"en", "ar", "fa", "he", "hi", "ja", "ko", "ms", "th", "ur", "zh"})
#: Regions whose mark differs from that of their language.
_REGIONAL_MARKS: Final = {"de-ch": ".", "de-li": ".", "fr-ch": ".", "it-ch": ".", "es-mx": ".", "en-za": ","}
#: Longest text that is read as a number, in characters.
_LONGEST: Final = 64
#: Most decimals of a written number.
MAX_DECIMALS: Final = 15

_SPACES: Final = re.compile(r"[\s\u00a0\u202f\u2009'\u2019]")
#: A currency sign or code, or a percent sign, before or after the digits.
_UNIT: Final = re.compile(r"(?:[^\W\d_]{1,3}\.?|[^\w\s.,+()-]{1,2})?")
_AMOUNT: Final = re.compile(rf"({_UNIT.pattern})([+-]?)({_UNIT.pattern})(\d[\d.,]*|[.,]\d+)({_UNIT.pattern})")
_GROUPED: Final = re.compile(r"\d{1,3}(?:[.,]\d{2,3})*[.,]\d{3}")

EXACT: Final = Context(prec=400, rounding=ROUND_HALF_UP)
_DIVIDING: Final = Context(prec=17, rounding=ROUND_HALF_UP)


def decimal_mark(locale: str) -> str:
    """Return the decimal mark of a locale, e.g. ``de`` or ``de-CH``. Raises `CoercionError`."""
    name = locale.strip().lower().replace("_", "-")
    language = name.partition("-")[0]
    if name in _REGIONAL_MARKS:
        return _REGIONAL_MARKS[name]
    if language in _COMMA:
        return ","
    if language in _POINT:
        return "."
    raise CoercionError(f"there is no locale {locale[:20]!r}: write a language, e.g. en or de")


def read_number(value: JsonValue, locale: str | None = None) -> int | float:
    """Return a number that people wrote, e.g. ``$1,299.00``, ``1.299,00 EUR`` or ``(12%)``.

    Without a locale, the last of two marks is the decimal mark; a single comma before three digits separates
    thousands, and a single point is a decimal mark. Raises `CoercionError`.
    """
    mark = None if locale is None else decimal_mark(locale)
    if not isinstance(value, str):
        return parse_plain_number(value)
    text = _SPACES.sub("", value)
    if len(text) > _LONGEST:
        raise CoercionError("the text is not a number")
    negative = text.startswith("(") and text.endswith(")")
    match = _AMOUNT.fullmatch(text[1:-1] if negative else text.replace("\N{MINUS SIGN}", "-"))
    if match is None:
        return parse_plain_number(value)
    sign = "-" if negative or match[2] == "-" else ""
    return parse_plain_number(sign + _without_groups(match[4], mark))


def _without_groups(digits: str, mark: str | None) -> str:
    """Return digits with a point as their only mark. Raises `CoercionError` for marks that group nothing."""
    if mark is None:
        mark = _guess_mark(digits)
    whole, _, decimals = digits.partition(mark) if mark else (digits, "", "")
    if any(each in decimals for each in ".,") or (re.search("[.,]", whole) and not _GROUPED.fullmatch(whole)):
        raise CoercionError("its points and commas do not make a number")
    return re.sub("[.,]", "", whole) + ("." + decimals if decimals else "")


def _guess_mark(digits: str) -> str:
    """Return the decimal mark of a number whose locale is unknown; "" for none."""
    last = max(digits.rfind("."), digits.rfind(","))
    if last < 0:
        return ""
    mark = digits[last]
    both = "." in digits and "," in digits
    if not both and (digits.count(mark) > 1 or (mark == "," and _GROUPED.fullmatch(digits))):
        return ""
    return mark


def write_number(number: Decimal, decimals: int = 2, locale: str = "en") -> str:
    """Return a number with separators of thousands, e.g. ``1,299.00``. Raises `CoercionError`."""
    text = f"{round_half_up(number, decimals):,.{max(decimals, 0)}f}"
    if decimal_mark(locale) == ",":
        text = text.translate(str.maketrans(",.", ".,"))
    return text


def exact(value: JsonValue) -> Decimal:
    """Return the number that a value spells, exactly. Raises `CoercionError`."""
    return Decimal(value) if type(value) is int else Decimal(str(parse_plain_number(value)))


def plain(number: Decimal) -> int | float:
    """Return a number of JSON; whole numbers as int. Raises `CoercionError`."""
    if not abs(number) < Decimal("1e300"):
        raise CoercionError("the number is too large")
    return int(number) if number == number.to_integral_value() else float(number)


def round_half_up(number: Decimal, decimals: int) -> Decimal:
    """Return a number, rounded to a number of decimals. Raises `CoercionError`."""
    if abs(decimals) > MAX_DECIMALS:
        raise CoercionError(f"a number is rounded to at most {MAX_DECIMALS} decimals")
    try:
        return number.quantize(Decimal(1).scaleb(-decimals), context=EXACT)
    except DecimalException:
        raise CoercionError("the number is too large to be rounded") from None


def calculate(operation: Callable[[Decimal, Decimal], Decimal], *operands: Decimal) -> int | float:
    """Return the result of an operation on two or more numbers. Raises `CoercionError`."""
    try:
        return plain(reduce(operation, operands))
    except ZeroDivisionError:
        raise CoercionError("a number cannot be divided by zero") from None
    except DecimalException:
        raise CoercionError("the number is too large") from None


def divide(one: Decimal, other: Decimal) -> Decimal:
    """Return a quotient with 17 digits, which a double distinguishes. Raises `ZeroDivisionError`."""
    if not other:
        raise ZeroDivisionError
    return _DIVIDING.divide(one, other)

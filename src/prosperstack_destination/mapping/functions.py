"""Functions of expressions beyond JMESPath's own, by the names of its community's extensions where it has them.

They are pure, and total for missing values: a required text, number or date that is null makes the result null.
Every text that they make is bounded.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import partial
from typing import Any, Final
from zoneinfo import ZoneInfo

from pydantic import JsonValue
from pydantic_core import from_json, to_json

from prosperstack_destination.mapping import date_values as dates
from prosperstack_destination.mapping import number_values as numbers
from prosperstack_destination.mapping import text_values as texts
from prosperstack_destination.mapping.coercion import CoercionError

_UTC: Final = ZoneInfo("UTC")


@dataclass(frozen=True, slots=True)
class FunctionContext:
    """Input of functions that depends on the account and the day."""

    #: Time in microseconds since the epoch; None: functions of the present day fail.
    now: int | None = None
    zone: ZoneInfo = _UTC
    #: Key of ``hash(…, 'hmac')``.
    secret: bytes = b""

    @property
    def today(self) -> date:
        """Today's date in the account's time zone. Raises `CoercionError` without a time."""
        if self.now is None:
            raise CoercionError("the present day is not known here")
        return datetime.fromtimestamp(self.now / 1_000_000, UTC).astimezone(self.zone).date()


NO_CONTEXT: Final = FunctionContext()


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a function."""

    #: A key of `_KINDS`.
    kind: str
    required: bool = True

    def convert(self, value: JsonValue) -> Any:
        """Return an argument in the form that the function takes. Raises `CoercionError`."""
        return _KINDS[self.kind][0](value)

    def check_literal(self, value: JsonValue) -> None:
        """Raise `ValueError` for an argument in the expression itself that can never be right."""
        converted = self.convert(value)
        check = _KINDS[self.kind][1]
        if check is not None and converted is not None:
            check(converted)


@dataclass(frozen=True, slots=True)
class Function:
    """A function: its parameters, and its implementation."""

    name: str
    parameters: tuple[Parameter, ...]
    body: Callable[..., JsonValue]
    #: The last parameter takes any number of arguments.
    variadic: bool = False
    #: The body takes a `FunctionContext` before the arguments.
    contextual: bool = False

    @property
    def least(self) -> int:
        """Smallest number of arguments."""
        return sum(each.required for each in self.parameters)

    @property
    def most(self) -> int | None:
        """Largest number of arguments; None: any."""
        return None if self.variadic else len(self.parameters)

    def parameter(self, number: int) -> Parameter:
        """Return the parameter of an argument, counted from 0."""
        return self.parameters[min(number, len(self.parameters) - 1)]

    def call(self, context: FunctionContext, arguments: Sequence[JsonValue]) -> JsonValue:
        """Return the result. Raises `CoercionError` for arguments that have none."""
        values = []
        for number, argument in enumerate(arguments):
            parameter = self.parameter(number)
            value = parameter.convert(argument)
            if value is None and parameter.kind != "any":
                if parameter.required:
                    return None
                break  # as if it were left out
            values.append(value)
        return self.body(context, *values) if self.contextual else self.body(*values)


def _text(value: JsonValue) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return to_json(value).decode()
    raise CoercionError(f"it takes text, not an {'array' if isinstance(value, list) else 'object'}")


def _is_blank(value: JsonValue) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _integer(value: JsonValue) -> int | None:
    if _is_blank(value):
        return None
    number = numbers.plain(numbers.exact(value))
    if not isinstance(number, int):
        raise CoercionError("it takes a whole number")
    return number


def _any(value: JsonValue) -> JsonValue:
    return value


def _check_hash(method: str) -> None:
    texts.hash_text("", method, b"")


def _check_unit(unit: str) -> None:
    dates.shift(_UTC, "2000-01-01", 0, unit)


#: Conversion of each kind of parameter, and the check of its literals at compile time.
_KINDS: Final[Mapping[str, tuple[Callable[[JsonValue], Any], Callable[[Any], object] | None]]] = {
    "any": (_any, None),
    "text": (_text, None),
    "number": (lambda value: None if _is_blank(value) else numbers.exact(value), None),
    "integer": (_integer, None),
    "date": (lambda value: None if _is_blank(value) else value, None),
    "pattern": (_text, texts.compile_pattern),
    "format": (_text, dates.check_format),
    "locale": (_text, numbers.decimal_mark),
    "hash": (_text, _check_hash),
    "unit": (_text, _check_unit),
}


def _find(text: str, part: str, *, last: bool) -> int | None:
    found = text.rfind(part) if last else text.find(part)
    return None if found < 0 else found


def _substring(text: str, start: int, length: int | None = None) -> str:
    begin = max(len(text) + start, 0) if start < 0 else start
    return text[begin:] if length is None else text[begin : begin + max(length, 0)]


def _split(text: str, separator: str, most: int = -1) -> list[JsonValue]:
    return list(text.split(separator, most) if separator else text)


def _parse_number(text: str, locale: str | None = None) -> JsonValue:
    return None if not text.strip() else numbers.read_number(text, locale)


def _concat(*values: JsonValue) -> str | None:
    parts = [text for value in values if (text := _text(value)) is not None]
    if sum(map(len, parts)) > texts.MAX_TEXT:
        raise CoercionError("the text would be too long")
    return "".join(parts) or None


def _from_json(text: str) -> JsonValue:
    try:
        value: JsonValue = from_json(text, allow_inf_nan=False)
    except ValueError:
        raise CoercionError("the text is not JSON") from None
    return value


def _parse_date(value: JsonValue, *forms: str) -> JsonValue:
    return dates.read_in_format(forms or ("%Y-%m-%d",), value)


def _mask(text: str, keep: int = texts.MASK_KEEPS) -> str:
    return texts.mask(text, max(keep, 0))


def _hash(context: FunctionContext, text: str, method: str = "sha256") -> str:
    return texts.hash_text(text, method, context.secret)


def _round(number: Decimal, decimals: int = 0) -> JsonValue:
    return numbers.plain(numbers.round_half_up(number, decimals))


def _to_json(value: JsonValue) -> str:
    return to_json(value).decode()


def _days_since(context: FunctionContext, day: JsonValue) -> int:
    return dates.days_between(context.zone, day, context.today)


def _days_until(context: FunctionContext, day: JsonValue) -> int:
    return -_days_since(context, day)


def _days_between(context: FunctionContext, start: JsonValue, end: JsonValue) -> int:
    return dates.days_between(context.zone, start, dates.local_time(context.zone, end).date())


def _date_add(context: FunctionContext, day: JsonValue, amount: int, unit: str = "days") -> str:
    return dates.shift(context.zone, day, amount, unit)


def _format_date(context: FunctionContext, day: JsonValue, form: str) -> str:
    return dates.write_date(context.zone, form, day)


def _define(
    name: str, parameters: str, body: Callable[..., JsonValue], *, contextual: bool = False
) -> tuple[str, Function]:
    """Return a function by its name. ``?`` marks an optional parameter, ``*`` any number of arguments."""
    kinds = tuple(Parameter(kind.rstrip("?*"), kind.isalpha()) for kind in parameters.split())
    return name, Function(name, kinds, body, parameters.endswith("*"), contextual)


#: The functions whose arguments are evaluated as needed: see `expression_runner`.
LAZY: Final[Mapping[str, Function]] = dict(
    (
        _define("if", "any any any?", lambda *_: None),
        _define("coalesce", "any any*", lambda *_: None),
    )
)
#: All functions that JMESPath lacks, by name.
FUNCTIONS: Final[Mapping[str, Function]] = {
    **LAZY,
    **dict(
        (
            _define("lower", "text", str.lower),
            _define("upper", "text", str.upper),
            _define("title", "text", texts.titled),
            _define("trim", "text text?", str.strip),
            _define("trim_left", "text text?", str.lstrip),
            _define("trim_right", "text text?", str.rstrip),
            _define("replace", "text text text integer?", texts.replace_text),
            _define("split", "text text integer?", _split),
            _define("substring", "text integer integer?", _substring),
            _define("find_first", "text text", partial(_find, last=False)),
            _define("find_last", "text text", partial(_find, last=True)),
            _define("pad_left", "text integer text?", partial(texts.pad, left=True)),
            _define("pad_right", "text integer text?", partial(texts.pad, left=False)),
            _define("concat", "any any*", _concat),
            _define("regex_match", "text pattern", texts.matches),
            _define("regex_extract", "text pattern integer?", texts.extract),
            _define("regex_replace", "text pattern text", texts.substitute),
            _define("add", "number number number*", partial(numbers.calculate, numbers.EXACT.add)),
            _define("subtract", "number number", partial(numbers.calculate, numbers.EXACT.subtract)),
            _define("multiply", "number number number*", partial(numbers.calculate, numbers.EXACT.multiply)),
            _define("divide", "number number", partial(numbers.calculate, numbers.divide)),
            _define("round", "number integer?", _round),
            _define("parse_number", "text locale?", _parse_number),
            _define("format_number", "number integer? locale?", numbers.write_number),
            _define("yes_no", "text", texts.yes_or_no),
            _define("days_since", "date", _days_since, contextual=True),
            _define("days_until", "date", _days_until, contextual=True),
            _define("days_between", "date date", _days_between, contextual=True),
            _define("date_add", "date integer unit?", _date_add, contextual=True),
            _define("format_date", "date format", _format_date, contextual=True),
            _define("parse_date", "date format*", _parse_date),
            _define("from_json", "text", _from_json),
            _define("to_json", "any", _to_json),
            _define("hash", "text hash?", _hash, contextual=True),
            _define("mask", "text integer?", _mask),
        )
    ),
}
#: Functions whose result depends on the day.
OF_THE_DAY: Final = frozenset({"days_since", "days_until"})

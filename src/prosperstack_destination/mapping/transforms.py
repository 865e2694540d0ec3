"""Transforms: steps separator a rule's source and its property, as ``trim`` or ``round``, run in written order."""

import re
from collections.abc import Callable, Sequence
from datetime import datetime
from decimal import ROUND_HALF_UP, Context, Decimal, DecimalException
from functools import partial
from typing import Annotated, Any, Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    StrictInt,
    StrictStr,
    StringConstraints,
    field_validator,
    model_serializer,
    model_validator,
)

from prosperstack_destination.mapping.coercion import CoercionError, parse_datetime, parse_number
from prosperstack_destination.mapping.name_matching import closest

#: Longest text that ``join`` makes of an array, in characters: the size limit of a call.
MAX_JOINED: Final = 64 * 1024
#: Separator of joined items if the rule names none.
DEFAULT_JOIN: Final = ", "

#: One step, from a value to the next. Raises `TransformError`.
Step = Callable[[JsonValue], JsonValue]

_LETTER: Final = "[^\\W\\d_][\u0300-\u036f]*"
_APOSTROPHE: Final = "['\u2019]"
_WORD: Final = re.compile(rf"(?<![^\W_])(?:{_LETTER})+(?:(?:{_APOSTROPHE}|-)(?:{_LETTER})+)*")
#: Words with a second capital after their prefix: O'Brien, D'Angelo, McDonald; not I'll or john's.
_PREFIXED: Final = re.compile(rf"((?:{_LETTER}{_APOSTROPHE}|mc)(?=(?:{_LETTER}){{3}}))(.*)", re.IGNORECASE)
#: Words in capitals with fewer letters are abbreviations, as IBM.
_SHOUTED_FROM: Final = 4
_DIRECTIVE: Final = re.compile(r"%(.?)")
_DIRECTIVES: Final = frozenset("aAbBdHIjmMpSfyYzZcxX%")
_TIME_OF_DAY: Final = frozenset("HIMSfpXcz")
#: Other notations for the parts of a date, with the directives to use instead.
_FOREIGN_DATE_PARTS: Final = {
    "YYYY": "%Y",
    "yyyy": "%Y",
    "YY": "%y",
    "MM": "%m",
    "DD": "%d",
    "dd": "%d",
    "HH": "%H",
    "mm": "%M",
}
_DAY: Final = re.compile(r"\d{4}-\d\d-\d\d")
_NO_TIME: Final = "it is no date and time, so it cannot be seen in another time zone"
_EXACT: Final = Context(prec=400, rounding=ROUND_HALF_UP)


#: Format of a date, as in ``%d/%m/%Y``.
DateForm = Annotated[StrictStr, StringConstraints(min_length=1, max_length=100)]
#: Most formats of one ``date_format``.
MAX_FORMS: Final = 20


class TransformError(ValueError):
    """A transform cannot take the value; ``str()`` is the reason."""


class Transform(BaseModel):
    """One transform. Transforms of text and numbers apply to each item of an array."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    trim: Annotated[Literal[True] | None, Field(description="Remove spaces at both ends.")] = None
    lower: Annotated[Literal[True] | None, Field(description="Convert to lower case.")] = None
    upper: Annotated[Literal[True] | None, Field(description="Convert to upper case.")] = None
    title: Annotated[
        Literal[True] | None,
        Field(description="Capitalize Each Word; SHOUTED words become lower case, abbreviations such as IBM stay."),
    ] = None
    round: Annotated[
        StrictInt | None,
        Field(ge=-15, le=15, description="Round to so many decimals (true: none), halves up."),
    ] = None
    scale: Annotated[
        float | None,
        Field(allow_inf_nan=False, description="Multiply by this: 0.01 converts cents to a currency amount."),
    ] = None
    join: Annotated[
        StrictStr | None,
        Field(max_length=100, description="Join an array to text, separated by this (true: a comma)."),
    ] = None
    count: Annotated[Literal[True] | None, Field(description="Count the items of an array.")] = None
    date_format: Annotated[
        DateForm | tuple[DateForm, ...] | None,
        Field(description="Read text as a date in this format, or in one of a list; ISO dates are read as well."),
    ] = None
    timezone: Annotated[
        StrictStr | None,
        Field(description="Convert a date and time to the local time of this zone, as in Europe/Berlin."),
    ] = None
    max_length: Annotated[
        StrictInt | None, Field(ge=1, le=100_000, description="Keep at most so many characters.")
    ] = None

    @model_validator(mode="before")
    @classmethod
    def _expand_short_form(cls, data: object) -> object:
        """Expand ``trim`` to ``{trim: true}``, and true to the default argument."""
        if isinstance(data, str):
            data = {data: True}
        if not isinstance(data, dict):
            return data
        for name in data:
            if name not in TRANSFORMS:
                hint = closest(str(name), TRANSFORMS)
                raise ValueError(f"there is no transform {name!r}" + (f": did you mean {hint}?" if hint else ""))
        if len(data) != 1:
            raise ValueError("each item of clean holds one transform: write each in a line of its own")
        if None in data.values():
            raise ValueError(f"{next(iter(data))} has no value: write one, or remove the key")
        defaults: dict[str, object] = {"round": 0, "join": DEFAULT_JOIN}
        return {name: defaults.get(name, True) if value is True else value for name, value in data.items()}

    @field_validator("scale", mode="before")
    @classmethod
    def _number(cls, value: object) -> object:
        if isinstance(value, bool | str):
            raise ValueError("write a number, as in 0.01")
        return value

    @field_validator("date_format")
    @classmethod
    def _format(cls, value: str | tuple[str, ...] | None) -> str | tuple[str, ...] | None:
        forms = (value,) if isinstance(value, str) else value
        if forms is not None and not 0 < len(forms) <= MAX_FORMS:
            raise ValueError(f"write 1 to {MAX_FORMS} formats of a date, as in %d/%m/%Y")
        for each in forms or ():
            _check_format(each)
        return value

    @field_validator("timezone")
    @classmethod
    def _zone(cls, value: str | None) -> str | None:
        if value is not None and value not in available_timezones():
            hint = closest(value, available_timezones())
            raise ValueError(f"there is no time zone {value!r}" + (f": did you mean {hint}?" if hint else ""))
        return value

    @model_serializer
    def _written(self) -> Any:
        argument = list(self.argument) if isinstance(self.argument, tuple) else self.argument
        return self.name if argument is True else {self.name: argument}

    @property
    def name(self) -> str:
        """Return the name of the transform."""
        return next(name for name in TRANSFORMS if getattr(self, name) is not None)

    @property
    def argument(self) -> Any:
        """Return the argument; True for transforms without one."""
        return getattr(self, self.name)

    def step(self) -> Step:
        """Return the transform as a function."""
        return _STEPS[self.name](self.argument)


TRANSFORMS: Final = tuple(Transform.model_fields)


def _check_format(text: str) -> None:
    if "%" not in text:
        for foreign, directive in _FOREIGN_DATE_PARTS.items():
            text = text.replace(foreign, directive)
        hint = f", as in {text}" if "%" in text else ", as in %d/%m/%Y"
        raise ValueError(f"write the parts of a date with %{hint}")
    for letter in _DIRECTIVE.findall(text):
        if letter not in _DIRECTIVES or not letter:
            raise ValueError(f"%{letter} is not a part of a date: use %Y %m %d %H %M %S, %b %B %y %p or %z")


def _titled(text: str) -> str:
    return _WORD.sub(lambda found: _titled_word(found[0]), text)


def _titled_word(word: str) -> str:
    """Return a word with each hyphenated part capitalized; longer words in capitals become lower case."""
    if word.isalpha() and word.islower() and not word.startswith("mc"):  # the common case, kept short
        return _with_capital(word)
    shouted = _is_shouted(word)
    parts = [part.lower() if shouted or _is_shouted(part) else part for part in word.split("-")]
    return "-".join(_titled_part(part) for part in parts)


def _titled_part(part: str) -> str:
    found = _PREFIXED.fullmatch(part)
    if found is None or (found[1].lower() == "mc" and not part.islower()):
        return _with_capital(part)
    return _with_capital(found[1]) + _with_capital(found[2])


def _with_capital(text: str) -> str:
    return text[:1].title() + text[1:]


def _is_shouted(word: str) -> bool:
    return word.isupper() and sum(map(str.isalpha, word)) >= _SHOUTED_FROM


def _text_step(change: Callable[[str], str]) -> Step:
    def clean(value: JsonValue) -> JsonValue:
        if isinstance(value, str):
            return change(value)
        if isinstance(value, list):
            return [change(item) if isinstance(item, str) else item for item in value]
        return value

    return clean


def _item_step(step: Step) -> Step:
    def clean(value: JsonValue) -> JsonValue:
        return [step(item) for item in value] if isinstance(value, list) else step(value)

    return clean


def _decimal(value: JsonValue, doing: str) -> Decimal | None:
    """Return the number that a value spells, exactly; None for null and ""."""
    if type(value) is int:
        return Decimal(value)
    if value is None or value == "":
        return None
    try:
        number = parse_number(value)
    except CoercionError as error:
        raise TransformError(f"it cannot be {doing}: {error}") from None
    return Decimal(str(number))


def _plain(number: Decimal) -> int | float:
    """Return a number of JSON; whole numbers as int."""
    if not abs(number) < Decimal("1e300"):
        raise TransformError("the number is too large")
    return int(number) if number == number.to_integral_value() else float(number)


def _round(decimals: int, value: JsonValue) -> JsonValue:
    number = _decimal(value, "rounded")
    if number is None:
        return value
    try:
        return _plain(number.quantize(Decimal(1).scaleb(-decimals), context=_EXACT))
    except DecimalException:
        raise TransformError("the number is too large to be rounded") from None


def _scale(factor: float, value: JsonValue) -> JsonValue:
    number = _decimal(value, "scaled")
    return value if number is None else _plain(_EXACT.multiply(number, Decimal(str(factor))))


def _join(separator: str, value: JsonValue) -> JsonValue:
    if not isinstance(value, list):
        return value
    items = [_joined_item(item) for item in value if item is not None]
    if sum(map(len, items)) + len(separator) * len(items) > MAX_JOINED:
        raise TransformError("the text would be too long")
    return separator.join(items)


def _joined_item(value: JsonValue) -> str:
    if isinstance(value, dict | list):
        raise TransformError("its items cannot be joined: one is an object or an array itself")
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _count(value: JsonValue) -> JsonValue:
    if value is None:
        return None
    if not isinstance(value, list | dict):
        raise TransformError("only the items of an array can be counted")
    return len(value)


def _date_format(forms: Sequence[str], value: JsonValue) -> JsonValue:
    """Return a date in the first format that fits, as ISO text; other forms of a date stay unchanged."""
    if value is None or value == "":
        return value
    expected = " or ".join(forms)
    if isinstance(value, bool | dict | list):
        raise TransformError(f"it is no text that could be a date of the form {expected}")
    text = str(value).strip()
    for form in forms:
        try:
            time = datetime.strptime(text, form)  # noqa: DTZ007 -- the format may have a zone
        except ValueError:
            continue
        has_time = _TIME_OF_DAY.intersection(_DIRECTIVE.findall(form))
        return time.isoformat() if has_time else time.date().isoformat()
    try:
        parse_datetime(value)
    except (ValueError, OverflowError):
        raise TransformError(f"it is no date of the form {expected}, and no ISO 8601 date either") from None
    return value


def _timezone(zone: ZoneInfo, value: JsonValue) -> JsonValue:
    if value is None or value == "":
        return value
    if isinstance(value, bool | dict | list):
        raise TransformError(_NO_TIME)
    if isinstance(value, str) and _DAY.fullmatch(value.strip()):
        return value  # a day without a time is the same in every zone
    try:
        time = parse_datetime(value)
        if time.tzinfo is not None:
            time = time.astimezone(zone).replace(tzinfo=None)
    except (ValueError, OverflowError) as error:
        raise TransformError(f"{_NO_TIME}: {error}" if isinstance(error, CoercionError) else _NO_TIME) from None
    return time.isoformat()


def _zone(name: str) -> Step:
    try:
        return partial(_timezone, ZoneInfo(name))
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise TransformError(f"there is no time zone {name!r}") from error


_STEPS: Final[dict[str, Callable[[Any], Step]]] = {
    "trim": lambda _: _text_step(str.strip),
    "lower": lambda _: _text_step(str.lower),
    "upper": lambda _: _text_step(str.upper),
    "title": lambda _: _text_step(_titled),
    "round": lambda decimals: _item_step(partial(_round, decimals)),
    "scale": lambda factor: _item_step(partial(_scale, factor)),
    "join": lambda separator: partial(_join, separator),
    "count": lambda _: _count,
    "date_format": lambda forms: _item_step(partial(_date_format, (forms,) if isinstance(forms, str) else forms)),
    "timezone": _zone,
    "max_length": lambda most: _text_step(lambda text: text[:most]),
}

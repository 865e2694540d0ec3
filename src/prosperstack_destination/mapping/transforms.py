"""Clean-ups: small steps from what a source gives to what a property takes, in the order that they are written."""

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

from prosperstack_destination.mapping.coercion import CoercionError, moment_of, number_of
from prosperstack_destination.mapping.name_matching import closest

#: The longest text that an array is joined to, in characters: as much as an event may have.
MAX_JOINED: Final = 64 * 1024
#: Puts the items of an array together where no other text is named.
DEFAULT_JOIN: Final = ", "

#: One step: a value to the next. Raises `TransformError`.
Step = Callable[[JsonValue], JsonValue]

_LETTER: Final = "[^\\W\\d_][\u0300-\u036f]*"
_APOSTROPHE: Final = "['\u2019]"
_WORD: Final = re.compile(rf"(?<![^\W_])(?:{_LETTER})+(?:(?:{_APOSTROPHE}|-)(?:{_LETTER})+)*")
#: A word after whose beginning another capital follows: O'Brien, D'Angelo, McDonald; but not I'll and john's.
_PREFIXED: Final = re.compile(rf"((?:{_LETTER}{_APOSTROPHE}|mc)(?=(?:{_LETTER}){{3}}))(.*)", re.IGNORECASE)
#: Words in capitals with fewer letters are taken for abbreviations, as IBM.
_SHOUTED_FROM: Final = 4
_DIRECTIVE: Final = re.compile(r"%(.?)")
_DIRECTIVES: Final = frozenset("aAbBdHIjmMpSfyYzZcxX%")
_TIME_OF_DAY: Final = frozenset("HIMSfpXcz")
#: How others write the parts of a date.
_FOREIGN: Final = {
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


#: The form of a date, as in ``%d/%m/%Y``.
DateForm = Annotated[StrictStr, StringConstraints(min_length=1, max_length=100)]
#: The most forms of one ``date_format``.
MAX_FORMS: Final = 20


class TransformError(ValueError):
    """The value cannot be taken through a clean-up; ``str()`` says why."""


class Transform(BaseModel):
    """One clean-up. On an array, those of text and numbers clean each item."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    trim: Annotated[Literal[True] | None, Field(description="Without spaces at both ends.")] = None
    lower: Annotated[Literal[True] | None, Field(description="In lower case.")] = None
    upper: Annotated[Literal[True] | None, Field(description="In upper case.")] = None
    title: Annotated[
        Literal[True] | None,
        Field(description="Each Word With a Capital; SHOUTED words in small letters, but for IBM."),
    ] = None
    round: Annotated[
        StrictInt | None, Field(ge=-15, le=15, description="To so many decimals (true: none), halves upwards.")
    ] = None
    scale: Annotated[
        float | None, Field(allow_inf_nan=False, description="Times this: 0.01 makes cents a currency amount.")
    ] = None
    join: Annotated[
        StrictStr | None, Field(max_length=100, description="An array to text, with this between (true: a comma).")
    ] = None
    count: Annotated[Literal[True] | None, Field(description="How many items an array has.")] = None
    date_format: Annotated[
        DateForm | tuple[DateForm, ...] | None,
        Field(description="Read text as a date in this form, or in one of a list; ISO dates are read as well."),
    ] = None
    timezone: Annotated[
        StrictStr | None,
        Field(description="The date and time as a clock in this zone shows it, as in Europe/Berlin."),
    ] = None
    max_length: Annotated[StrictInt | None, Field(ge=1, le=100_000, description="At most so many characters.")] = (
        None
    )

    @model_validator(mode="before")
    @classmethod
    def _short(cls, given: object) -> object:
        """``trim`` for ``{trim: true}``, and true for the ordinary argument."""
        if isinstance(given, str):
            given = {given: True}
        if not isinstance(given, dict):
            return given
        for name in given:
            if name not in TRANSFORMS:
                hint = closest(str(name), TRANSFORMS)
                raise ValueError(f"there is no clean-up {name!r}" + (f": did you mean {hint}?" if hint else ""))
        if len(given) != 1:
            raise ValueError("one clean-up an item: write each in a line of its own")
        if None in given.values():
            raise ValueError(f"{next(iter(given))} is there without a value: write one, or take it out")
        defaults: dict[str, object] = {"round": 0, "join": DEFAULT_JOIN}
        return {name: defaults.get(name, True) if value is True else value for name, value in given.items()}

    @field_validator("scale", mode="before")
    @classmethod
    def _number(cls, value: object) -> object:
        if isinstance(value, bool | str):
            raise ValueError("a number is needed, as in 0.01")
        return value

    @field_validator("date_format")
    @classmethod
    def _format(cls, value: str | tuple[str, ...] | None) -> str | tuple[str, ...] | None:
        forms = (value,) if isinstance(value, str) else value
        if forms is not None and not 0 < len(forms) <= MAX_FORMS:
            raise ValueError(f"one form of a date is needed, and {MAX_FORMS} are the most")
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
        """Which clean-up it is."""
        return next(name for name in TRANSFORMS if getattr(self, name) is not None)

    @property
    def argument(self) -> Any:
        """What it is given; True for those that take nothing."""
        return getattr(self, self.name)

    def step(self) -> Step:
        """What it does, as a function."""
        return _STEPS[self.name](self.argument)


TRANSFORMS: Final = tuple(Transform.model_fields)


def _check_format(text: str) -> None:
    if "%" not in text:
        for theirs, ours in _FOREIGN.items():
            text = text.replace(theirs, ours)
        hint = f", as in {text}" if "%" in text else ", as in %d/%m/%Y"
        raise ValueError(f"the parts of a date are written with %{hint}")
    for letter in _DIRECTIVE.findall(text):
        if letter not in _DIRECTIVES or not letter:
            raise ValueError(f"%{letter} is no part of a date: %Y %m %d %H %M %S are, and %b %B %y %p %z")


def _titled(text: str) -> str:
    return _WORD.sub(lambda found: _titled_word(found[0]), text)


def _titled_word(word: str) -> str:
    """A word with a capital, and one in each part that a hyphen divides; what stands in capitals becomes small."""
    if word.isalpha() and word.islower() and not word.startswith("mc"):  # as most are: no need to look any further
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


def _on_text(change: Callable[[str], str]) -> Step:
    def clean(value: JsonValue) -> JsonValue:
        if isinstance(value, str):
            return change(value)
        if isinstance(value, list):
            return [change(item) if isinstance(item, str) else item for item in value]
        return value

    return clean


def _each(step: Step) -> Step:
    def clean(value: JsonValue) -> JsonValue:
        return [step(item) for item in value] if isinstance(value, list) else step(value)

    return clean


def _decimal(value: JsonValue, doing: str) -> Decimal | None:
    """The number that a value is, exactly as it is written; None for null and ""."""
    if type(value) is int:
        return Decimal(value)
    if value is None or value == "":
        return None
    try:
        number = number_of(value)
    except CoercionError as refusal:
        raise TransformError(f"it cannot be {doing}: {refusal}") from None
    return Decimal(str(number))


def _plain(number: Decimal) -> int | float:
    """A number of JSON's; whole ones as int."""
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


def _join(between: str, value: JsonValue) -> JsonValue:
    if not isinstance(value, list):
        return value
    items = [_item(each) for each in value if each is not None]
    if sum(map(len, items)) + len(between) * len(items) > MAX_JOINED:
        raise TransformError("the text would be too long")
    return between.join(items)


def _item(value: JsonValue) -> str:
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
    """A date in the first form that fits, as ISO text; what is a date without any form stays as it is."""
    if value is None or value == "":
        return value
    said = " or ".join(forms)
    if isinstance(value, bool | dict | list):
        raise TransformError(f"it is no text that could be a date of the form {said}")
    text = str(value).strip()
    for form in forms:
        try:
            moment = datetime.strptime(text, form)  # noqa: DTZ007 -- whether there is a zone is the form's
        except ValueError:
            continue
        has_time = _TIME_OF_DAY.intersection(_DIRECTIVE.findall(form))
        return moment.isoformat() if has_time else moment.date().isoformat()
    try:
        moment_of(value)
    except (ValueError, OverflowError):
        raise TransformError(f"it is no date of the form {said}, and no ISO 8601 date either") from None
    return value


def _timezone(zone: ZoneInfo, value: JsonValue) -> JsonValue:
    if value is None or value == "":
        return value
    if isinstance(value, bool | dict | list):
        raise TransformError(_NO_TIME)
    if isinstance(value, str) and _DAY.fullmatch(value.strip()):
        return value  # a day without a time of day is the same in every zone
    try:
        moment = moment_of(value)
        if moment.tzinfo is not None:
            moment = moment.astimezone(zone).replace(tzinfo=None)
    except (ValueError, OverflowError) as fault:
        raise TransformError(f"{_NO_TIME}: {fault}" if isinstance(fault, CoercionError) else _NO_TIME) from None
    return moment.isoformat()


def _zone(name: str) -> Step:
    try:
        return partial(_timezone, ZoneInfo(name))
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise TransformError(f"there is no time zone {name!r}") from error


_STEPS: Final[dict[str, Callable[[Any], Step]]] = {
    "trim": lambda _: _on_text(str.strip),
    "lower": lambda _: _on_text(str.lower),
    "upper": lambda _: _on_text(str.upper),
    "title": lambda _: _on_text(_titled),
    "round": lambda decimals: _each(partial(_round, decimals)),
    "scale": lambda factor: _each(partial(_scale, factor)),
    "join": lambda between: partial(_join, between),
    "count": lambda _: _count,
    "date_format": lambda forms: _each(partial(_date_format, (forms,) if isinstance(forms, str) else forms)),
    "timezone": _zone,
    "max_length": lambda most: _on_text(lambda text: text[:most]),
}

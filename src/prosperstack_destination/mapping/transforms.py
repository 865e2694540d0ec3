"""Transforms: steps between a rule's source and its property, e.g. ``trim`` or ``round``, run in written order."""

from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import partial
from typing import Annotated, Any, Final, Literal
from zoneinfo import ZoneInfo, available_timezones

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

from prosperstack_destination.mapping.coercion import CoercionError
from prosperstack_destination.mapping.date_values import check_format, in_zone, read_in_format, write_date
from prosperstack_destination.mapping.functions import NO_CONTEXT, FunctionContext
from prosperstack_destination.mapping.name_matching import closest
from prosperstack_destination.mapping.number_values import (
    EXACT,
    decimal_mark,
    exact,
    plain,
    read_number,
    round_half_up,
)
from prosperstack_destination.mapping.text_values import (
    HASHES,
    MASK_KEEPS,
    MAX_TEXT,
    hash_text,
    mask,
    replace_all,
    split_text,
    titled,
    yes_or_no,
)

#: Separator of joined items if the rule names none.
DEFAULT_JOIN: Final = ", "

#: One step, from a value to the next. Raises `CoercionError`.
Step = Callable[[JsonValue], JsonValue]

#: Format of a date, e.g. ``%d/%m/%Y``.
DateForm = Annotated[StrictStr, StringConstraints(min_length=1, max_length=100)]
#: Most formats of one ``date_format``.
MAX_FORMS: Final = 20
#: Most parts that one ``replace`` replaces.
MAX_REPLACED: Final = 50
#: Arguments of transforms that are written as true.
DEFAULTS: Final[dict[str, object]] = {
    "round": 0,
    "join": DEFAULT_JOIN,
    "split": ",",
    "hash": "sha256",
    "mask": MASK_KEEPS,
}


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
    replace: Annotated[
        Mapping[Annotated[StrictStr, StringConstraints(min_length=1)], StrictStr] | None,
        Field(max_length=MAX_REPLACED, description="Replace parts of text, e.g. {'-': ''}; one after the other."),
    ] = None
    split: Annotated[
        StrictStr | None,
        Field(
            min_length=1,
            max_length=100,
            description="Split text at this (true: a comma) into an array.",
        ),
    ] = None
    number: Annotated[
        Literal[True] | StrictStr | None,
        Field(
            description="Read a number as people write it, e.g. $1,299.00; a locale such as de says what its "
            "points and commas mean."
        ),
    ] = None
    yes_no: Annotated[
        Literal[True] | None, Field(description="Read yes, no, on, off, y, n and the like as a boolean.")
    ] = None
    round: Annotated[
        StrictInt | None,
        Field(ge=-15, le=15, description="Round half up to this many decimals (true: 0)."),
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
        Field(description="Convert a date and time to the local time of this zone, e.g. Europe/Berlin."),
    ] = None
    format_date: Annotated[DateForm | None, Field(description="Write a date in this format, e.g. %d.%m.%Y.")] = None
    hash: Annotated[
        Literal["sha256", "hmac", "sha1", "md5"] | None,
        Field(description="Replace text by its hash (true: sha256); hmac uses a secret of the account."),
    ] = None
    mask: Annotated[
        StrictInt | None,
        Field(ge=0, le=100, description="Replace letters and digits by *, except the last N (true: 4)."),
    ] = None
    max_length: Annotated[
        StrictInt | None, Field(ge=1, le=100_000, description="Truncate to this many characters.")
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
            raise ValueError("each item of `clean` must have exactly one transform: put each on its own line")
        if None in data.values():
            raise ValueError(f"{next(iter(data))} has no value: write one, or remove the key")
        return {name: DEFAULTS.get(name, True) if value is True else value for name, value in data.items()}

    @field_validator("scale", mode="before")
    @classmethod
    def _number(cls, value: object) -> object:
        if isinstance(value, bool | str):
            raise ValueError("write a number, e.g. 0.01")
        return value

    @field_validator("number")
    @classmethod
    def _locale(cls, value: bool | str | None) -> bool | str | None:
        if isinstance(value, str):
            decimal_mark(value)
        return value

    @field_validator("hash", mode="before")
    @classmethod
    def _method(cls, value: object) -> object:
        if value is not None and value not in HASHES:
            hint = closest(str(value), HASHES)
            raise ValueError(f"there is no hash {str(value)[:20]!r}" + (f": did you mean {hint}?" if hint else ""))
        return value

    @field_validator("format_date")
    @classmethod
    def _written_format(cls, value: str | None) -> str | None:
        if value is not None:
            check_format(value)
        return value

    @field_validator("date_format")
    @classmethod
    def _format(cls, value: str | tuple[str, ...] | None) -> str | tuple[str, ...] | None:
        forms = (value,) if isinstance(value, str) else value
        if forms is not None and not 0 < len(forms) <= MAX_FORMS:
            raise ValueError(f"write 1 to {MAX_FORMS} formats of a date, e.g. %d/%m/%Y")
        for each in forms or ():
            check_format(each)
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
        argument = dict(argument) if isinstance(argument, Mapping) else argument
        return self.name if argument is True else {self.name: argument}

    @property
    def name(self) -> str:
        """Return the name of the transform."""
        return next(name for name in TRANSFORMS if getattr(self, name) is not None)

    @property
    def argument(self) -> Any:
        """Return the argument; True for transforms without one."""
        return getattr(self, self.name)

    def step(self, context: FunctionContext = NO_CONTEXT) -> Step:
        """Return the transform as a function; ``context`` has the account's time zone and secret."""
        return _STEPS[self.name](self.argument, context)


TRANSFORMS: Final = tuple(Transform.model_fields)
#: Transforms that only take true, and those that do not take it.
WITHOUT_ARGUMENT: Final = frozenset({"trim", "lower", "upper", "title", "count", "yes_no"})
WITH_ARGUMENT: Final = frozenset({"replace", "scale", "date_format", "timezone", "format_date", "max_length"})


def expand_short_forms(data: object) -> object:
    """Move transforms that are keys of a rule itself into ``clean``, in their order. Raises `ValueError`."""
    if not isinstance(data, dict):
        return data
    if isinstance(data.get("clean"), str):
        data = {**data, "clean": [data["clean"]]}
    short = [name for name in data if name in TRANSFORMS]
    if not short:
        return data
    if "clean" in data:
        raise ValueError(f"{short[0]} and clean are both in the rule: put all transforms into clean, in order")
    rest = {name: value for name, value in data.items() if name not in TRANSFORMS}
    return rest | {"clean": [{name: data[name]} for name in short if not _is_off(data[name])]}


def _is_off(argument: object) -> bool:
    """Return whether a transform is switched off; ``round: 0`` is not."""
    return argument is None or argument is False


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
    if value is None or value == "":
        return None
    try:
        return exact(value)
    except CoercionError as error:
        raise CoercionError(f"it cannot be {doing}: {error}") from None


def _round(decimals: int, value: JsonValue) -> JsonValue:
    number = _decimal(value, "rounded")
    return value if number is None else plain(round_half_up(number, decimals))


def _scale(factor: float, value: JsonValue) -> JsonValue:
    number = _decimal(value, "scaled")
    return value if number is None else plain(EXACT.multiply(number, Decimal(str(factor))))


def _join(separator: str, value: JsonValue) -> JsonValue:
    if not isinstance(value, list):
        return value
    items = [_joined_item(item) for item in value if item is not None]
    if sum(map(len, items)) + len(separator) * len(items) > MAX_TEXT:
        raise CoercionError("the text would be too long")
    return separator.join(items)


def _joined_item(value: JsonValue) -> str:
    if isinstance(value, dict | list):
        raise CoercionError("its items cannot be joined: one is an object or an array itself")
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _count(value: JsonValue) -> JsonValue:
    if value is None:
        return None
    if not isinstance(value, list | dict):
        raise CoercionError("only the items of an array can be counted")
    return len(value)


def _present_step(change: Callable[[Any], JsonValue]) -> Step:
    """Return a step that changes single values; null and "" stay."""
    return _item_step(lambda value: value if value is None or value == "" else change(value))


def _read_number(locale: str | bool, value: JsonValue) -> JsonValue:
    return read_number(value, locale if isinstance(locale, str) else None)


def _split(separator: str, value: JsonValue) -> JsonValue:
    return [*split_text(value, separator)] if isinstance(value, str) else value


def _hash(context: FunctionContext, method: str, value: JsonValue) -> JsonValue:
    if isinstance(value, dict | list):
        raise CoercionError("only a single value can be hashed")
    return hash_text(str(_joined_item(value)), method, context.secret)


def _mask(keep: int, value: JsonValue) -> JsonValue:
    return mask(_joined_item(value), keep)


#: The step of each transform, from its argument and the account's context.
_STEPS: Final[dict[str, Callable[[Any, FunctionContext], Step]]] = {
    "trim": lambda _argument, _: _text_step(str.strip),
    "lower": lambda _argument, _: _text_step(str.lower),
    "upper": lambda _argument, _: _text_step(str.upper),
    "title": lambda _argument, _: _text_step(titled),
    "replace": lambda table, _: _text_step(partial(replace_all, table)),
    "split": lambda separator, _: partial(_split, separator),
    "number": lambda locale, _: _present_step(partial(_read_number, locale)),
    "yes_no": lambda _argument, _: _present_step(yes_or_no),
    "round": lambda decimals, _: _item_step(partial(_round, decimals)),
    "scale": lambda factor, _: _item_step(partial(_scale, factor)),
    "join": lambda separator, _: partial(_join, separator),
    "count": lambda _argument, _: _count,
    "date_format": lambda forms, _: _item_step(
        partial(read_in_format, (forms,) if isinstance(forms, str) else forms)
    ),
    "timezone": lambda name, _: _item_step(partial(in_zone, ZoneInfo(name))),
    "format_date": lambda form, context: _present_step(partial(write_date, context.zone, form)),
    "hash": lambda method, context: _present_step(partial(_hash, context, method)),
    "mask": lambda keep, _: _present_step(partial(_mask, keep)),
    "max_length": lambda most, _: _text_step(lambda text: text[:most]),
}

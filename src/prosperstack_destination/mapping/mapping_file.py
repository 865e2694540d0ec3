"""The mapping file: YAML 1.2 (and so JSON too), whose faults are told by line and key."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from itertools import islice
from typing import Annotated, Any, Final

from pydantic import Field, JsonValue, StrictInt, ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML

from prosperstack_destination.errors import MappingError
from prosperstack_destination.mapping.catalog import Catalog
from prosperstack_destination.mapping.name_matching import closest
from prosperstack_destination.mapping.rules import SUBSCRIPTION, Rule, Rules, dump_rules
from prosperstack_destination.mapping.transforms import TRANSFORMS, Transform
from prosperstack_destination.mapping.yaml_reader import Document, Path, Place, YamlError, read_yaml
from prosperstack_destination.storable import storable

#: The most faults that are told at once.
MAX_FAULTS: Final = 50


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong in a mapping."""

    #: The keys that lead to it, as in ``rules[2].from``; "" for the whole.
    key: str
    #: What is wrong, and what would be right.
    message: str
    #: Where it stands in the text, counted from 1; None where there is no text.
    place: Place | None = None

    def __str__(self) -> str:
        return f"{self.key}: {self.message}" if self.key else self.message


class InvalidMapping(MappingError):
    """A mapping that cannot be applied, with all its faults."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("\n".join(map(str, faults)))
        self.faults = tuple(faults)


class MappingFile(Rules):
    """What a mapping file may have."""

    schema_: Annotated[str | None, Field(alias="$schema", description="For editors.")] = None
    based_on: Annotated[
        StrictInt | None,
        Field(
            ge=0,
            description="The version that this one was made from. If another one is in force by then, applying "
            "this one is refused, so that nobody undoes what somebody else did meanwhile.",
        ),
    ] = None


@dataclass(frozen=True, slots=True)
class KnownProperties:
    """The properties that an account has; None: not listed yet."""

    subscriber: Catalog | None = None
    subscription: Catalog | None = None
    #: How long ago they were listed, in seconds; None: not known.
    listed_seconds_ago: float | None = None


@dataclass(frozen=True, slots=True)
class ParsedMapping:
    """A mapping that was read."""

    rules: Rules
    #: The version that it says it is based on.
    based_on: int | None
    #: Rules for properties that the account does not have.
    unknown: tuple[Fault, ...]


def read_mapping(text: str, known: KnownProperties = KnownProperties()) -> ParsedMapping:
    """Read a mapping file. Raises `InvalidMapping`, with every fault that there is.

    Properties that are not known are told apart from faults: they may come to be.
    """
    try:
        document = read_yaml(text)
    except YamlError as error:
        raise InvalidMapping([Fault("", str(error), error.place)]) from None
    return _validated(document.data, known, document)


def check_mapping(data: JsonValue, known: KnownProperties = KnownProperties()) -> ParsedMapping:
    """The same for a mapping that comes as data, by the API."""
    return _validated(data, known, None)


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a mapping file: editors complete and check by it."""
    schema = MappingFile.model_json_schema(by_alias=True)
    transform, rule = schema["$defs"][Transform.__name__], schema["$defs"][Rule.__name__]
    for name, each in transform["properties"].items():
        each.pop("default", None)
        if name in ("round", "join"):
            each["anyOf"].append({"const": True})
        rule["properties"][name] = {
            **each,
            "description": f"{each['description']} Clean-ups run as they are written.",
        }
    alone = [name for name in TRANSFORMS if name not in ("scale", "date_format", "timezone", "max_length")]
    one = {**transform, "minProperties": 1, "maxProperties": 1}
    schema["$defs"][Transform.__name__] = {"anyOf": [{"enum": alone}, one]}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def as_yaml(rules: Rules) -> str:
    """Rules as a mapping file."""
    content = json.loads(dump_rules(rules))
    out = StringIO()
    yaml = YAML(pure=True)
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.width = 110
    yaml.dump({**content, "rules": content.get("rules", [])}, out)
    return out.getvalue()


def _validated(data: JsonValue, known: KnownProperties, document: Document | None) -> ParsedMapping:
    data = storable(data)  # names of traits too: they are compared with those of calls, which are made so as well
    unknown = [
        Fault(_shown(path), message, _place(document, path))
        for path, message in islice(_unknown_properties(data, known), MAX_FAULTS)
    ]
    try:
        file = MappingFile.model_validate({} if data is None else data)
    except ValidationError as error:
        faults = [*_faults(error.errors(include_url=False), data, document), *unknown]
        raise InvalidMapping(sorted(faults, key=lambda fault: fault.place or Place(0, 0))) from None
    rules = Rules.model_validate(
        {name: getattr(file, name) for name in Rules.model_fields if name in file.model_fields_set}
    )
    return ParsedMapping(rules, file.based_on, tuple(unknown))


def _unknown_properties(data: object, known: KnownProperties) -> Iterator[tuple[Path, str]]:
    """Paths to properties that the account does not have; also in a mapping that has other faults as well."""
    rules = data.get("rules") if isinstance(data, Mapping) else None
    age = _age(known.listed_seconds_ago)
    for number, rule in enumerate(rules if isinstance(rules, Sequence) else ()):
        named = rule.get("property") if isinstance(rule, Mapping) else None
        if not isinstance(named, str) or not named:
            continue
        of_subscription = named.startswith(SUBSCRIPTION)
        catalog = known.subscription if of_subscription else known.subscriber
        key = named.removeprefix(SUBSCRIPTION)
        if catalog is not None and catalog.get(key) is None:
            yield ("rules", number, "property"), _unknown(named, key, catalog, of_subscription) + age


def _unknown(shown: str, key: str, catalog: Catalog, of_subscription: bool) -> str:
    entity = "subscription" if of_subscription else "subscriber"
    prefix = SUBSCRIPTION if of_subscription else ""
    said = f"the account has no {entity} property {shown!r}"
    for each in catalog:
        if key.casefold() == each.name.casefold():
            return f"{said}: the key of the property named {each.name!r} is {prefix}{each.key}"
    close = closest(key, (each.key for each in catalog))
    if close is not None:
        return f"{said}: did you mean {prefix}{close}?"
    every = ", ".join(prefix + each.key for each in catalog)
    return f"{said}: it has {every[:300]}" if every else f"{said}, nor any other: create it in ProsperStack first"


def _age(seconds: float | None) -> str:
    """How old the list of properties is, in words."""
    if seconds is None:
        return ""
    if seconds < 120:
        ago = f"{max(seconds, 0):.0f} s"
    else:
        ago = f"{seconds / 60:.0f} min" if seconds < 7_200 else f"{seconds / 3_600:,.0f} h"
    return f" (its properties were listed {ago} ago)"


def _faults(errors: Sequence[ErrorDetails], data: object, document: Document | None) -> Iterator[Fault]:
    """One fault for each place: what several alternatives say of one value is said once."""
    by_path: dict[Path, list[ErrorDetails]] = {}
    for error in errors:
        path = _resolved(error, data)
        by_path.setdefault(path, []).append(error)
    for path, found in list(by_path.items())[:MAX_FAULTS]:
        yield Fault(_shown(path), _message(path, found), _place(document, path))


def _resolved(error: ErrorDetails, data: object) -> Path:
    """The part of the data that an error is about: its location, without what is not written there."""
    location = list(error["loc"])
    if error["type"] == "two_rules":
        location = ["rules", error.get("ctx", {})["rule"], "property"]
    path: list[str | int] = []
    while location:
        step = location.pop(0)
        if isinstance(data, Mapping) and step == "clean" and step not in data and len(location) >= 2:
            step = location[1]  # a clean-up that stands in the rule itself
            location = []
        inner = _inner(data, step)
        if inner is _MISSING:
            break
        path.append(step)
        data = inner
    if error["type"] == "missing":
        path = path[: len(error["loc"]) - 1]
    return tuple(path)


_MISSING: Final = object()


def _inner(data: object, step: str | int) -> object:
    if isinstance(data, Mapping):
        return data.get(step, _MISSING)
    if isinstance(data, Sequence) and not isinstance(data, str) and isinstance(step, int):
        return data[step] if step < len(data) else _MISSING
    return _MISSING


def _message(path: Path, errors: Sequence[ErrorDetails]) -> str:
    first = errors[0]
    kind, said = first["type"], first["msg"]
    if kind == "extra_forbidden":
        close = closest(str(path[-1]), _keys_at(path[:-1]))
        return f"there is no key {path[-1]!r} here" + (f": did you mean {close}?" if close else "")
    if kind == "missing":
        return f"{first['loc'][-1]} is missing: each rule names the property that it is for"
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        return f"keys and values are needed here, as in `{_example(path)}`"
    if kind in ("tuple_type", "list_type"):
        return "a list is needed here, each item in a line of its own that begins with '- '"
    if len(errors) > 1:
        return "one value is needed here: text, a number, true or false"
    said = said.removeprefix("Value error, ").replace("Input should be a valid string", "text is needed here")
    return said.replace("Input should be", "it has to be")


def _example(path: Path) -> str:
    return "property: plan" if path[:1] == ("rules",) else "rules: […]"


def _keys_at(path: Path) -> list[str]:
    if not path:
        return [field.alias or name for name, field in MappingFile.model_fields.items()]
    if len(path) == 2 and path[0] == "rules":
        return [*(field.alias or name for name, field in Rule.model_fields.items()), *TRANSFORMS]
    return list(TRANSFORMS)


def _shown(path: Path) -> str:
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def _place(document: Document | None, path: Path) -> Place | None:
    return None if document is None else document.place(path)

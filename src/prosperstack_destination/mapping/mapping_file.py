"""Mapping file: reads and checks a mapping in YAML 1.2 or JSON, and reports faults by line and key."""

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
from prosperstack_destination.mapping.call_rules import ConsentRule, EmailRule
from prosperstack_destination.mapping.catalog import Catalog
from prosperstack_destination.mapping.name_matching import closest
from prosperstack_destination.mapping.rules import SUBSCRIPTION, Rule, Rules, dump_rules
from prosperstack_destination.mapping.transforms import DEFAULTS, TRANSFORMS, WITH_ARGUMENT, Transform
from prosperstack_destination.mapping.yaml_reader import Document, Path, Place, YamlError, read_yaml
from prosperstack_destination.storable_text import storable

#: Most faults in one report.
MAX_FAULTS: Final = 50


@dataclass(frozen=True, slots=True)
class Fault:
    """One error in a mapping."""

    #: Path to the fault, e.g. ``rules[2].from``; "" for the whole mapping.
    key: str
    #: Error, and what to write instead.
    message: str
    #: Line and column in the text, counted from 1; None for a mapping that is not text.
    place: Place | None = None

    def __str__(self) -> str:
        return f"{self.key}: {self.message}" if self.key else self.message


class InvalidMapping(MappingError):
    """A mapping cannot be applied; ``faults`` lists all errors."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("\n".join(map(str, faults)))
        self.faults = tuple(faults)


class MappingFile(Rules):
    """Content of a mapping file."""

    schema_: Annotated[str | None, Field(alias="$schema", description="The file's JSON Schema, for editors.")] = (
        None
    )
    based_on: Annotated[
        StrictInt | None,
        Field(
            ge=0,
            description="The version that this mapping is based on. If another version is in force, applying this "
            "mapping is refused, so that it does not undo changes that were made in the meantime.",
        ),
    ] = None


@dataclass(frozen=True, slots=True)
class KnownProperties:
    """Catalogs of an account; None if the properties were not listed yet."""

    subscriber: Catalog | None = None
    subscription: Catalog | None = None
    #: Age of the catalogs in seconds; None if unknown.
    listed_seconds_ago: float | None = None


@dataclass(frozen=True, slots=True)
class ParsedMapping:
    """A checked mapping."""

    rules: Rules
    #: Version in ``based_on``.
    based_on: int | None
    #: Faults of rules for properties that the account lacks.
    unknown: tuple[Fault, ...]


def read_mapping(text: str, known: KnownProperties = KnownProperties()) -> ParsedMapping:
    """Read a mapping file. Raises `InvalidMapping` with all its faults.

    Unknown properties alone raise nothing, because they may be created later: `ParsedMapping.unknown` lists them.
    """
    try:
        document = read_yaml(text)
    except YamlError as error:
        raise InvalidMapping([Fault("", str(error), error.place)]) from None
    return _validated(document.data, known, document)


def check_mapping(data: JsonValue, known: KnownProperties = KnownProperties()) -> ParsedMapping:
    """Check a mapping that the API receives as data. Raises `InvalidMapping` as `read_mapping` does."""
    return _validated(data, known, None)


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a mapping file, by which editors complete and check it."""
    schema = MappingFile.model_json_schema(by_alias=True)
    transform, rule = schema["$defs"][Transform.__name__], schema["$defs"][Rule.__name__]
    for name, each in transform["properties"].items():
        each.pop("default", None)
        if name in DEFAULTS:
            each["anyOf"].append({"const": True})
        rule["properties"][name] = {
            **each,
            "description": f"{each['description']} Transforms run in the order in which they are written.",
        }
    plain = [name for name in TRANSFORMS if name not in WITH_ARGUMENT]
    with_argument = {**transform, "minProperties": 1, "maxProperties": 1}
    schema["$defs"][Transform.__name__] = {"anyOf": [{"enum": plain}, with_argument]}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def as_yaml(rules: Rules) -> str:
    """Return rules as the text of a mapping file."""
    content = json.loads(dump_rules(rules))
    out = StringIO()
    yaml = YAML(pure=True)
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.width = 110
    yaml.dump({**content, "rules": content.get("rules", [])}, out)
    return out.getvalue()


def _validated(data: JsonValue, known: KnownProperties, document: Document | None) -> ParsedMapping:
    data = storable(data)  # as calls are, so that names of traits in rules match those in calls
    unknown = [
        Fault(_path_text(path), message, _place(document, path))
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
    """Yield path and message for each property that the account lacks, even if the mapping has other faults."""
    rules = data.get("rules") if isinstance(data, Mapping) else None
    age = _age(known.listed_seconds_ago)
    for number, rule in enumerate(rules if isinstance(rules, Sequence) else ()):
        key_with_prefix = rule.get("property") if isinstance(rule, Mapping) else None
        if not isinstance(key_with_prefix, str) or not key_with_prefix:
            continue
        of_subscription = key_with_prefix.startswith(SUBSCRIPTION)
        catalog = known.subscription if of_subscription else known.subscriber
        key = key_with_prefix.removeprefix(SUBSCRIPTION)
        if catalog is not None and catalog.get(key) is None:
            yield ("rules", number, "property"), _unknown(key_with_prefix, key, catalog, of_subscription) + age


def _unknown(name: str, key: str, catalog: Catalog, of_subscription: bool) -> str:
    entity = "subscription" if of_subscription else "subscriber"
    prefix = SUBSCRIPTION if of_subscription else ""
    message = f"the account has no {entity} property {name!r}"
    for prop in catalog:
        if key.casefold() == prop.name.casefold():
            return f"{message}: the key of the property named {prop.name!r} is {prefix}{prop.key}"
    similar = closest(key, (prop.key for prop in catalog))
    if similar is not None:
        return f"{message}: did you mean {prefix}{similar}?"
    keys = ", ".join(prefix + prop.key for prop in catalog)
    return f"{message}: it has {keys[:300]}" if keys else f"{message}, nor any other: create it in ProsperStack"


def _age(seconds: float | None) -> str:
    """Return the age of the catalog in words."""
    if seconds is None:
        return ""
    if seconds < 120:
        ago = f"{max(seconds, 0):.0f} s"
    else:
        ago = f"{seconds / 60:.0f} min" if seconds < 7_200 else f"{seconds / 3_600:,.0f} h"
    return f" (its properties were listed {ago} ago)"


def _faults(errors: Sequence[ErrorDetails], data: object, document: Document | None) -> Iterator[Fault]:
    """Yield one fault for each path, though each alternative of a union reports an error."""
    by_path: dict[Path, list[ErrorDetails]] = {}
    for error in errors:
        path = _path_to(error, data)
        by_path.setdefault(path, []).append(error)
    for path, found in list(by_path.items())[:MAX_FAULTS]:
        yield Fault(_path_text(path), _message(path, found), _place(document, path))


def _path_to(error: ErrorDetails, data: object) -> Path:
    """Return the path to the data that an error is about: its location without pydantic's own steps."""
    location = list(error["loc"])
    if error["type"] == "two_rules":
        location = ["rules", error.get("ctx", {})["rule"], "property"]
    path: list[str | int] = []
    while location:
        step = location.pop(0)
        if isinstance(data, Mapping) and step == "clean" and step not in data and len(location) >= 2:
            step = location[1]  # a transform that is a key of the rule itself
            location = []
        child = _child(data, step)
        if child is _MISSING:
            break
        path.append(step)
        data = child
    if error["type"] == "missing":
        path = path[: len(error["loc"]) - 1]
    return tuple(path)


_MISSING: Final = object()


def _child(data: object, step: str | int) -> object:
    if isinstance(data, Mapping):
        return data.get(step, _MISSING)
    if isinstance(data, Sequence) and not isinstance(data, str) and isinstance(step, int):
        return data[step] if step < len(data) else _MISSING
    return _MISSING


def _message(path: Path, errors: Sequence[ErrorDetails]) -> str:
    first = errors[0]
    kind, message = first["type"], first["msg"]
    if kind == "extra_forbidden":
        similar = closest(str(path[-1]), _keys_at(path[:-1]))
        return f"there is no key {path[-1]!r} here" + (f": did you mean {similar}?" if similar else "")
    if kind == "missing":
        missing = first["loc"][-1]
        what = "the categories, as a list" if missing == "required_categories" else "the key of the property"
        return f"{missing} is missing: add {what}"
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        return f"write keys and values here, e.g. `{_example(path)}`"
    if kind in ("tuple_type", "list_type"):
        return "write a list here, each item in a line of its own that begins with '- '"
    if len(errors) > 1:
        return "write one value here: text, a number, true or false"
    message = message.removeprefix("Value error, ").replace("Input should be a valid string", "write text here")
    return message.replace("Input should be", "the value must be")


def _example(path: Path) -> str:
    return "property: plan" if path[:1] == ("rules",) else "rules: […]"


def _keys_at(path: Path) -> list[str]:
    if not path:
        return [field.alias or name for name, field in MappingFile.model_fields.items()]
    if len(path) == 2 and path[0] == "rules":
        return [*(field.alias or name for name, field in Rule.model_fields.items()), *TRANSFORMS]
    if path == ("consent",):
        return list(ConsentRule.model_fields)
    if path == ("email",):
        return [*(field.alias or name for name, field in EmailRule.model_fields.items()), *TRANSFORMS]
    return list(TRANSFORMS)


def _path_text(path: Path) -> str:
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def _place(document: Document | None, path: Path) -> Place | None:
    return None if document is None else document.place(path)

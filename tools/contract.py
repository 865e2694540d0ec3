"""The contract with callers, as data: routes, commands, metrics and the database's schema.

`python -m tools.contract` writes it to ``tests/contracts/``, and ``tests/test_contract.py`` compares. Texts for
people (descriptions, help, titles) and the names of OpenAPI schemas are left out: they may change without breaking
a caller.
"""

import json
from pathlib import Path
from typing import Any, Final

from prometheus_client.metrics import MetricWrapperBase
from pydantic import SecretStr
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg as postgresql_dialect
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite as sqlite_dialect
from sqlalchemy.schema import CreateIndex, CreateTable, DDLElement
from typer.main import get_command

from prosperstack_destination.app import create_app
from prosperstack_destination.cli import LazyCommand
from prosperstack_destination.cli import app as commands
from prosperstack_destination.observability.metrics import Metrics
from prosperstack_destination.settings import Settings
from prosperstack_destination.store.tables.base import metadata

FOLDER: Final = Path(__file__).parents[1] / "tests" / "contracts"
#: Keys of the OpenAPI document that hold texts for people.
_TEXTS: Final = frozenset({"description", "title", "example", "examples", "default"})


def contract() -> dict[str, Any]:
    """Return every part of the contract by the name of its file, as plain JSON data."""
    return {
        "routes": _routes(),
        "commands": _command(get_command(commands)),
        "metrics": _metrics(),
        "tables": _tables(),
    }


def text_of(part: Any) -> str:
    """Return a part as the text of its file."""
    return json.dumps(part, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _routes() -> Any:
    document = create_app(Settings(_env_file=None, secret_key=SecretStr("x" * 32))).openapi()
    schemas = document["components"]["schemas"]
    return {
        f"{method.upper()} {path}": _operation(operation, schemas)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    }


def _operation(operation: dict[str, Any], schemas: dict[str, Any]) -> Any:
    shown: dict[str, Any] = {
        status: _content(answer, schemas) if status.startswith("2") else "error"
        for status, answer in operation["responses"].items()
    }
    if "requestBody" in operation:
        shown["body"] = _content(operation["requestBody"], schemas)
    for each in operation.get("parameters", ()):
        mark = "" if each.get("required") else "?"
        shown[f"{each['in']} {each['name']}{mark}"] = _shape(each.get("schema", {}), schemas, ())
    return shown


def _content(holder: dict[str, Any], schemas: dict[str, Any]) -> Any:
    return {kind: _shape(each.get("schema", {}), schemas, ()) for kind, each in holder.get("content", {}).items()}


def _shape(schema: dict[str, Any], schemas: dict[str, Any], within: tuple[str, ...]) -> Any:
    """Return a schema in short: ``?`` marks optional fields, a list holds the shape of its items."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return "recursive" if name in within else _shape(schemas[name], schemas, (*within, name))
    if "anyOf" in schema:
        shapes = [_shape(each, schemas, within) for each in schema["anyOf"]]
        return " | ".join(shapes) if all(isinstance(each, str) for each in shapes) else {"any of": shapes}
    if "properties" in schema:
        required = schema.get("required", ())
        return {
            name if name in required else f"{name}?": _shape(each, schemas, within)
            for name, each in schema["properties"].items()
        }
    if schema.get("type") == "array":
        return [_shape(schema.get("items", {}), schemas, within)]
    limits = {key: schema[key] for key in sorted(schema) if key not in _TEXTS | {"type"}}
    return " ".join([schema.get("type", "any"), *(f"{key}={_limit(value)}" for key, value in limits.items())])


def _limit(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _command(command: Any) -> Any:
    if isinstance(command, LazyCommand):
        command = command.load()
    if hasattr(command, "commands"):
        return {name: _command(each) for name, each in command.commands.items()}
    return [
        {"names": sorted([*each.opts, *each.secondary_opts]), "required": each.required, "values": each.nargs}
        for each in command.params
    ]


def _metrics() -> Any:
    # The library shows the labels of a metric only once it has a sample.
    collectors = [each for each in vars(Metrics()).values() if isinstance(each, MetricWrapperBase)]
    return {
        family.name: {"type": family.type, "labels": sorted(each._labelnames)}
        for each in collectors
        for family in each.describe()
    }


def _tables() -> Any:
    statements: list[DDLElement] = []
    for table in metadata.sorted_tables:
        indexes = sorted(table.indexes, key=lambda index: str(index.name))
        statements += [CreateTable(table), *map(CreateIndex, indexes)]
    dialects = {"sqlite": sqlite_dialect(), "postgresql": postgresql_dialect()}  # type: ignore[no-untyped-call] # SQLAlchemy left it so
    return {
        engine: [" ".join(str(each.compile(dialect=dialect)).split()) for each in statements]
        for engine, dialect in dialects.items()
    }


if __name__ == "__main__":
    for name, part in contract().items():
        (FOLDER / f"{name}.json").write_text(text_of(part))

"""Generate docs/reference/api.md from the OpenAPI document, so that the two cannot differ."""

import sys
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from prosperstack_destination.app import create_app
from prosperstack_destination.settings import Settings

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "api.md"
_HEAD = """# API reference

Written by `make docs` from the OpenAPI document. The service has it at `/openapi.json`, and to try out at `/docs`.
"""


def reference(document: dict[str, Any]) -> str:
    """Return the page for an OpenAPI document."""
    lines = [_HEAD]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            lines += _operation(method, path, operation)
    lines += ["## Schemas", ""]
    for name, schema in sorted(document["components"]["schemas"].items()):
        lines += _schema(name, schema)
    return "\n".join(lines).rstrip() + "\n"


def _operation(method: str, path: str, operation: dict[str, Any]) -> list[str]:
    text = operation.get("description") or operation.get("summary", "")
    lines = [f"## `{method.upper()} {path}`", "", text.strip(), ""]
    parameters = operation.get("parameters", [])
    if parameters:
        lines += ["| parameter | in | |", "|---|---|---|"]
        lines += [f"| `{each['name']}` | {each['in']} | {each.get('description', '')} |" for each in parameters]
        lines.append("")
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    if body:
        lines += [f"Body: {_type(body)}.", ""]
    lines += ["| answer | | body |", "|---|---|---|"]
    for status, answer in sorted(operation.get("responses", {}).items()):
        schema = answer.get("content", {}).get("application/json", {}).get("schema")
        lines.append(f"| `{status}` | {answer.get('description', '')} | {_type(schema) if schema else ''} |")
    return [*lines, ""]


def _schema(name: str, schema: dict[str, Any]) -> list[str]:
    lines = [f"### {name}", "", (schema.get("description") or "").strip(), ""]
    fields = schema.get("properties", {})
    if fields:
        lines += ["| field | type | |", "|---|---|---|"]
        lines += [
            f"| `{field}` | {_type(each)} | {(each.get('description') or '').replace(chr(10), ' ')} |"
            for field, each in fields.items()
        ]
        lines.append("")
    return lines


def _type(schema: dict[str, Any]) -> str:
    """Return the type of a schema in short."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return " or ".join(dict.fromkeys(_type(each) for each in schema[several]))
    if schema.get("type") == "array":
        return f"array of {_type(schema.get('items', {}))}"
    return str(schema.get("type", schema.get("const", "any")))


def current() -> str:
    """Return the page for the current service."""
    app = create_app(Settings(_env_file=None, secret_key=SecretStr("nothing is kept with it")))
    return reference(app.openapi())


if __name__ == "__main__":
    PAGE.write_text(current())
    sys.stdout.write(f"wrote {PAGE}\n")

"""Who may import whom: imports run the way that data runs, and never back."""

import ast
from dataclasses import is_dataclass
from enum import Enum
from importlib import import_module
from inspect import isfunction, ismodule
from pathlib import Path

import pytest
from pydantic import BaseModel

import prosperstack_destination

SOURCE = Path(prosperstack_destination.__file__).parent
PACKAGE = "prosperstack_destination"

#: What each part may import of the others. A new module or package has to be given its place here.
MAY_IMPORT: dict[str, set[str]] = {
    # Known to all.
    "__init__": set(),
    "errors": set(),
    "clock": set(),
    "background": {"errors"},
    "proxy_headers": set(),
    "caches": {"background", "clock", "errors"},
    "storable_text": set(),
    "call_facts": set(),
    "aiohttp_transport": set(),
    "http_client": {"__init__", "aiohttp_transport", "storable_text"},
    "emails": {"storable_text"},
    # The pure middle and the edges that it does not know.
    "mapping": {"call_facts", "storable_text", "errors"},
    "store": {"call_facts", "storable_text", "errors", "clock", "background"},
    "prosperstack": {"storable_text", "http_client", "errors", "clock"},
    "http_responses": {"http_client", "errors", "store"},
    "account_mapping": {"errors", "clock", "mapping", "store", "prosperstack"},
    "auth": {"caches", "errors", "clock", "proxy_headers", "mapping", "store", "prosperstack", "account_mapping"},
    "reconcile": {
        "call_facts",
        "errors",
        "clock",
        "emails",
        "background",
        "mapping",
        "store",
        "prosperstack",
        "account_mapping",
    },
    "ingest": {
        *("storable_text", "errors", "clock", "emails", "proxy_headers", "logs", "mapping", "store", "auth"),
        *("http_responses", "account_mapping"),
    },
    "cancel_flow": {
        *("caches", "storable_text", "errors", "clock", "emails", "background", "mapping", "store", "auth"),
        *("ingest", "account_mapping", "http_responses"),
    },
    "observability": {
        *("storable_text", "__init__", "errors", "clock", "background", "logs", "store"),
    },
    "health": {"background", "errors", "store"},
    "middleware": {"http_responses", "logs", "storable_text", "observability"},
    "segment_api": {"caches", "storable_text", "http_client", "errors", "clock", "store", "auth"},
    "admin": {
        *("caches", "errors", "clock", "emails", "mapping", "store", "prosperstack", "auth", "reconcile", "ingest"),
        *("segment_api", "account_mapping", "background", "proxy_headers", "http_client"),
    },
    "file_import": {
        *("storable_text", "errors", "clock", "mapping", "store", "prosperstack", "reconcile", "ingest"),
        "account_mapping",
    },
    # The faces: `admin` is their door, and of the parts behind it they know values (`VALUES_OF`).
    "api": {"admin", "background", "clock", "errors", "http_client", "http_responses", "storable_text"},
    "dashboard": {
        *("__init__", "admin", "background", "caches", "clock", "errors", "proxy_headers", "http_client"),
        *("http_responses", "storable_text"),
    },
    "api_docs": {"dashboard"},
    # The composition root.
    "settings": {"errors", "auth"},
    "logs": {"auth", "settings"},
    "settings_vault": {"errors", "settings", "store", "auth"},
    "components": {
        *("clock", "settings", "store", "prosperstack", "auth", "reconcile", "ingest", "cancel_flow"),
        *("observability", "admin", "dashboard"),
    },
    "bootstrap": {
        *("components", "caches", "__init__", "errors", "clock", "settings", "settings_vault"),
        *("store", "prosperstack", "auth", "reconcile", "ingest", "cancel_flow", "observability"),
        *("admin", "segment_api", "dashboard", "account_mapping", "http_client"),
    },
    "lifecycle": {
        *(
            "__init__",
            "account_mapping",
            "admin",
            "auth",
            "background",
            "components",
            "clock",
            "errors",
            "settings",
        ),
        "store",
    },
    "http_framing": set(),
    "connection_guard": {"http_framing"},
    "server": {"errors", "connection_guard"},
    "app": {
        *("__init__", "errors", "clock", "settings", "logs"),
        *("health", "middleware", "http_responses", "bootstrap", "components", "lifecycle"),
        *("ingest", "api", "api_docs", "cancel_flow", "observability", "dashboard"),
    },
    "serving_record": {"errors", "server", "settings", "store"},
    # Nothing imports these.
    "sandbox": set(),
    "cli": {
        *("__init__", "admin", "app", "clock", "errors", "file_import", "http_client", "logs", "prosperstack"),
        *("sandbox", "server", "serving_record", "settings", "settings_vault"),
    },
    "__main__": {"cli"},
}

#: Parts behind `admin`, of which a face may import values, but neither functions nor services.
VALUES_OF = {"account_mapping", "auth", "ingest", "mapping", "reconcile", "segment_api", "store"}
FACES = {"api", "dashboard", "cli"}
#: Further names that a face may import of them: the mapping file's format, and the type of the vault.
ALSO = {
    "mapping.mapping_file.json_schema",
    "mapping.mapping_file.read_mapping",
    "mapping.yaml_editor",
    "auth.vault.Vault",
}

#: Packages of others that only these parts may know.
CONFINED = {
    "asyncpg": {"store"},
    "sqlalchemy": {
        *("store", "auth", "account_mapping", "reconcile", "ingest", "cancel_flow", "observability"),
        *("settings_vault", "health", "admin", "segment_api", "file_import"),
    },
    "alembic": {"store"},
    "httpx": {
        "prosperstack",
        "segment_api",
        "http_client",
        "aiohttp_transport",
        "bootstrap",
        "components",
        "app",
        "cli",
    },
    "aiohttp": {"aiohttp_transport"},
    "fastapi": {"app", "health", "api", "observability", "sandbox"},
    "starlette": {
        *("ingest", "cancel_flow", "app", "health", "middleware", "proxy_headers", "server"),
        *("connection_guard", "http_responses"),
        *("api", "api_docs", "dashboard", "observability", "sandbox"),
    },
    "jinja2": {"dashboard"},
    "markupsafe": {"dashboard"},
    "uvicorn": {"server", "sandbox"},
    "prometheus_client": {"observability"},
    "opentelemetry": {"observability"},
    "typer": {"cli"},
    "rich": {"cli"},
    "cryptography": {"auth"},
    "jmespath": {"mapping"},
    "rapidfuzz": {"mapping"},
    "ruamel": {"mapping"},
}


def part_of(module: Path) -> str:
    """The top-level package or module that a file belongs to."""
    return module.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported(module: Path) -> set[str]:
    """The dotted names that a file imports, also inside functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import"
            base = node.module or ""
            is_own = base.partition(".")[0] == PACKAGE
            names |= {f"{base}.{alias.name}" for alias in node.names} if is_own else {base}
    return names


def is_value(module: str, name: str) -> bool:
    """True if a name of a module is a constant, a type alias, or a class whose objects are plain data."""
    found = getattr(import_module(f"{PACKAGE}.{module}"), name, None)
    if isinstance(found, type):
        plain = issubclass(found, Enum | BaseModel | Exception) or getattr(found, "_is_protocol", False)
        return plain or is_dataclass(found)
    return found is not None and not isfunction(found) and not ismodule(found)


def is_known_value(name: str) -> bool:
    """True if a face may know this dotted name of a part behind `admin`."""
    module, _, last = name.rpartition(".")
    return module.partition(".")[0] in VALUES_OF and (name in ALSO or is_value(module, last))


MODULES = sorted(SOURCE.rglob("*.py"))


@pytest.mark.parametrize("module", MODULES, ids=lambda module: str(module.relative_to(SOURCE)))
def test_imports_run_one_way(module: Path) -> None:
    """A module imports only what its place in the table allows."""
    part = part_of(module)
    assert part in MAY_IMPORT, f"{part} has no place in the table of who may import whom"

    for name in imported(module):
        first, _, rest = name.partition(".")
        if first == PACKAGE:
            other = rest.partition(".")[0]
            other = "__init__" if other == "__version__" else other
            is_allowed = other == part or other in MAY_IMPORT[part]
            if part in FACES and not is_allowed:
                is_allowed = is_known_value(rest)
            assert is_allowed, f"{part} may not import {name}"
        elif first in CONFINED:
            assert part in CONFINED[first], f"{part} may not know of {first}"


def test_the_table_has_no_cycle() -> None:
    """No part can come to import itself through others."""
    done: list[str] = []
    while len(done) < len(MAY_IMPORT):
        ready = [part for part, allowed in MAY_IMPORT.items() if part not in done and allowed <= set(done)]
        assert ready, f"these import each other in a circle: {MAY_IMPORT.keys() - set(done)}"
        done += ready

"""Who may import whom: imports run the way that data runs, and never back."""

import ast
from pathlib import Path

import pytest

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
    "forwarded": set(),
    "caches": {"clock", "errors"},
    "storable": set(),
    "facts": set(),
    "aiohttp_transport": set(),
    "http_client": {"__init__", "aiohttp_transport", "storable"},
    "emails": {"storable"},
    # The pure middle and the edges that it does not know.
    "mapping": {"facts", "storable", "errors"},
    "store": {"facts", "storable", "errors", "clock", "background"},
    "prosperstack": {"storable", "http_client", "errors", "clock"},
    "http_responses": {"http_client", "errors", "store"},
    "account_mapping": {"errors", "clock", "mapping", "store", "prosperstack"},
    "auth": {"caches", "errors", "clock", "forwarded", "mapping", "store", "prosperstack", "account_mapping"},
    "reconcile": {"errors", "clock", "emails", "background", "mapping", "store", "prosperstack", "account_mapping"},
    "ingest": {
        *("storable", "errors", "clock", "emails", "forwarded", "logs", "mapping", "store", "auth"),
        *("http_responses", "account_mapping"),
    },
    "cancel_flow": {
        *("caches", "storable", "errors", "clock", "emails", "background", "mapping", "store", "auth"),
        *("ingest", "account_mapping", "http_responses"),
    },
    "observability": {
        *("storable", "__init__", "errors", "clock", "background", "logs", "store"),
    },
    "health": {"background", "errors", "store"},
    "middleware": {"http_responses", "logs", "storable", "observability"},
    "segment_api": {"caches", "storable", "http_client", "errors", "clock", "store", "auth"},
    "admin": {
        *("caches", "errors", "clock", "emails", "mapping", "store", "prosperstack", "auth", "reconcile", "ingest"),
        *("segment_api", "account_mapping"),
    },
    "file_import": {
        *(
            "storable",
            "errors",
            "clock",
            "mapping",
            "store",
            "prosperstack",
            "reconcile",
            "ingest",
            "account_mapping",
        ),
    },
    "api": {
        *("storable", "errors", "clock", "emails", "mapping", "store", "prosperstack", "auth", "reconcile"),
        *("ingest", "admin", "segment_api", "background", "account_mapping", "http_client", "http_responses"),
    },
    "dashboard": {
        *("__init__", "errors", "clock", "emails", "mapping", "store", "prosperstack", "auth", "reconcile"),
        *("ingest", "admin", "segment_api", "forwarded", "storable", "background", "caches"),
        *("account_mapping", "http_client", "http_responses"),
    },
    "api_docs": {"dashboard"},
    # The composition root.
    "settings": {"errors", "auth"},
    "logs": {"settings"},
    "vault": {"errors", "settings", "store", "auth"},
    "bootstrap": {
        *("caches", "__init__", "errors", "clock", "settings", "vault"),
        *("store", "prosperstack", "auth", "reconcile", "ingest", "cancel_flow", "observability"),
        *("admin", "segment_api", "dashboard", "account_mapping", "http_client"),
    },
    "lifecycle": {
        *("__init__", "account_mapping", "admin", "auth", "background", "bootstrap", "clock", "errors", "settings"),
        "store",
    },
    "connection_guard": set(),
    "server": {"errors", "connection_guard"},
    "app": {
        *("__init__", "errors", "clock", "settings", "logs"),
        *("health", "middleware", "http_responses", "bootstrap", "lifecycle"),
        *("ingest", "api", "api_docs", "cancel_flow", "observability", "dashboard"),
    },
    # The faces. Nothing imports them.
    "sandbox": set(),
    "cli": {
        *("storable", "__init__", "errors", "clock", "emails", "settings", "logs", "vault", "http_client"),
        *("app", "server", "mapping", "store", "prosperstack", "auth", "reconcile", "ingest", "sandbox"),
        *("admin", "account_mapping", "file_import"),
    },
    "__main__": {"cli"},
}

#: Packages of others that only these parts may know.
CONFINED = {
    "asyncpg": {"store"},
    "sqlalchemy": {
        *("store", "auth", "account_mapping", "reconcile", "ingest", "cancel_flow", "observability"),
        *("vault", "health", "api", "cli", "admin", "segment_api", "dashboard", "file_import"),
    },
    "alembic": {"store"},
    "httpx": {"prosperstack", "segment_api", "http_client", "aiohttp_transport", "bootstrap", "app", "cli"},
    "aiohttp": {"aiohttp_transport"},
    "fastapi": {"app", "health", "api", "observability", "sandbox"},
    "starlette": {
        *("ingest", "cancel_flow", "app", "health", "middleware", "forwarded", "server"),
        *("connection_guard", "http_responses", "deadlines"),
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
            names |= {f"{base}.{alias.name}" for alias in node.names} if base == PACKAGE else {base}
    return names


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
            assert other == part or other in MAY_IMPORT[part], f"{part} may not import {name}"
        elif first in CONFINED:
            assert part in CONFINED[first], f"{part} may not know of {first}"


def test_the_table_has_no_cycle() -> None:
    """No part can come to import itself through others."""
    done: list[str] = []
    while len(done) < len(MAY_IMPORT):
        ready = [part for part, allowed in MAY_IMPORT.items() if part not in done and allowed <= set(done)]
        assert ready, f"these import each other in a circle: {MAY_IMPORT.keys() - set(done)}"
        done += ready

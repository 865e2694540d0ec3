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
    "log_context": set(),
    "security_headers": set(),
    "endless": set(),
    "forwarded": set(),
    "retry_after": set(),
    "deadlines": set(),
    "storable": set(),
    "response_body": {"storable"},
    "emails": {"storable"},
    # The pure middle and the edges that it does not know.
    "mapping": {"storable", "errors"},
    "state": {"storable", "errors", "clock", "endless"},
    "prosperstack": {"storable", "response_body", "retry_after", "errors", "clock"},
    "accounts": {"errors", "clock", "forwarded", "mapping", "state", "prosperstack"},
    "sync": {"errors", "clock", "emails", "endless", "mapping", "state", "prosperstack", "accounts"},
    "segment": {
        *("storable", "errors", "clock", "emails", "forwarded", "log_context", "mapping", "state", "accounts"),
        *("retry_after", "security_headers"),
    },
    "connector": {
        *("storable", "deadlines", "errors", "clock", "emails", "endless", "mapping", "state", "accounts"),
        "segment",
    },
    "watching": {
        *("storable", "__init__", "errors", "clock", "endless", "log_context", "security_headers", "state"),
    },
    "caller": {"errors"},
    "health": {"deadlines", "errors", "state"},
    "entrances": {"segment"},
    "segment_workspace": {"storable", "response_body", "retry_after", "errors", "clock", "state", "accounts"},
    "operations": {
        *("errors", "clock", "emails", "mapping", "state", "prosperstack", "accounts", "sync", "segment"),
        "segment_workspace",
    },
    "api": {
        *("storable", "errors", "clock", "emails", "mapping", "state", "prosperstack", "accounts", "sync"),
        *("segment", "operations", "segment_workspace", "retry_after", "caller"),
    },
    "dashboard": {
        *("__init__", "errors", "clock", "emails", "mapping", "state", "prosperstack", "accounts", "sync"),
        *("segment", "operations", "segment_workspace", "forwarded", "storable", "retry_after", "caller"),
    },
    "api_docs": {"dashboard"},
    # The composition root.
    "setting_rules": set(),
    "settings": {"errors", "accounts", "setting_rules"},
    "tracebacks": set(),
    "logs": {"settings", "log_context", "tracebacks"},
    "vaults": {"errors", "settings", "state", "accounts"},
    "outbound": {"__init__"},
    "service": {
        *("__init__", "errors", "clock", "settings", "vaults"),
        *("state", "prosperstack", "accounts", "sync", "segment", "connector", "watching"),
        *("operations", "segment_workspace", "dashboard"),
    },
    "connection_guard": set(),
    "body_deadline": set(),
    "server": {"errors", "connection_guard"},
    "application": {
        *("body_deadline", "__init__", "errors", "clock", "settings", "tracebacks", "logs"),
        *("health", "entrances", "outbound", "service"),
        *("segment", "api", "api_docs", "connector", "watching", "dashboard"),
    },
    # The faces. Nothing imports them.
    "sandbox": set(),
    "cli": {
        *("storable", "__init__", "errors", "clock", "emails", "settings", "logs", "vaults", "outbound"),
        *("application", "server", "mapping", "state", "prosperstack", "accounts", "sync", "segment", "sandbox"),
        "operations",
    },
    "__main__": {"cli"},
}

#: Packages of others that only these parts may know.
CONFINED = {
    "asyncpg": {"state"},
    "sqlalchemy": {
        *("state", "accounts", "sync", "connector", "watching"),
        *("vaults", "health", "api", "cli", "operations", "segment_workspace", "dashboard"),
    },
    "alembic": {"state"},
    "httpx": {"response_body", "prosperstack", "segment_workspace", "outbound", "service", "application", "cli"},
    "fastapi": {"application", "health", "api", "watching", "sandbox"},
    "starlette": {
        *("segment", "connector", "application", "health", "entrances", "forwarded", "server"),
        *("connection_guard", "body_deadline", "caller"),
        *("api", "api_docs", "dashboard", "watching", "sandbox"),
    },
    "jinja2": {"dashboard"},
    "markupsafe": {"dashboard"},
    "uvicorn": {"server", "sandbox"},
    "prometheus_client": {"watching"},
    "opentelemetry": {"watching"},
    "typer": {"cli"},
    "rich": {"cli"},
    "cryptography": {"accounts"},
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

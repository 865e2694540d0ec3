"""All routers of the API, in the order of its documentation."""

from typing import Final

from fastapi import APIRouter

from prosperstack_destination.api import (
    accounts,
    calls,
    coverage,
    credentials,
    mappings,
    overview,
    people,
    problems,
    segment,
    tokens,
)

ROUTERS: Final[tuple[APIRouter, ...]] = (
    mappings.schema_router,
    accounts.router,
    overview.router,
    credentials.router,
    segment.router,
    calls.router,
    mappings.router,
    coverage.router,
    problems.router,
    people.router,
    tokens.router,
)

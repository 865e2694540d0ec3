"""The operators' API: what people and programs may ask and change, under ``/api``."""

from typing import Final

from fastapi import APIRouter

from prosperstack_destination.api import accounts, calls, credentials, mappings, overview, people, problems, segment

#: All routers, in the order of the API's documentation.
ROUTERS: Final[tuple[APIRouter, ...]] = (
    mappings.schema_router,
    accounts.router,
    overview.router,
    credentials.router,
    segment.router,
    calls.router,
    mappings.router,
    mappings.coverage_router,
    problems.router,
    people.router,
    credentials.token_router,
)

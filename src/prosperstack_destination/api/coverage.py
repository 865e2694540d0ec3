"""What feeds each property, and where each trait goes."""

from fastapi import APIRouter
from pydantic import BaseModel, Field, JsonValue

from prosperstack_destination.admin.catalog_refresh import refresh_if_stale
from prosperstack_destination.api.dependencies import AccountDep, Services
from prosperstack_destination.api.errors import ApiRoute
from prosperstack_destination.mapping.coercion import PropertyValue
from prosperstack_destination.reconcile.coverage_scan import coverage
from prosperstack_destination.reconcile.preview import SAMPLE

router = APIRouter(prefix="/api/accounts/{account_id}/coverage", tags=["mapping"], route_class=ApiRoute)


class PropertyCoverageResponse(BaseModel):
    """How a property is filled."""

    property: str
    name: str
    type: str
    fed_by: list[dict[str, str]] = Field(description="`trait` (or expression) and `matched_by`, by frequency.")
    ignored: bool
    filled: int = Field(description="Profiles that give it a value.")
    problems: int
    sample: PropertyValue = Field(description="The newest.")


class TraitCoverageResponse(BaseModel):
    """Where a trait goes."""

    trait: str
    seen: int = Field(description="Profiles that have it.")
    feeds: list[str] = Field(description="The properties that take it.")
    likeliest: str | None = Field(description="Where none does: the property whose name is likest.")
    alike: float = Field(description="How alike, of 100.")
    type: str | None = Field(description="What a property for it would be.")
    audience: bool
    sample: JsonValue


class CoverageResponse(BaseModel):
    """What feeds what."""

    profiles: int
    counted: int = Field(description="Of how many of them the figures are.")
    properties: list[PropertyCoverageResponse]
    traits: list[TraitCoverageResponse]


@router.get("", tags=["mapping"])
async def show_coverage(services: Services, account: AccountDep, exact: bool = False) -> CoverageResponse:
    """What feeds each property, and where each trait goes; of more than 50,000 profiles a part is counted."""
    await refresh_if_stale(services, account)
    async with services.scan_lock:
        found, profiles = await coverage(services.database, account.id, sample=None if exact else SAMPLE)
    return CoverageResponse(
        profiles=profiles,
        counted=found.profiles,
        properties=[
            PropertyCoverageResponse(
                property=each.property,
                name=each.name,
                type=each.type,
                fed_by=[{"trait": trait, "matched_by": why} for trait, why in each.fed_by],
                ignored=each.ignored,
                filled=each.filled,
                problems=each.problems,
                sample=each.sample,
            )
            for each in found.properties()
        ],
        traits=[
            TraitCoverageResponse(
                trait=each.trait,
                seen=each.seen,
                feeds=list(each.feeds),
                likeliest=each.likeliest,
                alike=each.alike,
                type=each.type,
                audience=each.audience,
                sample=each.sample,
            )
            for each in found.traits()
        ],
    )

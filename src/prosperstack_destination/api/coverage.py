"""Coverage: the traits that feed each property, and the properties that each trait feeds."""

from fastapi import APIRouter
from pydantic import Field, JsonValue

from prosperstack_destination.admin.catalog_refresh import refresh_if_stale
from prosperstack_destination.api.dependencies import AccountDep, Services
from prosperstack_destination.api.errors import ApiRoute
from prosperstack_destination.api.models import ResponseBody
from prosperstack_destination.mapping.coercion import PropertyValue
from prosperstack_destination.reconcile.coverage_scan import coverage
from prosperstack_destination.reconcile.preview import SAMPLE

router = APIRouter(prefix="/api/accounts/{account_id}/coverage", tags=["mapping"], route_class=ApiRoute)


class PropertyCoverageResponse(ResponseBody):
    """Coverage of a property."""

    property: str
    name: str
    type: str
    fed_by: list[dict[str, str]] = Field(description="`trait` (or expression) and `matched_by`, by frequency.")
    ignored: bool
    filled: int = Field(description="Profiles with a value for it.")
    problems: int
    sample: PropertyValue = Field(description="Newest value.")


class TraitCoverageResponse(ResponseBody):
    """Coverage of a trait."""

    trait: str
    seen: int = Field(description="Profiles with the trait.")
    feeds: list[str] = Field(description="Properties that it feeds.")
    likeliest: str | None = Field(description="If it feeds none: the property with the closest name.")
    alike: float = Field(description="Similarity of that name, of 100.")
    type: str | None = Field(description="Type of a property for it.")
    audience: bool
    sample: JsonValue


class CoverageResponse(ResponseBody):
    """Coverage of an account."""

    profiles: int
    counted: int = Field(description="Profiles that were counted.")
    properties: list[PropertyCoverageResponse]
    traits: list[TraitCoverageResponse]


@router.get("", tags=["mapping"])
async def show_coverage(services: Services, account: AccountDep, exact: bool = False) -> CoverageResponse:
    """Return the coverage of properties and traits; above 50,000 profiles a sample is counted, unless `exact`."""
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
        traits=[TraitCoverageResponse.model_validate(each) for each in found.traits()],
    )

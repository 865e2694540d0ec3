"""The tokens that open the API: issued, listed, revoked. Each opens every account."""

from datetime import datetime

from fastapi import APIRouter
from pydantic import BaseModel, Field

from prosperstack_destination.admin import operator_tokens as operations
from prosperstack_destination.api.dependencies import Operator, Services, to_datetime, to_datetime_or_none
from prosperstack_destination.api.errors import ApiRoute, RequestBody
from prosperstack_destination.auth.api_keys import fingerprint
from prosperstack_destination.store import operator_tokens

router = APIRouter(prefix="/api/tokens", tags=["tokens"], route_class=ApiRoute)


class TokenNameRequest(RequestBody):
    """Who a token is for."""

    name: str = Field(max_length=200, description="The author of what is done with it, in the audit trail.")


class OperatorTokenResponse(BaseModel):
    """A token; never the token itself."""

    fingerprint: str = Field(description="What it is told apart and revoked by.")
    name: str
    created_at: datetime
    revoked_at: datetime | None


class IssuedTokenResponse(BaseModel):
    """A new token, which is shown only now."""

    token: str = Field(description="To be sent as `Authorization: Bearer pso_…`.")
    fingerprint: str


@router.get("")
async def list_tokens(services: Services, _: Operator) -> list[OperatorTokenResponse]:
    """All tokens, the oldest first; those that were revoked among them."""
    return [
        OperatorTokenResponse(
            fingerprint=each.fingerprint,
            name=each.name,
            created_at=to_datetime(each.created_at),
            revoked_at=to_datetime_or_none(each.revoked_at),
        )
        for each in await services.database.read(operator_tokens.every)
    ]


@router.post("", status_code=201)
async def issue_token(services: Services, operator: Operator, wanted: TokenNameRequest) -> IssuedTokenResponse:
    """Make a token for an operator or a program."""
    token = await services.database.write(operations.issue, wanted.name, operator, services.clock())
    services.operators.invalidate()
    return IssuedTokenResponse(token=token, fingerprint=fingerprint(token))


@router.delete("/{token}", status_code=204)
async def revoke_token(services: Services, operator: Operator, token: str) -> None:
    """Refuse a token, named by its fingerprint: here at once, in other processes within seconds.

    Without the last one the API is closed until another is issued, by the command or on the dashboard.
    """
    await services.database.write(operations.revoke, token, operator, services.clock())
    services.operators.invalidate()

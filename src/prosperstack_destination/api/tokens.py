"""Operator tokens: issue, list and revoke. Each token opens every account."""

from fastapi import APIRouter
from pydantic import Field

from prosperstack_destination.admin import operator_tokens as operations
from prosperstack_destination.api.models import RequestBody, ResponseBody, Timestamp
from prosperstack_destination.api.route import ApiRoute, Operator, Services
from prosperstack_destination.auth.api_keys import fingerprint
from prosperstack_destination.store import operator_tokens

router = APIRouter(prefix="/api/tokens", tags=["tokens"], route_class=ApiRoute)


class TokenNameRequest(RequestBody):
    """Name of a new operator token."""

    name: str = Field(max_length=200, description="Name of its actions in the audit log.")


class OperatorTokenResponse(ResponseBody):
    """An operator token, without the token itself."""

    fingerprint: str = Field(description="Identifies the token, as for revocation.")
    name: str
    created_at: Timestamp
    revoked_at: Timestamp | None


class IssuedTokenResponse(ResponseBody):
    """A new token. It is shown only once."""

    token: str = Field(description="Send it as `Authorization: Bearer pso_…`.")
    fingerprint: str


@router.get("")
async def list_tokens(services: Services, _: Operator) -> list[OperatorTokenResponse]:
    """List all tokens, oldest first, with revoked ones."""
    return [
        OperatorTokenResponse.model_validate(each)
        for each in await services.database.read(operator_tokens.all_tokens)
    ]


@router.post("", status_code=201)
async def issue_token(services: Services, operator: Operator, body: TokenNameRequest) -> IssuedTokenResponse:
    """Issue a token for an operator or a program."""
    token = await services.database.write(operations.issue, body.name, operator, services.clock())
    services.operators.invalidate()
    return IssuedTokenResponse(token=token, fingerprint=fingerprint(token))


@router.delete("/{token}", status_code=204)
async def revoke_token(services: Services, operator: Operator, token: str) -> None:
    """Revoke a token by its fingerprint: at once here, within seconds in other processes.

    Without any valid token the API is closed until one is issued, by the command or on the dashboard.
    """
    await services.database.write(operations.revoke, token, operator, services.clock())
    services.operators.invalidate()

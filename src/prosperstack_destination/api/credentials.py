"""Inbound keys, shared secrets, connector tokens and operator tokens. Each is shown once, when it is issued."""

from typing import Annotated

from fastapi import APIRouter
from pydantic import BeforeValidator, Field, model_validator

from prosperstack_destination.admin import credentials
from prosperstack_destination.admin.services import AdminServices
from prosperstack_destination.api.models import RequestBody, ResponseBody, Timestamp
from prosperstack_destination.api.route import AccountDep, ApiRoute, Operator, Services
from prosperstack_destination.auth.credentials import Issued
from prosperstack_destination.auth.public_keys import MAX_ORIGINS
from prosperstack_destination.store.accounts import Account
from prosperstack_destination.store.credentials import Credential, CredentialKind, KeyKind, KeyOrigin

router = APIRouter(prefix="/api/accounts/{account_id}", tags=["credentials"], route_class=ApiRoute)
token_router = APIRouter(prefix="/api/tokens", tags=["tokens"], route_class=ApiRoute)


class CredentialRequest(RequestBody):
    """Name of a new credential."""

    name: str = Field("", max_length=200)


class KeyRequest(CredentialRequest):
    """Settings of a new inbound key."""

    public: bool = Field(
        default=False, description="For a web page or an app: limited to Identify calls, at a limited rate."
    )
    origins: list[str] = Field(
        default=[],
        max_length=MAX_ORIGINS,
        description="Of a public key: page origins, e.g. `https://app.example.com`; none for apps.",
    )

    @model_validator(mode="after")
    def _only_public_keys_have_origins(self) -> "KeyRequest":
        if self.origins and not self.public:
            raise ValueError("Only a public key has origins: add `public`.")
        return self


def _origins(value: object) -> object:
    return [] if value is None else value


class KeyResponse(ResponseBody):
    """An inbound key, without the key itself."""

    fingerprint: str = Field(validation_alias="id", description="Identifies the credential, as for revocation.")
    origin: KeyOrigin
    kind: KeyKind = Field(
        validation_alias="key_kind",
        description="A public key is used in a web page or an app, and is limited to Identify calls.",
    )
    origins: Annotated[list[str], BeforeValidator(_origins)] = Field(
        description="Of a public key: origins of the pages that use it; none for apps."
    )
    name: str
    created_at: Timestamp
    last_used_at: Timestamp | None = Field(description="To the minute.")
    revoked_at: Timestamp | None


class IssuedKeyResponse(ResponseBody):
    """A new inbound key. It is shown only once."""

    key: str = Field(description="Enter it as the API key of the destination in Segment.")
    fingerprint: str


class SecretResponse(ResponseBody):
    """A shared secret that signs webhooks, without the secret itself."""

    id: str = Field(description="Identifies the credential, as for revocation.")
    name: str
    created_at: Timestamp
    last_used_at: Timestamp | None = Field(description="To the minute.")
    revoked_at: Timestamp | None


class IssuedSecretResponse(ResponseBody):
    """A new shared secret. It is shown only once."""

    secret: str = Field(description="Enter it in the settings of the webhook in Segment.")
    id: str
    path: str = Field(description="Path of this service to which the webhook posts.")


class ConnectorResponse(ResponseBody):
    """A connector token, without the token itself."""

    fingerprint: str = Field(validation_alias="id", description="Identifies the credential, as for revocation.")
    name: str
    created_at: Timestamp
    last_used_at: Timestamp | None = Field(description="To the minute.")
    revoked_at: Timestamp | None


class IssuedConnectorResponse(ResponseBody):
    """Paths of this service with a new connector token. They are shown only once."""

    data_connector: str = Field(description="Endpoint of a custom data connector in ProsperStack.")
    flow_webhook: str = Field(description="Endpoint of a webhook for `flow_session_started`.")
    fingerprint: str


class TokenNameRequest(RequestBody):
    """Name of a new operator token."""

    name: str = Field(max_length=200, description="Name of its actions in the audit log.")


class OperatorTokenResponse(ResponseBody):
    """An operator token, without the token itself."""

    fingerprint: str = Field(validation_alias="id", description="Identifies the token, as for revocation.")
    name: str
    created_at: Timestamp
    revoked_at: Timestamp | None


class IssuedTokenResponse(ResponseBody):
    """A new token. It is shown only once."""

    token: str = Field(description="Send it as `Authorization: Bearer pso_…`.")
    fingerprint: str


@router.get("/keys")
async def list_keys(services: Services, account: AccountDep) -> list[KeyResponse]:
    """List the keys that open the account, newest first, with revoked ones."""
    return [KeyResponse.model_validate(each) for each in await _list(services, CredentialKind.KEY, account)]


@router.post("/keys", status_code=201)
async def issue_key(
    services: Services, account: AccountDep, operator: Operator, body: KeyRequest
) -> IssuedKeyResponse:
    """Issue an inbound key for Segment or a server, or a public key for a web page or an app."""
    origins = body.origins if body.public else None
    issued = await _issue(services, CredentialKind.KEY, account, body.name, operator, origins)
    return IssuedKeyResponse(key=issued.text, fingerprint=issued.id)


@router.delete("/keys/{key}", status_code=204)
async def revoke_key(services: Services, account: AccountDep, operator: Operator, key: str) -> None:
    """Revoke a key by its fingerprint: at once here, within seconds in other processes."""
    await _revoke(services, CredentialKind.KEY, account, key, operator)


@router.get("/secrets")
async def list_secrets(services: Services, account: AccountDep) -> list[SecretResponse]:
    """List the shared secrets, newest first, with revoked ones."""
    return [SecretResponse.model_validate(each) for each in await _list(services, CredentialKind.SECRET, account)]


@router.post("/secrets", status_code=201)
async def issue_secret(
    services: Services, account: AccountDep, operator: Operator, body: CredentialRequest
) -> IssuedSecretResponse:
    """Issue a shared secret for Segment's Webhooks (Actions) destination."""
    issued = await _issue(services, CredentialKind.SECRET, account, body.name, operator)
    return IssuedSecretResponse(secret=issued.text, id=issued.id, path=f"/webhook/{account.id}")


@router.delete("/secrets/{secret}", status_code=204)
async def revoke_secret(services: Services, account: AccountDep, operator: Operator, secret: str) -> None:
    """Revoke a shared secret by its ID: at once here, within seconds in other processes."""
    await _revoke(services, CredentialKind.SECRET, account, secret, operator)


@router.get("/connectors")
async def list_connectors(services: Services, account: AccountDep) -> list[ConnectorResponse]:
    """List the connector tokens, newest first, with revoked ones."""
    return [
        ConnectorResponse.model_validate(each) for each in await _list(services, CredentialKind.CONNECTOR, account)
    ]


@router.post("/connectors", status_code=201)
async def issue_connector(
    services: Services, account: AccountDep, operator: Operator, body: CredentialRequest
) -> IssuedConnectorResponse:
    """Issue a connector token for ProsperStack's data connector and webhooks, and return its paths."""
    issued = await _issue(services, CredentialKind.CONNECTOR, account, body.name, operator)
    return IssuedConnectorResponse(
        data_connector=f"/data-connector/{issued.text}",
        flow_webhook=f"/flow-webhook/{issued.text}",
        fingerprint=issued.id,
    )


@router.delete("/connectors/{connector}", status_code=204)
async def revoke_connector(services: Services, account: AccountDep, operator: Operator, connector: str) -> None:
    """Revoke a connector token by its fingerprint, within seconds."""
    await _revoke(services, CredentialKind.CONNECTOR, account, connector, operator)


@token_router.get("")
async def list_tokens(services: Services, _: Operator) -> list[OperatorTokenResponse]:
    """List all tokens, oldest first, with revoked ones."""
    tokens = await _list(services, CredentialKind.TOKEN)
    return [OperatorTokenResponse.model_validate(each) for each in tokens[::-1]]


@token_router.post("", status_code=201)
async def issue_token(services: Services, operator: Operator, body: TokenNameRequest) -> IssuedTokenResponse:
    """Issue a token for an operator or a program."""
    issued = await services.database.write(credentials.issue_token, body.name, operator, services.clock())
    services.invalidate_credentials()
    return IssuedTokenResponse(token=issued.text, fingerprint=issued.id)


@token_router.delete("/{token}", status_code=204)
async def revoke_token(services: Services, operator: Operator, token: str) -> None:
    """Revoke a token by its fingerprint: at once here, within seconds in other processes.

    Without any valid token the API is closed until one is issued, by the command or on the dashboard.
    """
    await _revoke(services, CredentialKind.TOKEN, None, token, operator)


async def _list(services: AdminServices, kind: CredentialKind, account: Account | None = None) -> list[Credential]:
    return await services.database.read(credentials.list_credentials, kind, account)


async def _issue(
    services: AdminServices,
    kind: CredentialKind,
    account: Account,
    name: str,
    operator: str,
    origins: list[str] | None = None,
) -> Issued:
    now = services.clock()
    issued = await services.database.write(
        credentials.issue, kind, account, name, services.vault, operator, now, origins
    )
    services.invalidate_credentials()
    return issued


async def _revoke(
    services: AdminServices, kind: CredentialKind, account: Account | None, credential_id: str, operator: str
) -> None:
    await services.database.write(credentials.revoke, kind, account, credential_id, operator, services.clock())
    services.invalidate_credentials()

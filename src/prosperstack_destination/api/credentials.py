"""Inbound keys, shared secrets and connector tokens. Each is shown once, when it is issued."""

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter
from pydantic import BeforeValidator, Field, model_validator
from sqlalchemy import Connection

from prosperstack_destination.admin.services import AdminServices
from prosperstack_destination.api.models import RequestBody, ResponseBody, Timestamp
from prosperstack_destination.api.route import AccountDep, ApiRoute, Operator, Services
from prosperstack_destination.auth import credential_service
from prosperstack_destination.auth.api_keys import fingerprint
from prosperstack_destination.auth.origins import MAX_ORIGINS
from prosperstack_destination.store import connector_tokens, credentials
from prosperstack_destination.store.credentials import KeyKind, KeyOrigin

router = APIRouter(prefix="/api/accounts/{account_id}", tags=["credentials"], route_class=ApiRoute)


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
        description="Of a public key: page origins, as in `https://app.example.com`; none for apps.",
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

    fingerprint: str = Field(description="Identifies the credential, as for revocation.")
    origin: KeyOrigin
    kind: KeyKind = Field(
        description="A public key is used in a web page or an app, and is limited to Identify calls."
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

    fingerprint: str = Field(description="Identifies the credential, as for revocation.")
    name: str
    created_at: Timestamp
    last_used_at: Timestamp | None = Field(description="To the minute.")
    revoked_at: Timestamp | None


class IssuedConnectorResponse(ResponseBody):
    """Paths of this service with a new connector token. They are shown only once."""

    data_connector: str = Field(description="Endpoint of a custom data connector in ProsperStack.")
    flow_webhook: str = Field(description="Endpoint of a webhook for `flow_session_started`.")
    fingerprint: str


@router.get("/keys")
async def list_keys(services: Services, account: AccountDep) -> list[KeyResponse]:
    """List the keys that open the account, newest first, with revoked ones."""
    return [
        KeyResponse.model_validate(each) for each in await services.database.read(credentials.list_keys, account.id)
    ]


@router.post("/keys", status_code=201)
async def issue_key(
    services: Services, account: AccountDep, operator: Operator, body: KeyRequest
) -> IssuedKeyResponse:
    """Issue an inbound key for Segment or a server, or a public key for a web page or an app."""

    def work(connection: Connection) -> str:
        if body.public:
            return credential_service.issue_public_key(
                connection, account, body.name, body.origins, operator, services.clock()
            )
        return credential_service.issue_key(connection, account, body.name, operator, services.clock())

    key = await services.database.write(work)
    services.invalidate_credentials()
    return IssuedKeyResponse(key=key, fingerprint=fingerprint(key))


@router.delete("/keys/{key}", status_code=204)
async def revoke_key(services: Services, account: AccountDep, operator: Operator, key: str) -> None:
    """Revoke a key by its fingerprint: at once here, within seconds in other processes."""
    await _revoke(
        services,
        lambda connection: credential_service.revoke_key(connection, account, key, operator, services.clock()),
    )


@router.get("/secrets")
async def list_secrets(services: Services, account: AccountDep) -> list[SecretResponse]:
    """List the shared secrets, newest first, with revoked ones."""
    return [
        SecretResponse.model_validate(each)
        for each in await services.database.read(credentials.list_secrets, account.id)
    ]


@router.post("/secrets", status_code=201)
async def issue_secret(
    services: Services, account: AccountDep, operator: Operator, body: CredentialRequest
) -> IssuedSecretResponse:
    """Issue a shared secret for Segment's Webhooks (Actions) destination."""
    secret_id = credential_service.new_secret_id()
    secret = await services.database.write(
        credential_service.issue_secret,
        account,
        body.name,
        services.vault,
        operator,
        services.clock(),
        secret_id=secret_id,
    )
    services.invalidate_credentials()
    return IssuedSecretResponse(secret=secret, id=secret_id, path=f"/webhook/{account.id}")


@router.delete("/secrets/{secret}", status_code=204)
async def revoke_secret(services: Services, account: AccountDep, operator: Operator, secret: str) -> None:
    """Revoke a shared secret by its ID: at once here, within seconds in other processes."""
    await _revoke(
        services,
        lambda connection: credential_service.revoke_secret(
            connection, account, secret, operator, services.clock()
        ),
    )


@router.get("/connectors")
async def list_connectors(services: Services, account: AccountDep) -> list[ConnectorResponse]:
    """List the connector tokens, newest first, with revoked ones."""
    return [
        ConnectorResponse.model_validate(each)
        for each in await services.database.read(connector_tokens.of_account, account.id)
    ]


@router.post("/connectors", status_code=201)
async def issue_connector(
    services: Services, account: AccountDep, operator: Operator, body: CredentialRequest
) -> IssuedConnectorResponse:
    """Issue a connector token for ProsperStack's data connector and webhooks, and return its paths."""
    token = await services.database.write(
        credential_service.issue_connector, account, body.name, operator, services.clock()
    )
    return IssuedConnectorResponse(
        data_connector=f"/data-connector/{token}",
        flow_webhook=f"/flow-webhook/{token}",
        fingerprint=fingerprint(token),
    )


@router.delete("/connectors/{connector}", status_code=204)
async def revoke_connector(services: Services, account: AccountDep, operator: Operator, connector: str) -> None:
    """Revoke a connector token by its fingerprint, within seconds."""
    await _revoke(
        services,
        lambda connection: credential_service.revoke_connector(
            connection, account, connector, operator, services.clock()
        ),
    )


async def _revoke(services: AdminServices, work: Callable[[Connection], None]) -> None:
    await services.database.write(work)
    services.invalidate_credentials()

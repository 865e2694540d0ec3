"""What callers show to be let in: keys, secrets that sign, tokens in URLs. Each is shown once, as it is issued."""

from collections.abc import Callable
from datetime import datetime

from fastapi import APIRouter
from pydantic import BaseModel, Field, model_validator
from sqlalchemy import Connection

from prosperstack_destination.admin.services import AdminServices
from prosperstack_destination.api.dependencies import (
    AccountDep,
    Operator,
    Services,
    to_datetime,
    to_datetime_or_none,
)
from prosperstack_destination.api.errors import ApiRoute, RequestBody
from prosperstack_destination.auth import credential_service
from prosperstack_destination.auth.api_keys import fingerprint
from prosperstack_destination.auth.origins import MAX_ORIGINS
from prosperstack_destination.store import connector_tokens, credentials
from prosperstack_destination.store.credentials import KeyKind, KeyOrigin

router = APIRouter(prefix="/api/accounts/{account_id}", tags=["credentials"], route_class=ApiRoute)


class CredentialRequest(RequestBody):
    """What something is to be called."""

    name: str = Field("", max_length=200)


class KeyRequest(CredentialRequest):
    """A key that is to be made."""

    public: bool = Field(
        default=False, description="It stands in a web page or an app: it may only identify, and not too often."
    )
    origins: list[str] = Field(
        default=[],
        max_length=MAX_ORIGINS,
        description="Of a public key: the pages that may show it, as in `https://app.example.com`; none for apps.",
    )

    @model_validator(mode="after")
    def _only_public_keys_have_origins(self) -> "KeyRequest":
        if self.origins and not self.public:
            raise ValueError("Only a public key has origins: add `public`.")
        return self


class KeyResponse(BaseModel):
    """A key that callers show; never the key itself."""

    fingerprint: str = Field(description="What it is told apart and revoked by.")
    origin: KeyOrigin
    kind: KeyKind = Field(description="A public key stands in a web page or an app, and may only identify.")
    origins: list[str] = Field(description="Of a public key: the pages that may show it; none for apps.")
    name: str
    created_at: datetime
    last_used_at: datetime | None = Field(description="To the minute.")
    revoked_at: datetime | None


class IssuedKeyResponse(BaseModel):
    """A new key, which is shown only now."""

    key: str = Field(description="To be entered as the API key of the destination in Segment.")
    fingerprint: str


class SecretResponse(BaseModel):
    """A secret that signs webhooks; never the secret itself."""

    id: str = Field(description="What it is told apart and revoked by.")
    name: str
    created_at: datetime
    last_used_at: datetime | None = Field(description="To the minute.")
    revoked_at: datetime | None


class IssuedSecretResponse(BaseModel):
    """A new shared secret, which is shown only now."""

    secret: str = Field(description="To be entered in the settings of the webhook in Segment.")
    id: str
    path: str = Field(description="Of this service: where the webhook posts.")


class ConnectorResponse(BaseModel):
    """A token in the URLs that ProsperStack calls; never the token itself."""

    fingerprint: str = Field(description="What it is told apart and revoked by.")
    name: str
    created_at: datetime
    last_used_at: datetime | None = Field(description="To the minute.")
    revoked_at: datetime | None


class IssuedConnectorResponse(BaseModel):
    """New paths of this service, which are shown only now: there is a token in them."""

    data_connector: str = Field(description="The endpoint of a custom data connector in ProsperStack.")
    flow_webhook: str = Field(description="The endpoint of a webhook for `flow_session_started`.")
    fingerprint: str


@router.get("/keys")
async def list_keys(services: Services, account: AccountDep) -> list[KeyResponse]:
    """The keys that callers show, the newest first; those that were revoked among them."""
    return [
        KeyResponse(
            fingerprint=each.fingerprint,
            origin=each.origin,
            kind=each.kind,
            origins=list(each.origins or ()),
            name=each.name,
            created_at=to_datetime(each.created_at),
            last_used_at=to_datetime_or_none(each.last_used_at),
            revoked_at=to_datetime_or_none(each.revoked_at),
        )
        for each in await services.database.read(credentials.keys_of, account.id)
    ]


@router.post("/keys", status_code=201)
async def issue_key(
    services: Services, account: AccountDep, operator: Operator, wanted: KeyRequest
) -> IssuedKeyResponse:
    """Make a key for Segment or a server to show, or a public one for a web page or an app."""

    def work(connection: Connection) -> str:
        if wanted.public:
            return credential_service.issue_public_key(
                connection, account, wanted.name, wanted.origins, operator, services.clock()
            )
        return credential_service.issue_key(connection, account, wanted.name, operator, services.clock())

    key = await services.database.write(work)
    services.invalidate_credentials()
    return IssuedKeyResponse(key=key, fingerprint=fingerprint(key))


@router.delete("/keys/{key}", status_code=204)
async def revoke_key(services: Services, account: AccountDep, operator: Operator, key: str) -> None:
    """Refuse a key, named by its fingerprint: here at once, in other processes within seconds."""
    await _revoke(
        services,
        lambda connection: credential_service.revoke_key(connection, account, key, operator, services.clock()),
    )


@router.get("/secrets")
async def list_secrets(services: Services, account: AccountDep) -> list[SecretResponse]:
    """The shared secrets, the newest first; those that were revoked among them."""
    return [
        SecretResponse(
            id=each.id,
            name=each.name,
            created_at=to_datetime(each.created_at),
            last_used_at=to_datetime_or_none(each.last_used_at),
            revoked_at=to_datetime_or_none(each.revoked_at),
        )
        for each in await services.database.read(credentials.secrets_of, account.id)
    ]


@router.post("/secrets", status_code=201)
async def issue_secret(
    services: Services, account: AccountDep, operator: Operator, named: CredentialRequest
) -> IssuedSecretResponse:
    """Make a shared secret for Segment's Webhooks (Actions) destination."""
    secret_id = credential_service.new_secret_id()
    secret = await services.database.write(
        credential_service.issue_secret,
        account,
        named.name,
        services.vault,
        operator,
        services.clock(),
        secret_id=secret_id,
    )
    services.invalidate_credentials()
    return IssuedSecretResponse(secret=secret, id=secret_id, path=f"/webhook/{account.id}")


@router.delete("/secrets/{secret}", status_code=204)
async def revoke_secret(services: Services, account: AccountDep, operator: Operator, secret: str) -> None:
    """Refuse what a secret signs, named by its id: here at once, in other processes within seconds."""
    await _revoke(
        services,
        lambda connection: credential_service.revoke_secret(
            connection, account, secret, operator, services.clock()
        ),
    )


@router.get("/connectors")
async def list_connectors(services: Services, account: AccountDep) -> list[ConnectorResponse]:
    """The tokens in the URLs that ProsperStack calls, the newest first; those that were revoked among them."""
    return [
        ConnectorResponse(
            fingerprint=each.fingerprint,
            name=each.name,
            created_at=to_datetime(each.created_at),
            last_used_at=to_datetime_or_none(each.last_used_at),
            revoked_at=to_datetime_or_none(each.revoked_at),
        )
        for each in await services.database.read(connector_tokens.of_account, account.id)
    ]


@router.post("/connectors", status_code=201)
async def issue_connector(
    services: Services, account: AccountDep, operator: Operator, named: CredentialRequest
) -> IssuedConnectorResponse:
    """Make a token for ProsperStack's data connector and webhooks, and tell the paths that it opens."""
    token = await services.database.write(
        credential_service.issue_connector, account, named.name, operator, services.clock()
    )
    return IssuedConnectorResponse(
        data_connector=f"/data-connector/{token}",
        flow_webhook=f"/flow-webhook/{token}",
        fingerprint=fingerprint(token),
    )


@router.delete("/connectors/{connector}", status_code=204)
async def revoke_connector(services: Services, account: AccountDep, operator: Operator, connector: str) -> None:
    """Refuse a token, named by its fingerprint, within seconds."""
    await _revoke(
        services,
        lambda connection: credential_service.revoke_connector(
            connection, account, connector, operator, services.clock()
        ),
    )


async def _revoke(services: AdminServices, work: Callable[[Connection], None]) -> None:
    await services.database.write(work)
    services.invalidate_credentials()

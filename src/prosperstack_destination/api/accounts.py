"""Accounts: opened, shown, changed, tried again; where their calls come from, and who did what."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field, JsonValue, SecretStr
from sqlalchemy import Connection

from prosperstack_destination.admin import accounts as choices
from prosperstack_destination.admin import actions, labels
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
from prosperstack_destination.auth.api_keys import MAX_KEY_LENGTH
from prosperstack_destination.store import accounts, audit_log, sources
from prosperstack_destination.store.accounts import Account, AccountStatus, OnDelete
from prosperstack_destination.store.models import SourceKind

router = APIRouter(prefix="/api/accounts", tags=["accounts"], route_class=ApiRoute)


class AccountResponse(BaseModel):
    """One account, in live or in test mode."""

    id: str
    fingerprint: str = Field(description="The short form of its ProsperStack key.")
    live: bool
    status: AccountStatus
    in_words: str = Field(description="What the status means, and what to do.")
    status_reason: str | None = Field(description="Why it is not active.")
    next_attempt_at: datetime | None = Field(description="Until then it is left alone after a failure.")
    on_delete: OnDelete = Field(description="What a deletion does in ProsperStack.")
    reserve: float | None = Field(
        description="The part of the rate limit that is left to its owner; null: as the service is set."
    )
    reserve_in_force: float
    properties_listed_at: datetime | None = Field(description="When ProsperStack's properties were listed last.")


class ReplaceKeyRequest(RequestBody):
    """A ProsperStack API key."""

    key: SecretStr = Field(max_length=MAX_KEY_LENGTH, description="As in `key_…`, or `key_test_…` in test mode.")


class AccountPatch(RequestBody):
    """What is to be changed; what is left out stays."""

    model_config = ConfigDict(extra="forbid")

    on_delete: OnDelete | None = Field(None, description="What a deletion does in ProsperStack.")
    reserve: float | None = Field(
        None, ge=0, lt=1, description="The part of the rate limit that is left to the owner; null: the service's."
    )


class RetryResponse(BaseModel):
    """Whether an account had been waiting, or was stopped."""

    waited: bool


class SourceResponse(BaseModel):
    """Where calls come from."""

    kind: SourceKind
    key: str = Field(description="A source's project id; the name of what Engage computes.")
    name: str = Field(description="The library that sent the latest call.")
    first_at: datetime
    last_at: datetime
    calls: int
    members: int | None = Field(description="Of an audience: how many are in it.")


class AuditEntryResponse(BaseModel):
    """One thing that was done."""

    at: datetime
    actor: str
    action: str
    details: dict[str, JsonValue]


@router.get("")
async def list_accounts(services: Services, _: Operator) -> list[AccountResponse]:
    """Every account, the oldest first."""
    return [_shown(services, each) for each in await services.database.read(accounts.all_accounts)]


@router.post("", status_code=201, responses={200: {"model": AccountResponse, "description": "It was open."}})
async def open_account(
    services: Services, operator: Operator, given: ReplaceKeyRequest, response: Response
) -> AccountResponse:
    """Open the account of a ProsperStack key that ProsperStack takes; one that is open already is shown.

    A key that ProsperStack refuses is answered 422, and 503 where it cannot be asked: nothing is opened.
    """
    await services.check_key(given.key.get_secret_value())
    account, is_new = await services.database.write(
        choices.open_account, given.key.get_secret_value(), services.vault, operator, services.clock()
    )
    if not is_new:
        response.status_code = 200
    return _changed(services, account)


@router.get("/{account_id}")
async def show_account(services: Services, account: AccountDep) -> AccountResponse:
    """One account."""
    return _shown(services, account)


@router.patch("/{account_id}")
async def change_account(
    services: Services, account: AccountDep, operator: Operator, wanted: AccountPatch
) -> AccountResponse:
    """Choose what a deletion does, and what of the rate limit is left to the owner. It counts within seconds."""

    def work(connection: Connection) -> Account:
        now = services.clock()
        if wanted.on_delete is not None:
            choices.set_on_delete(connection, account, wanted.on_delete, operator, now)
        if "reserve" in wanted.model_fields_set:
            choices.set_reserve(connection, account, wanted.reserve, operator, now)
        return choices.find(connection, account.id)

    return _changed(services, await services.database.write(work))


@router.put("/{account_id}/key")
async def replace_key(
    services: Services, account: AccountDep, operator: Operator, given: ReplaceKeyRequest
) -> AccountResponse:
    """Have an account use another ProsperStack key of the same mode; everything that is stored stays with it.

    The key is checked as for an account that is opened.
    """
    await services.check_key(given.key.get_secret_value())

    def work(connection: Connection) -> Account:
        key = given.key.get_secret_value()
        credential_service.replace_key(connection, account, key, services.vault, operator, services.clock())
        return choices.find(connection, account.id)

    return _changed(services, await services.database.write(work))


@router.delete("/{account_id}", status_code=204)
async def remove_account(services: Services, account: AccountDep, operator: Operator) -> None:
    """Delete an account with everything that is stored for it: profiles, mapping, keys and the audit log.

    Nothing changes in ProsperStack or in Segment. It cannot be undone. A call with the account's ProsperStack key
    opens it again, empty.
    """
    await choices.remove_account(services.database, account, operator, services.clock())
    services.invalidate_credentials()


@router.post("/{account_id}/retry")
async def retry_account(services: Services, account: AccountDep, operator: Operator) -> RetryResponse:
    """Try an account now that waits after failures, or that is stopped."""
    waited = await services.database.write(actions.retry_account, account, operator, services.clock())
    services.wake([account.id])
    return RetryResponse(waited=waited)


@router.get("/{account_id}/sources")
async def list_sources(services: Services, account: AccountDep) -> list[SourceResponse]:
    """Where calls come from, the one that sent last first: sources, audiences and computed traits."""
    return [
        SourceResponse(
            kind=each.kind,
            key=each.key,
            name=each.name,
            first_at=to_datetime(each.first_at),
            last_at=to_datetime(each.last_at),
            calls=each.calls,
            members=each.members if each.kind is SourceKind.AUDIENCE else None,
        )
        for each in await services.database.read(sources.of_account, account.id)
    ]


@router.get("/{account_id}/audit")
async def show_audit(
    services: Services, account: AccountDep, limit: Annotated[int, Query(ge=1, le=500)] = 50
) -> list[AuditEntryResponse]:
    """Who did what, the newest first. It holds no personal data."""
    return [
        AuditEntryResponse(
            at=to_datetime(each.at), actor=each.actor, action=each.action, details=dict(each.details)
        )
        for each in await services.database.read(audit_log.recent, account.id, limit)
    ]


def _changed(services: AdminServices, account: Account) -> AccountResponse:
    """The account as it is now, which others are told of."""
    services.invalidate_credentials()
    services.wake([account.id])
    return _shown(services, account)


def _shown(services: AdminServices, account: Account) -> AccountResponse:
    return AccountResponse(
        id=account.id,
        fingerprint=account.fingerprint,
        live=account.live,
        status=account.status,
        in_words=labels.ACCOUNT_STATUS[account.status],
        status_reason=account.status_reason,
        next_attempt_at=to_datetime_or_none(account.status_until),
        on_delete=account.on_delete,
        reserve=account.reserve,
        reserve_in_force=account.reserve_or(services.reserve),
        properties_listed_at=to_datetime_or_none(account.catalog_at),
    )

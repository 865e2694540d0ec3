"""Accounts: open, show, change, retry, remove; their sources and audit log."""

from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import ConfigDict, Field, JsonValue, SecretStr

from prosperstack_destination.admin import accounts, actions, labels
from prosperstack_destination.admin.accounts import AccountChanges
from prosperstack_destination.admin.services import AdminServices
from prosperstack_destination.api.models import RequestBody, ResponseBody, Timestamp, to_datetime
from prosperstack_destination.api.route import AccountDep, ApiRoute, Operator, Services
from prosperstack_destination.auth.api_keys import MAX_KEY_LENGTH
from prosperstack_destination.store.accounts import Account, AccountStatus, HoldUnknown, OnDelete
from prosperstack_destination.store.models import SourceKind

router = APIRouter(prefix="/api/accounts", tags=["accounts"], route_class=ApiRoute)


class AccountResponse(ResponseBody):
    """One account, in live or test mode."""

    id: str
    fingerprint: str = Field(description="The short form of its ProsperStack key.")
    live: bool
    status: AccountStatus
    in_words: str = Field(description="Meaning of the status, and the action to take.")
    status_reason: str | None = Field(description="Reason if it is not active.")
    next_attempt_at: Timestamp | None = Field(description="Earliest retry after a failure.")
    on_delete: OnDelete = Field(description="Effect of a deletion in ProsperStack.")
    reserve: float | None = Field(
        description="Part of the rate limit kept free for your own tools; null: the service's setting."
    )
    reserve_in_force: float
    hold_unknown: HoldUnknown = Field(description="Calls with an ID but without a known email that are held.")
    time_zone: str = Field(description="Zone in which rules see the day.")
    properties_listed_at: Timestamp | None = Field(
        description="Time of the latest listing of ProsperStack's properties."
    )


class ReplaceKeyRequest(RequestBody):
    """A ProsperStack API key."""

    key: SecretStr = Field(max_length=MAX_KEY_LENGTH, description="As in `key_…`, or `key_test_…` in test mode.")


class AccountPatch(RequestBody):
    """Settings to change; omitted ones stay."""

    model_config = ConfigDict(extra="forbid")

    on_delete: OnDelete | None = Field(None, description="Effect of a deletion in ProsperStack.")
    reserve: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="Part of the rate limit kept free for your own tools; null: the service's setting.",
    )
    hold_unknown: HoldUnknown | None = Field(
        None, description="Calls with an ID but without a known email that are held: those of Engage, or all."
    )
    time_zone: str | None = Field(None, description="Zone in which rules see the day, e.g. `Europe/Berlin`.")


class RetryResponse(ResponseBody):
    """Result of a retry of an account: whether it waited or was stopped."""

    waited: bool


class SourceResponse(ResponseBody):
    """A source of calls."""

    kind: SourceKind
    key: str = Field(description="A source's project ID; the name of an audience or computed trait.")
    name: str = Field(description="Library that sent the latest call.")
    first_at: Timestamp
    last_at: Timestamp
    calls: int
    members: int | None = Field(
        validation_alias="audience_members", description="Of an audience: number of members."
    )


class AuditEntryResponse(ResponseBody):
    """An entry of the audit log."""

    at: Timestamp
    actor: str
    action: str
    details: dict[str, JsonValue]


@router.get("")
async def list_accounts(services: Services, _: Operator) -> list[AccountResponse]:
    """List all accounts, oldest first."""
    return [_account_response(services, each) for each in await services.database.read(accounts.list_accounts)]


@router.post(
    "", status_code=201, responses={200: {"model": AccountResponse, "description": "The account was already open."}}
)
async def open_account(
    services: Services, operator: Operator, body: ReplaceKeyRequest, response: Response
) -> AccountResponse:
    """Open the account of a ProsperStack key; an account that is already open is returned.

    A key that ProsperStack refuses gets 422, and 503 if ProsperStack cannot be asked: no account is opened.
    """
    await services.check_key(body.key.get_secret_value())
    account, is_new = await services.database.write(
        accounts.open_account, body.key.get_secret_value(), services.vault, operator, services.clock()
    )
    if not is_new:
        response.status_code = 200
    return _after_change(services, account)


@router.get("/{account_id}")
async def show_account(services: Services, account: AccountDep) -> AccountResponse:
    """Return one account."""
    return _account_response(services, account)


@router.patch("/{account_id}")
async def change_account(
    services: Services, account: AccountDep, operator: Operator, patch: AccountPatch
) -> AccountResponse:
    """Change the settings of an account. Changes take effect within seconds."""
    changes = AccountChanges(
        on_delete=patch.on_delete,
        reserve=patch.reserve if "reserve" in patch.model_fields_set else ...,
        hold_unknown=patch.hold_unknown,
        time_zone=patch.time_zone,
    )
    changed = await services.database.write(accounts.change, account, changes, operator, services.clock())
    return _after_change(services, changed)


@router.put("/{account_id}/key")
async def replace_key(
    services: Services, account: AccountDep, operator: Operator, body: ReplaceKeyRequest
) -> AccountResponse:
    """Replace the account's ProsperStack key by another one of the same mode; all stored data stays.

    The key is checked as for a new account.
    """
    key = body.key.get_secret_value()
    await services.check_key(key)
    changed = await services.database.write(
        accounts.replace_key, account, key, services.vault, operator, services.clock()
    )
    return _after_change(services, changed)


@router.delete("/{account_id}", status_code=204)
async def remove_account(services: Services, account: AccountDep, operator: Operator) -> None:
    """Delete an account with everything that is stored for it: profiles, mapping, keys and the audit log.

    Nothing changes in ProsperStack or in Segment. It cannot be undone. A call with the account's ProsperStack key
    opens it again, empty.
    """
    await accounts.remove_account(services.database, account, operator, services.clock())
    services.invalidate_credentials()


@router.post("/{account_id}/retry")
async def retry_account(services: Services, account: AccountDep, operator: Operator) -> RetryResponse:
    """Retry an account that waits after failures or is stopped."""
    waited = await services.database.write(actions.retry_account, account, operator, services.clock())
    services.wake([account.id])
    return RetryResponse(waited=waited)


@router.get("/{account_id}/sources")
async def list_sources(services: Services, account: AccountDep) -> list[SourceResponse]:
    """List sources, audiences and computed traits, latest call first."""
    found = await services.database.read(accounts.list_sources, account)
    return [SourceResponse.model_validate(each) for each in found]


@router.get("/{account_id}/audit")
async def show_audit(
    services: Services, account: AccountDep, limit: Annotated[int, Query(ge=1, le=500)] = 50
) -> list[AuditEntryResponse]:
    """Return the audit log, newest first. It contains no personal data."""
    found = await services.database.read(accounts.audit, account, limit)
    return [AuditEntryResponse.model_validate(each) for each in found]


def _after_change(services: AdminServices, account: Account) -> AccountResponse:
    """Invalidate cached credentials, wake the account, and return it."""
    services.invalidate_credentials()
    services.wake([account.id])
    return _account_response(services, account)


def _account_response(services: AdminServices, account: Account) -> AccountResponse:
    return AccountResponse(
        id=account.id,
        fingerprint=account.fingerprint,
        live=account.live,
        status=account.status,
        in_words=labels.ACCOUNT_STATUS[account.status],
        status_reason=account.status_reason,
        next_attempt_at=to_datetime(account.status_until),
        on_delete=account.on_delete,
        reserve=account.reserve,
        reserve_in_force=account.reserve_or(services.reserve),
        hold_unknown=account.hold_unknown,
        time_zone=account.time_zone,
        properties_listed_at=to_datetime(account.catalog_at),
    )

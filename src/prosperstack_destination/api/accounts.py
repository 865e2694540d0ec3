"""Accounts: opened, shown, changed, tried again; where their calls come from, and who did what."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field, JsonValue, SecretStr
from sqlalchemy import Connection

from prosperstack_destination.accounts import issuing
from prosperstack_destination.accounts.keys import MAX_KEY_LENGTH
from prosperstack_destination.api.context import Operator, TheAccount, TheDesk, shown_time, shown_time_or_none
from prosperstack_destination.api.routing import ApiRoute, Sent
from prosperstack_destination.operations import account_removal, mending, wording
from prosperstack_destination.operations import accounts as choices
from prosperstack_destination.operations.desk import Desk
from prosperstack_destination.state import accounts, auditing, sources
from prosperstack_destination.state.accounts import Account, AccountStatus, OnDelete
from prosperstack_destination.state.profile import SourceKind

router = APIRouter(prefix="/api/accounts", tags=["accounts"], route_class=ApiRoute)


class ShownAccount(BaseModel):
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


class ProsperStackKey(Sent):
    """A ProsperStack API key."""

    key: SecretStr = Field(max_length=MAX_KEY_LENGTH, description="As in `key_…`, or `key_test_…` in test mode.")


class Choices(Sent):
    """What is to be changed; what is left out stays."""

    model_config = ConfigDict(extra="forbid")

    on_delete: OnDelete | None = Field(None, description="What a deletion does in ProsperStack.")
    reserve: float | None = Field(
        None, ge=0, lt=1, description="The part of the rate limit that is left to the owner; null: the service's."
    )


class Tried(BaseModel):
    """Whether an account had been waiting, or was stopped."""

    waited: bool


class KnownSource(BaseModel):
    """Where calls come from."""

    kind: SourceKind
    key: str = Field(description="A source's project id; the name of what Engage computes.")
    name: str = Field(description="The library that sent the latest call.")
    first_at: datetime
    last_at: datetime
    calls: int
    members: int | None = Field(description="Of an audience: how many are in it.")


class ShownEntry(BaseModel):
    """One thing that was done."""

    at: datetime
    actor: str
    action: str
    details: dict[str, JsonValue]


@router.get("")
async def list_accounts(desk: TheDesk, _: Operator) -> list[ShownAccount]:
    """Every account, the oldest first."""
    return [_shown(desk, each) for each in await desk.database.read(accounts.every)]


@router.post("", status_code=201, responses={200: {"model": ShownAccount, "description": "It was open."}})
async def open_account(
    desk: TheDesk, operator: Operator, given: ProsperStackKey, response: Response
) -> ShownAccount:
    """Open the account of a ProsperStack key that ProsperStack takes; one that is open already is shown.

    A key that ProsperStack refuses is answered 422, and 503 where it cannot be asked: nothing is opened.
    """
    await desk.check_key(given.key.get_secret_value())
    account, is_new = await desk.database.write(
        choices.open_account, given.key.get_secret_value(), desk.vault, operator, desk.clock()
    )
    if not is_new:
        response.status_code = 200
    return _changed(desk, account)


@router.get("/{account_id}")
async def show_account(desk: TheDesk, account: TheAccount) -> ShownAccount:
    """One account."""
    return _shown(desk, account)


@router.patch("/{account_id}")
async def change_account(desk: TheDesk, account: TheAccount, operator: Operator, wanted: Choices) -> ShownAccount:
    """Choose what a deletion does, and what of the rate limit is left to the owner. It counts within seconds."""

    def work(connection: Connection) -> Account:
        now = desk.clock()
        if wanted.on_delete is not None:
            choices.set_on_delete(connection, account, wanted.on_delete, operator, now)
        if "reserve" in wanted.model_fields_set:
            choices.set_reserve(connection, account, wanted.reserve, operator, now)
        return choices.find(connection, account.id)

    return _changed(desk, await desk.database.write(work))


@router.put("/{account_id}/key")
async def replace_key(
    desk: TheDesk, account: TheAccount, operator: Operator, given: ProsperStackKey
) -> ShownAccount:
    """Have an account use another ProsperStack key of the same mode; everything that is stored stays with it.

    The key is checked as for an account that is opened.
    """
    await desk.check_key(given.key.get_secret_value())

    def work(connection: Connection) -> Account:
        key = given.key.get_secret_value()
        issuing.replace_key(connection, account, key, desk.vault, operator, desk.clock())
        return choices.find(connection, account.id)

    return _changed(desk, await desk.database.write(work))


@router.delete("/{account_id}", status_code=204)
async def remove_account(desk: TheDesk, account: TheAccount, operator: Operator) -> None:
    """Delete an account with everything that is stored for it: profiles, mapping, keys and the audit log.

    Nothing changes in ProsperStack or in Segment. It cannot be undone. A call with the account's ProsperStack key
    opens it again, empty.
    """
    await account_removal.remove_account(desk.database, account, operator, desk.clock())
    desk.on_keys()


@router.post("/{account_id}/retry")
async def retry_account(desk: TheDesk, account: TheAccount, operator: Operator) -> Tried:
    """Try an account now that waits after failures, or that is stopped."""
    waited = await desk.database.write(mending.retry_account, account, operator, desk.clock())
    desk.wake([account.id])
    return Tried(waited=waited)


@router.get("/{account_id}/sources")
async def list_sources(desk: TheDesk, account: TheAccount) -> list[KnownSource]:
    """Where calls come from, the one that sent last first: sources, audiences and computed traits."""
    return [
        KnownSource(
            kind=each.kind,
            key=each.key,
            name=each.name,
            first_at=shown_time(each.first_at),
            last_at=shown_time(each.last_at),
            calls=each.calls,
            members=each.members if each.kind is SourceKind.AUDIENCE else None,
        )
        for each in await desk.database.read(sources.of_account, account.id)
    ]


@router.get("/{account_id}/audit")
async def show_audit(
    desk: TheDesk, account: TheAccount, limit: Annotated[int, Query(ge=1, le=500)] = 50
) -> list[ShownEntry]:
    """Who did what, the newest first. It holds no personal data."""
    return [
        ShownEntry(at=shown_time(each.at), actor=each.actor, action=each.action, details=dict(each.details))
        for each in await desk.database.read(auditing.latest, account.id, limit)
    ]


def _changed(desk: Desk, account: Account) -> ShownAccount:
    """The account as it is now, which others are told of."""
    desk.on_keys()
    desk.wake([account.id])
    return _shown(desk, account)


def _shown(desk: Desk, account: Account) -> ShownAccount:
    return ShownAccount(
        id=account.id,
        fingerprint=account.fingerprint,
        live=account.live,
        status=account.status,
        in_words=wording.ACCOUNT_STATUS[account.status],
        status_reason=account.status_reason,
        next_attempt_at=shown_time_or_none(account.status_until),
        on_delete=account.on_delete,
        reserve=account.reserve,
        reserve_in_force=account.reserve_or(desk.reserve),
        properties_listed_at=shown_time_or_none(account.catalog_at),
    )

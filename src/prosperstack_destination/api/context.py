"""What the routes share: who asks, about which account, and what they work with."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from prosperstack_destination.accounts.operators import Operators
from prosperstack_destination.clock import Clock
from prosperstack_destination.errors import NotHere
from prosperstack_destination.state import accounts
from prosperstack_destination.state.accounts import Account
from prosperstack_destination.state.database import Database

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_bearer = HTTPBearer(auto_error=False, description="A token that `prosperstack-destination tokens issue` printed.")


@dataclass(frozen=True, slots=True)
class Context:
    """What the routes work with."""

    database: Database
    operators: Operators
    clock: Clock
    #: The part of ProsperStack's rate limit that is left to the account's owner.
    reserve: float
    #: Told when profiles are to be gone through.
    on_change: Callable[[], None]
    #: One at a time goes through all profiles: the receiving reads from the same database.
    scanning: asyncio.Lock = field(default_factory=asyncio.Lock)


def context_of(request: Request) -> Context:
    """What the application was built with."""
    context: Context = request.app.state.api
    return context


TheContext = Annotated[Context, Depends(context_of)]


async def operator_of(
    context: TheContext, credentials: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]
) -> str:
    """The name of the operator who asks. Raises `AccessDenied`."""
    return await context.operators.name_of(None if credentials is None else credentials.credentials)


Operator = Annotated[str, Depends(operator_of)]


async def account_of(context: TheContext, _: Operator, account_id: str) -> Account:
    """The account that is asked about, by its id or its fingerprint. Raises `NotHere`."""
    account = await context.database.read(accounts.get, account_id)
    if account is None:
        every = await context.database.read(accounts.every)
        account = next((each for each in every if each.fingerprint == account_id), None)
    if account is None:
        raise NotHere(f"There is no account {account_id!r}: GET /api/accounts lists them.")
    return account


TheAccount = Annotated[Account, Depends(account_of)]


def shown_time(at: int) -> datetime:
    """A time in microseconds, for people and programs."""
    return _EPOCH + timedelta(microseconds=at)


def shown_time_or_none(at: int | None) -> datetime | None:
    """The same, None for None."""
    return None if at is None else shown_time(at)

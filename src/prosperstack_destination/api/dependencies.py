"""What the routes share: who asks, about which account, and what they work with."""

from datetime import datetime
from typing import Annotated

from fastapi import Depends, Path, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from prosperstack_destination.admin import accounts
from prosperstack_destination.admin.services import AdminServices
from prosperstack_destination.clock import utc
from prosperstack_destination.store.accounts import Account

#: Reads the token from a request; None where it shows none.
bearer = HTTPBearer(auto_error=False, description="A token that `prosperstack-destination tokens issue` printed.")


def admin_services(request: Request) -> AdminServices:
    """What the application was built with."""
    services: AdminServices = request.app.state.services
    return services


Services = Annotated[AdminServices, Depends(admin_services)]


async def authenticate_operator(
    services: Services, credentials: Annotated[HTTPAuthorizationCredentials | None, Security(bearer)]
) -> str:
    """The name of the operator who asks. Raises `AccessDenied`."""
    return await services.operators.authenticate(None if credentials is None else credentials.credentials)


Operator = Annotated[str, Depends(authenticate_operator)]


async def load_account(services: Services, _: Operator, account_id: str) -> Account:
    """The account that is asked about, by its id or its fingerprint. Raises `NotFoundError`."""
    return await services.database.read(accounts.find, account_id)


AccountDep = Annotated[Account, Depends(load_account)]

#: What a profile is found by; a larger number is nobody's.
ProfileId = Annotated[int, Path(ge=1, lt=2**63)]


def to_datetime(at: int) -> datetime:
    """A time in microseconds, for people and programs."""
    return utc(at)


def to_datetime_or_none(at: int | None) -> datetime | None:
    """The same, None for None."""
    return None if at is None else to_datetime(at)

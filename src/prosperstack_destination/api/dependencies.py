"""Dependencies of the API's routes: the operator, the account and the admin services."""

from typing import Annotated

from fastapi import Depends, Path, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from prosperstack_destination.admin import accounts
from prosperstack_destination.admin.services import AdminServices
from prosperstack_destination.store.accounts import Account

#: Reads the token from a request; None if it has none.
bearer = HTTPBearer(auto_error=False, description="A token that `prosperstack-destination tokens issue` printed.")


def admin_services(request: Request) -> AdminServices:
    """Return the services that the application was built with."""
    services: AdminServices = request.app.state.services
    return services


Services = Annotated[AdminServices, Depends(admin_services)]


async def authenticate_operator(
    services: Services, credentials: Annotated[HTTPAuthorizationCredentials | None, Security(bearer)]
) -> str:
    """Return the name of the operator of a request. Raises `AccessDenied`."""
    return await services.operators.authenticate(None if credentials is None else credentials.credentials)


Operator = Annotated[str, Depends(authenticate_operator)]


async def load_account(services: Services, _: Operator, account_id: str) -> Account:
    """Return the account of a request, by its ID or fingerprint. Raises `NotFoundError`."""
    return await services.database.read(accounts.find, account_id)


AccountDep = Annotated[Account, Depends(load_account)]

#: ID of a profile, within the range of a database key.
ProfileId = Annotated[int, Path(ge=1, lt=2**63)]

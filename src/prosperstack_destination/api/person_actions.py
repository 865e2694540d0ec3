"""What is done for, or to, one person."""

from typing import Self

from fastapi import APIRouter
from pydantic import BaseModel, Field, model_validator
from sqlalchemy import Connection

from prosperstack_destination.admin import actions
from prosperstack_destination.admin.services import AdminServices
from prosperstack_destination.api.dependencies import AccountDep, Operator, ProfileId, Services
from prosperstack_destination.api.errors import ApiRoute, RequestBody
from prosperstack_destination.store.accounts import Account, OnDelete
from prosperstack_destination.store.erasure import Erased

router = APIRouter(prefix="/api/accounts/{account_id}", tags=["profiles"], route_class=ApiRoute)


class ErasePersonRequest(RequestBody):
    """Whom to forget: by one of the two."""

    email: str | None = Field(None, min_length=1, max_length=500)
    user_id: str | None = Field(None, min_length=1, max_length=1_000, description="Everybody who ever had it.")

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.email is None) is (self.user_id is None):
            raise ValueError("send either email or user_id")
        return self


class ErasureResponse(BaseModel):
    """What an erasure came to."""

    profiles: int
    subscribers: int = Field(description="Subscribers of ProsperStack's that this service had written to.")
    in_prosperstack: OnDelete = Field(description="What is done with them there.")


@router.post("/profiles/{profile_id}/sync", status_code=204)
async def sync_now(services: Services, account: AccountDep, operator: Operator, profile_id: ProfileId) -> None:
    """Bring a person to the front: before everybody else they are looked up anew, and sent what differs."""
    await services.database.write(actions.prioritize, account, profile_id, operator, services.clock())
    services.wake([account.id])


@router.post("/profiles/{profile_id}/retry", status_code=204)
async def retry_person(services: Services, account: AccountDep, operator: Operator, profile_id: ProfileId) -> None:
    """Look at a person now, and send once more what ProsperStack rejected of theirs."""
    await services.database.write(actions.retry_person, account, profile_id, operator, services.clock())
    services.wake([account.id])


@router.delete("/profiles/{profile_id}")
async def erase_profile(
    services: Services, account: AccountDep, operator: Operator, profile_id: ProfileId
) -> ErasureResponse:
    """Forget a person, here and in ProsperStack, as a Delete call does. It cannot be undone."""
    return _shown(
        services,
        account,
        await services.database.write(
            actions.erase_profile, account, profile_id, services.vault.pseudonym, operator, services.clock()
        ),
    )


@router.post("/erase")
async def erase(
    services: Services, account: AccountDep, operator: Operator, whom: ErasePersonRequest
) -> ErasureResponse:
    """The same by email or by user id, also for whoever is not known: older calls do not bring them back."""

    def work(connection: Connection) -> Erased:
        pseudonym, now = services.vault.pseudonym, services.clock()
        if whom.user_id is not None:
            return actions.erase_user(connection, account, whom.user_id, pseudonym, operator, now)
        return actions.erase(connection, account, whom.email or "", pseudonym, operator, now)

    return _shown(services, account, await services.database.write(work))


def _shown(services: AdminServices, account: Account, erased: Erased) -> ErasureResponse:
    services.wake([account.id])
    return ErasureResponse(
        profiles=erased.profiles, subscribers=erased.subscribers, in_prosperstack=erased.in_prosperstack
    )

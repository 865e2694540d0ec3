"""Base of every route of the API: operator and account of a request, error responses, body limit."""

from collections.abc import Callable, Collection, Coroutine, Sequence
from typing import Annotated, Any, Final

from fastapi import Depends, Path, Request, Response, Security
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import Message, Receive

from prosperstack_destination.admin import accounts
from prosperstack_destination.admin.services import AdminServices
from prosperstack_destination.errors import DestinationError, MappingConflict, TemporaryError
from prosperstack_destination.http_client import retry_after_header
from prosperstack_destination.http_responses import status_of
from prosperstack_destination.mapping.mapping_file import InvalidMapping
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


#: Largest request body, in bytes: a mapping of the largest size, with JSON's quotation.
MAX_BODY: Final = 1024 * 1024

#: Faults in one response at most.
MAX_FAULTS: Final = 20


class FaultResponse(BaseModel):
    """One fault of a mapping."""

    key: str = Field(description="Path of the fault, e.g. `rules[2].from`.")
    message: str = Field(description="The fault, and its correction.")
    line: int | None = Field(description="Line in the text, from 1; null if the mapping was sent as data.")
    column: int | None


class ErrorResponse(BaseModel):
    """Error of a request."""

    message: str
    faults: list[FaultResponse] = Field(
        default=[],
        description="Faults of a mapping, or of the request: then the key is a path as in `body.name`.",
    )
    version: int | None = Field(default=None, description="Of a conflict: the current version.")


#: Error responses of every route, and of routes with a request body.
_ERROR_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    401: {"model": ErrorResponse, "description": "The token is missing, unknown or revoked."},
    403: {"model": ErrorResponse, "description": "The API is closed: no token was issued yet."},
    404: {"model": ErrorResponse, "description": "Not found."},
    422: {"model": ErrorResponse, "description": "Invalid request; the message says why."},
    503: {"model": ErrorResponse, "description": "Temporarily unavailable; retry later."},
}
_TOO_LARGE: Final[dict[int | str, dict[str, Any]]] = {
    413: {"model": ErrorResponse, "description": f"The body has more than {MAX_BODY // 1024} KB."}
}
_WITH_BODY: Final = frozenset({"POST", "PUT", "PATCH"})


_UNREADABLE: Final = "The body cannot be read: send JSON in UTF-8, without thousands of digits or levels."


class ApiRoute(APIRoute):
    """Route that turns errors into responses and documents them. ``responses`` are those of the route alone."""

    def __init__(
        self,
        *args: Any,
        methods: Collection[str],
        responses: dict[int | str, dict[str, Any]] | None = None,
        **named: Any,
    ) -> None:
        errors = _ERROR_RESPONSES if _WITH_BODY.isdisjoint(methods) else {**_ERROR_RESPONSES, **_TOO_LARGE}
        super().__init__(*args, methods=list(methods), responses={**errors, **(responses or {})}, **named)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def respond(request: Request) -> Response:
            try:
                if not _WITH_BODY.isdisjoint(
                    self.methods or ()
                ):  # FastAPI reads the body before it looks at the token
                    await authenticate_operator(admin_services(request), await bearer(request))
                return await handle(Request(request.scope, _limit_body(request.receive)))
            except DestinationError as error:
                return error_response(error)
            except RequestValidationError as error:
                return _validation_response(error)
            except HTTPException as error:
                if error.status_code == 400:  # FastAPI's status for any other error while it reads the body
                    return _response(422, _UNREADABLE)
                return _response(error.status_code, error.detail)

        return respond


def _validation_response(error: RequestValidationError) -> JSONResponse:
    """Return the faults of a request without its values: one of them may be a token."""
    faults = [
        FaultResponse(key=_place(each), message=each["msg"], line=None, column=None)
        for each in error.errors()[:MAX_FAULTS]
    ]
    first = faults[0]
    return _response(422, f"Invalid request: {first.key}: {first.message}.", faults)


def _place(error: dict[str, Any]) -> str:
    place = list(error["loc"])
    if error["type"] == "extra_forbidden":  # the last part is a name from the request
        place[-1] = "…"
    return ".".join(map(str, place))


def _response(status: int, text: str, faults: Sequence[FaultResponse] = ()) -> JSONResponse:
    return JSONResponse(ErrorResponse(message=text, faults=list(faults)).model_dump(), status)


def error_response(error: DestinationError) -> JSONResponse:
    """Return the response for an error."""
    status = status_of(error)
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    if isinstance(error, TemporaryError):
        headers["Retry-After"] = retry_after_header(error.retry_after)
    faults = [to_fault_response(each) for each in error.faults] if isinstance(error, InvalidMapping) else []
    version = error.version if isinstance(error, MappingConflict) else None
    body = ErrorResponse(message=str(error), faults=faults, version=version)
    return JSONResponse(body.model_dump(), status, headers)


def to_fault_response(fault: Any) -> FaultResponse:
    """Return a fault as part of a response."""
    place = fault.place
    return FaultResponse(
        key=fault.key,
        message=fault.message,
        line=None if place is None else place.line,
        column=None if place is None else place.column,
    )


def _limit_body(receive: Receive) -> Receive:
    """Return a `receive` that raises 413 after `MAX_BODY` bytes."""
    read = 0

    async def limited() -> Message:
        nonlocal read
        message = await receive()
        read += len(message.get("body", b""))
        if read > MAX_BODY:
            raise HTTPException(413, f"The body has more than {MAX_BODY // 1024} KB.")
        return message

    return limited

"""What every route of the API does: bound the body, and tell errors in one form."""

from collections.abc import Callable, Collection, Coroutine, Sequence
from typing import Any, Final

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, Field, model_validator
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import Message, Receive

from prosperstack_destination.api.dependencies import admin_services, authenticate_operator, bearer
from prosperstack_destination.errors import (
    AlreadyConnected,
    ConfigurationError,
    DestinationError,
    InvalidToken,
    MappingConflict,
    MappingError,
    NotFoundError,
    NoTokensIssued,
    ProblemsRise,
    SegmentApiError,
    TemporaryError,
)
from prosperstack_destination.mapping.mapping_file import InvalidMapping
from prosperstack_destination.retry_after import retry_after_header
from prosperstack_destination.storable import storable

#: The largest body that is read, in bytes: a mapping of the largest size, and its quotation marks.
MAX_BODY: Final = 1024 * 1024

#: Faults that are told of at most.
MAX_FAULTS: Final = 20

_STATUSES: Final[tuple[tuple[type[DestinationError], int], ...]] = (
    (NoTokensIssued, 403),
    (InvalidToken, 401),
    (NotFoundError, 404),
    (MappingConflict, 409),
    (ProblemsRise, 409),
    (AlreadyConnected, 409),
    (MappingError, 422),
    (SegmentApiError, 422),
    (ConfigurationError, 422),
    (TemporaryError, 503),
)


class FaultResponse(BaseModel):
    """One thing that is wrong in a mapping."""

    key: str = Field(description="The keys that lead to it, as in `rules[2].from`.")
    message: str = Field(description="What is wrong, and what would be right.")
    line: int | None = Field(description="Where it stands in the text, from 1; null where data was sent.")
    column: int | None


class ErrorResponse(BaseModel):
    """Why something was not done."""

    message: str
    faults: list[FaultResponse] = Field(
        default=[],
        description="What is wrong in a mapping; or in the request, where the key is a place as in `body.name`.",
    )
    version: int | None = Field(default=None, description="Of a conflict: the version that is in force.")


#: What every route may answer besides; and what one does that a body is sent to.
_REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    401: {"model": ErrorResponse, "description": "The token is missing, unknown or revoked."},
    403: {"model": ErrorResponse, "description": "The API is closed: no token was issued yet."},
    404: {"model": ErrorResponse, "description": "There is no such thing."},
    422: {"model": ErrorResponse, "description": "It cannot be so; the message says why."},
    503: {"model": ErrorResponse, "description": "Not now: the same again later will work."},
}
_TOO_LARGE: Final[dict[int | str, dict[str, Any]]] = {
    413: {"model": ErrorResponse, "description": f"The body has more than {MAX_BODY // 1024} KB."}
}
_WITH_BODY: Final = frozenset({"POST", "PUT", "PATCH"})


_UNSTORABLE: Final = "No text may have the character U+0000, or half of a surrogate pair."
_UNREADABLE: Final = "The body cannot be read: it has to be JSON in UTF-8, without thousands of digits or levels."


class RequestBody(BaseModel):
    """What the body of a request is."""

    @model_validator(mode="before")
    @classmethod
    def _is_storable(cls, sent: Any) -> Any:
        try:
            if isinstance(sent, dict | list) and storable(sent) != sent:
                raise ValueError(_UNSTORABLE)
        except RecursionError:
            raise ValueError("It nests far too deep.") from None
        return sent


class ApiRoute(APIRoute):
    """A route that turns errors into answers, and has them documented; ``responses`` are those that are its own."""

    def __init__(
        self,
        *args: Any,
        methods: Collection[str],
        responses: dict[int | str, dict[str, Any]] | None = None,
        **named: Any,
    ) -> None:
        refusals = _REFUSALS if _WITH_BODY.isdisjoint(methods) else {**_REFUSALS, **_TOO_LARGE}
        super().__init__(*args, methods=list(methods), responses={**refusals, **(responses or {})}, **named)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def answered(request: Request) -> Response:
            try:
                if not _WITH_BODY.isdisjoint(
                    self.methods or ()
                ):  # FastAPI reads the body before it looks at the token
                    await authenticate_operator(admin_services(request), await bearer(request))
                return await handle(Request(request.scope, _limit_body(request.receive)))
            except DestinationError as error:
                return error_response(error)
            except RequestValidationError as error:
                return _malformed(error)
            except HTTPException as error:
                if error.status_code == 400:  # what FastAPI says of whatever else goes wrong while it reads
                    return _refused(422, _UNREADABLE)
                return _refused(error.status_code, error.detail)

        return answered


def _malformed(error: RequestValidationError) -> JSONResponse:
    """What is wrong with a request, without what was sent: a token may be among it, and be a name by mistake."""
    faults = [
        FaultResponse(key=_place(each), message=each["msg"], line=None, column=None)
        for each in error.errors()[:MAX_FAULTS]
    ]
    first = faults[0]
    return _refused(422, f"The request is not as it has to be: {first.key}: {first.message}.", faults)


def _place(error: dict[str, Any]) -> str:
    place = list(error["loc"])
    if error["type"] == "extra_forbidden":  # the last is a name that nobody here knows
        place[-1] = "…"
    return ".".join(map(str, place))


def _refused(status: int, text: str, faults: Sequence[FaultResponse] = ()) -> JSONResponse:
    return JSONResponse(ErrorResponse(message=text, faults=list(faults)).model_dump(), status)


def error_response(error: DestinationError) -> JSONResponse:
    """An error as an answer."""
    status = next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    if isinstance(error, TemporaryError):
        headers["Retry-After"] = retry_after_header(error.retry_after)
    faults = [to_fault_response(each) for each in error.faults] if isinstance(error, InvalidMapping) else []
    version = error.version if isinstance(error, MappingConflict) else None
    body = ErrorResponse(message=str(error), faults=faults, version=version)
    return JSONResponse(body.model_dump(), status, headers)


def to_fault_response(fault: Any) -> FaultResponse:
    """A fault as the API shows it."""
    place = fault.place
    return FaultResponse(
        key=fault.key,
        message=fault.message,
        line=None if place is None else place.line,
        column=None if place is None else place.column,
    )


def _limit_body(receive: Receive) -> Receive:
    """The same, until a body has more than it may have."""
    read = 0

    async def bounded() -> Message:
        nonlocal read
        message = await receive()
        read += len(message.get("body", b""))
        if read > MAX_BODY:
            raise HTTPException(413, f"The body has more than {MAX_BODY // 1024} KB.")
        return message

    return bounded

"""Base classes of request and response bodies."""

from datetime import datetime
from typing import Annotated, Any, Final, overload

from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator

from prosperstack_destination.clock import utc
from prosperstack_destination.storable_text import storable

_UNSTORABLE: Final = "Text must not contain the character U+0000 or half of a surrogate pair."


@overload
def to_datetime(value: int) -> datetime: ...
@overload
def to_datetime(value: int | None) -> datetime | None: ...
def to_datetime(value: int | None) -> datetime | None:
    """Return the time of microseconds since the epoch; None for None."""
    return None if value is None else utc(value)


def _from_microseconds(value: object) -> object:
    return utc(value) if isinstance(value, int) else value


#: Point in time: microseconds since the epoch in the service, ISO 8601 text in JSON.
Timestamp = Annotated[datetime, BeforeValidator(_from_microseconds)]


class ResponseBody(BaseModel):
    """Base class of response bodies. `model_validate` reads the fields from an object."""

    model_config = ConfigDict(from_attributes=True, validate_by_name=True, validate_by_alias=True)


class RequestBody(BaseModel):
    """Base class of request bodies. Rejects text that a database cannot store."""

    @model_validator(mode="before")
    @classmethod
    def _is_storable(cls, data: Any) -> Any:
        try:
            if isinstance(data, dict | list) and storable(data) != data:
                raise ValueError(_UNSTORABLE)
        except RecursionError:
            raise ValueError("The body is nested too deeply.") from None
        return data

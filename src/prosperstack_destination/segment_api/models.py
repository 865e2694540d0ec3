"""What Segment's Public API answers: read tolerantly, since what is not documented may come too."""

from typing import Annotated, Generic, TypeVar

from pydantic import AfterValidator, AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, JsonValue

from prosperstack_destination.http_client import limit_items, short_id

Data = TypeVar("Data", bound=BaseModel)

#: An id or a cursor, of `response_body.ID_BYTES` at most.
Id = Annotated[str, AfterValidator(short_id)]
#: A text that may be null or missing.
_Text = Annotated[str, BeforeValidator(lambda value: value or "")]


class _Told(BaseModel):
    # Not all that comes is for us: a source has its write keys with it.
    model_config = ConfigDict(extra="ignore", frozen=True)


class Answer(_Told, Generic[Data]):
    """Every answer that is no error."""

    data: Data


class Pagination(_Told):
    """Where a page stands; ``next`` asks for the one after it, None or "" ends the list."""

    next: Id | None = None


class RawPage(_Told):
    """A page of a list, which is called by what is in it; its items are not validated yet."""

    items: Annotated[list[JsonValue], BeforeValidator(limit_items)] = Field(
        validation_alias=AliasChoices("sources", "destinations", "destinationsCatalog")
    )
    pagination: Pagination = Pagination()


class Workspace(_Told):
    """The workspace that a token is of."""

    id: Id
    name: _Text = ""
    slug: _Text = ""


class WorkspaceAnswer(_Told):
    """The answer to "whose token is this?"."""

    workspace: Workspace


class Source(_Told):
    """A source of the workspace."""

    id: Id
    slug: _Text = ""
    name: _Text = ""
    enabled: bool = True

    @property
    def title(self) -> str:
        """What people know it by; it need not have a name."""
        return self.name or self.slug or self.id


class Action(_Told):
    """Something that a destination of the newer kind can do."""

    id: Id
    slug: _Text = ""


class CatalogEntry(_Told):
    """A kind of destination that can be made."""

    id: Id
    slug: _Text = ""
    actions: Annotated[tuple[Action, ...], BeforeValidator(limit_items)] = ()


class _EntryRef(_Told):
    id: Id
    slug: _Text = ""


class Destination(_Told):
    """A destination of a source's. Its settings are not read: Segment shows secrets among them."""

    id: Id
    source_id: _Text = Field("", validation_alias="sourceId")
    metadata: _EntryRef | None = None


class DestinationAnswer(_Told):
    """One destination."""

    destination: Destination


class EmptyAnswer(_Told):
    """An answer of which nothing is read."""


class _Fault(_Told):
    message: _Text = ""


class ErrorBody(_Told):
    """Why something was refused."""

    errors: tuple[_Fault, ...]

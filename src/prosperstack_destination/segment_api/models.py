"""Responses of Segment's Public API. Models ignore unknown fields, because the API may add some."""

from typing import Annotated, Generic, TypeVar

from pydantic import AfterValidator, AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, JsonValue

from prosperstack_destination.http_client import limit_items, short_id

Data = TypeVar("Data", bound=BaseModel)

#: Id or cursor, of at most `response_body.ID_BYTES` bytes.
Id = Annotated[str, AfterValidator(short_id)]
#: Text that may be null or missing.
_Text = Annotated[str, BeforeValidator(lambda value: value or "")]


class _Response(BaseModel):
    # Responses contain secrets that must not be read: a source has its write keys.
    model_config = ConfigDict(extra="ignore", frozen=True)


class Envelope(_Response, Generic[Data]):
    """Envelope of every successful response."""

    data: Data


class Pagination(_Response):
    """Position of a page. ``next`` is the cursor of the next page; None or "" ends the list."""

    next: Id | None = None


class RawPage(_Response):
    """Page of a list, under the list's own key; its items are not validated yet."""

    items: Annotated[list[JsonValue], BeforeValidator(limit_items)] = Field(
        validation_alias=AliasChoices("sources", "destinations", "destinationsCatalog")
    )
    pagination: Pagination = Pagination()


class Workspace(_Response):
    """Workspace that a token belongs to."""

    id: Id
    name: _Text = ""
    slug: _Text = ""


class WorkspaceResponse(_Response):
    """Response with the token's workspace."""

    workspace: Workspace


class Source(_Response):
    """Source of the workspace."""

    id: Id
    slug: _Text = ""
    name: _Text = ""
    enabled: bool = True

    @property
    def title(self) -> str:
        """Return the name, or the slug or the id if the source has no name."""
        return self.name or self.slug or self.id


class Action(_Response):
    """Action of an Actions destination."""

    id: Id
    slug: _Text = ""


class CatalogEntry(_Response):
    """Kind of destination in Segment's catalog."""

    id: Id
    slug: _Text = ""
    actions: Annotated[tuple[Action, ...], BeforeValidator(limit_items)] = ()


class _EntryRef(_Response):
    id: Id
    slug: _Text = ""


class Destination(_Response):
    """Destination of a source, without its settings, which contain secrets."""

    id: Id
    source_id: _Text = Field("", validation_alias="sourceId")
    metadata: _EntryRef | None = None


class DestinationResponse(_Response):
    """Response with one destination."""

    destination: Destination


class EmptyBody(_Response):
    """Response whose content is not read."""


class _ErrorItem(_Response):
    message: _Text = ""


class ErrorBody(_Response):
    """Response to a request that Segment refuses."""

    errors: tuple[_ErrorItem, ...]

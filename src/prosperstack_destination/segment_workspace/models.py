"""What Segment's Public API answers: read tolerantly, since what is not documented may come too."""

from typing import Annotated, Generic, TypeVar

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field

Data = TypeVar("Data", bound=BaseModel)
Item = TypeVar("Item", bound=BaseModel)

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

    next: str | None = None


class Page(_Told, Generic[Item]):
    """A page of a list, which is called by what is in it."""

    items: tuple[Item, ...] = Field(validation_alias=AliasChoices("sources", "destinations", "destinationsCatalog"))
    pagination: Pagination = Pagination()


class Workspace(_Told):
    """The workspace that a token is of."""

    id: str
    name: _Text = ""
    slug: _Text = ""


class WorkspaceAnswer(_Told):
    """The answer to "whose token is this?"."""

    workspace: Workspace


class Source(_Told):
    """A source of the workspace."""

    id: str
    slug: _Text = ""
    name: _Text = ""
    enabled: bool = True

    @property
    def title(self) -> str:
        """What people know it by; it need not have a name."""
        return self.name or self.slug or self.id


class Action(_Told):
    """Something that a destination of the newer kind can do."""

    id: str
    slug: _Text = ""


class CatalogEntry(_Told):
    """A kind of destination that can be made."""

    id: str
    slug: _Text = ""
    actions: tuple[Action, ...] = ()


class _EntryRef(_Told):
    id: str
    slug: _Text = ""


class Destination(_Told):
    """A destination of a source's. Its settings are not read: Segment shows secrets among them."""

    id: str
    source_id: _Text = Field("", validation_alias="sourceId")
    metadata: _EntryRef | None = None


class DestinationAnswer(_Told):
    """One destination."""

    destination: Destination


class Nothing(_Told):
    """An answer of which nothing is read."""


class _Fault(_Told):
    message: _Text = ""


class ErrorBody(_Told):
    """Why something was refused."""

    errors: tuple[_Fault, ...]

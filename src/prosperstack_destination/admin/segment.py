"""Segment sources of an account that are not connected here, and the methods and URLs of a manual setup."""

from enum import StrEnum

from sqlalchemy import Connection

from prosperstack_destination.segment_api import destination_specs
from prosperstack_destination.store import sources
from prosperstack_destination.store.accounts import Account
from prosperstack_destination.store.credentials import CredentialKind
from prosperstack_destination.store.sources import KnownSource


class SetupMethod(StrEnum):
    """Method by which calls arrive."""

    #: Segment's Webhooks (Actions), with a shared secret.
    WEBHOOK = "webhook"
    #: ProsperStack's own destination, with a key.
    DESTINATION = "destination"
    #: One of Segment's SDKs with this service as its host, with a key.
    SDK = "sdk"

    @property
    def credential_kind(self) -> CredentialKind:
        """Kind of the credential that authenticates the calls."""
        return CredentialKind.SECRET if self is SetupMethod.WEBHOOK else CredentialKind.KEY


def unconnected_sources(connection: Connection, account: Account, limit: int) -> list[KnownSource]:
    """Return the sources that send but were not connected by this service, latest call first."""
    return sources.unconnected(connection, account.id, limit)


def webhook_url(public_url: str, account: Account) -> str:
    """Return the URL to which Segment posts an account's calls.

    Raises `InvalidInput` for a public URL that Segment cannot reach.
    """
    return destination_specs.webhook_url(public_url, account.id)

"""The two kinds of destination that are made in Segment, and all that is believed of them.

Segment's Public API itself is documented. How its catalog calls Webhooks (Actions), how that is set up and how a
mapping (there: a subscription) is made are what public code and Segment's clients show: should Segment see it
otherwise, this is the only place to change.
"""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, urlsplit

from pydantic import JsonValue

from prosperstack_destination.errors import ConfigurationError
from prosperstack_destination.segment_api.models import Action, CatalogEntry, Destination
from prosperstack_destination.store.segment_connections import Kind, Region

#: Where a region's Public API is.
BASE_URLS: Final[Mapping[Region, str]] = {
    Region.US: "https://api.segmentapis.com",
    Region.EU: "https://eu1.api.segmentapis.com",
}

#: Subscriptions are asked for in a version of the API that has no other name; the rest takes plain JSON.
SUBSCRIPTION_MEDIA_TYPE: Final = "application/vnd.segment.v1alpha+json"
#: Which calls a subscription sends, in Segment's own language.
TRIGGER: Final = 'type = "identify"'
#: Events in one request of a webhook's; Segment takes up to 4,000.
BATCH_SIZE: Final = 1_000
#: What a webhook's only action is called.
SEND: Final = "send"


@dataclass(frozen=True, slots=True)
class DestinationSpec:
    """How a kind of destination is called in Segment, and where its credential goes."""

    slug: str
    metadata_id: str
    #: What the destination is called in the workspace.
    name: str
    #: The setting that takes the inbound key or the shared secret.
    credential_setting: str

    def is_made_of(self, entry: CatalogEntry) -> bool:
        """Whether this is the catalog's entry for it: slugs have been renamed, ids have not."""
        return self.slug == entry.slug or self.metadata_id == entry.id

    def is_one(self, destination: Destination) -> bool:
        """Whether a destination is of this kind."""
        metadata = destination.metadata
        return metadata is not None and (self.slug == metadata.slug or self.metadata_id == metadata.id)


SPECS: Final[Mapping[Kind, DestinationSpec]] = {
    Kind.DESTINATION: DestinationSpec("prosperstack", "6116daebcc926a434fe41bb3", "ProsperStack", "apiKey"),
    Kind.WEBHOOK: DestinationSpec(
        "actions-webhook", "614a3c7d791c91c41bae7599", "ProsperStack (custom properties)", "sharedSecret"
    ),
}


def send_action(entry: CatalogEntry) -> Action | None:
    """The action of a webhook that sends calls; its only one, should it be called otherwise by now."""
    named = [action for action in entry.actions if action.slug == SEND]
    return next(iter(named or (entry.actions if len(entry.actions) == 1 else ())), None)


def subscription(action: Action, url: str) -> dict[str, JsonValue]:
    """What has every Identify call sent to a URL as it is, many in a request."""
    return {
        "name": "Identify calls",
        "actionId": action.id,
        "trigger": TRIGGER,
        "enabled": True,
        "settings": {
            "url": url,
            "method": "POST",
            "data": {"@path": "$."},
            "enable_batching": True,
            "batch_size": BATCH_SIZE,
        },
    }


def webhook_url(public_url: str, account_id: str) -> str:
    """Where Segment is to post an account's calls. Raises `ConfigurationError` for a URL that Segment cannot
    reach.
    """
    try:
        parts = urlsplit(public_url.strip())
        fault = _fault(parts)
    except ValueError:
        fault = "it is no URL"
    if fault:
        raise ConfigurationError(
            f"Segment cannot post to {public_url[:200]!r}, because {fault}: give the URL under which this service "
            "is reached from the internet, as in https://destination.example.com."
        )
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}/webhook/{account_id}"


def _fault(parts: SplitResult) -> str:
    """Why Segment cannot post to a URL; "" where it can. Raises `ValueError` for what is no URL."""
    host, port = parts.hostname or "", parts.port
    if parts.scheme == "http":
        return "it is not HTTPS, and what is sent could be read on its way"
    if parts.scheme != "https" or not host or port == 0:
        return "it does not begin with https:// and a host"
    if parts.query or parts.fragment or "@" in parts.netloc:
        return "it has more than a host and a path"
    return f"{host} is within a network of your own" if _is_private(host) else ""


def _is_private(host: str) -> bool:
    """Whether a host is of this machine or of a network of one's own, which Segment does not post to."""
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return host == "localhost" or host.endswith((".localhost", ".local", ".internal")) or "." not in host

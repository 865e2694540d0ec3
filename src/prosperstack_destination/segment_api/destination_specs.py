"""Destination specs: the two kinds of destination that the service creates in Segment.

Segment documents its Public API, but neither the catalog entry and the settings of Webhooks (Actions) nor the form
of a subscription (Segment's name of a mapping). These come from public code and Segment's clients. If Segment
changes them, only this module has to change.
"""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, urlsplit

from pydantic import JsonValue

from prosperstack_destination.errors import InvalidInput
from prosperstack_destination.segment_api.models import Action, CatalogEntry, Destination
from prosperstack_destination.store.segment_connections import ConnectionKind, Region

#: Base URL of the Public API in each region.
BASE_URLS: Final[Mapping[Region, str]] = {
    Region.US: "https://api.segmentapis.com",
    Region.EU: "https://eu1.api.segmentapis.com",
}

#: Media type of the API version that has subscriptions. Other requests use plain JSON.
SUBSCRIPTION_MEDIA_TYPE: Final = "application/vnd.segment.v1alpha+json"
#: Filter of the calls that a subscription sends, in Segment's query language.
TRIGGER: Final = 'type = "identify"'
#: Most calls in one webhook request. Segment allows 4,000.
BATCH_SIZE: Final = 1_000
#: Slug of a webhook's only action.
SEND: Final = "send"


@dataclass(frozen=True, slots=True)
class DestinationSpec:
    """Identifiers of a kind of destination in Segment's catalog, and the setting for its credential."""

    slug: str
    metadata_id: str
    #: Name of the destination in the workspace.
    name: str
    #: Setting for the inbound key or the shared secret.
    credential_setting: str

    def matches_entry(self, entry: CatalogEntry) -> bool:
        """Return whether a catalog entry is of this kind, by slug or id, because Segment has renamed slugs."""
        return self.slug == entry.slug or self.metadata_id == entry.id

    def matches(self, destination: Destination) -> bool:
        """Return whether a destination is of this kind."""
        metadata = destination.metadata
        return metadata is not None and (self.slug == metadata.slug or self.metadata_id == metadata.id)


SPECS: Final[Mapping[ConnectionKind, DestinationSpec]] = {
    ConnectionKind.DESTINATION: DestinationSpec(
        "prosperstack", "6116daebcc926a434fe41bb3", "ProsperStack", "apiKey"
    ),
    ConnectionKind.WEBHOOK: DestinationSpec(
        "actions-webhook", "614a3c7d791c91c41bae7599", "ProsperStack (custom properties)", "sharedSecret"
    ),
}


def send_action(entry: CatalogEntry) -> Action | None:
    """Return the action of a webhook that sends calls, by slug or as the only action; None without one."""
    send_actions = [action for action in entry.actions if action.slug == SEND]
    return next(iter(send_actions or (entry.actions if len(entry.actions) == 1 else ())), None)


def subscription(action: Action, url: str) -> dict[str, JsonValue]:
    """Return the subscription that posts every Identify call unchanged to a URL, in batches."""
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
    """Return the URL to which Segment posts an account's calls.

    Raises `InvalidInput` for a public URL that Segment cannot reach.
    """
    try:
        parts = urlsplit(public_url.strip())
        reason = _unreachable_reason(parts)
    except ValueError:
        reason = "it is not a URL"
    if reason:
        raise InvalidInput(
            f"Segment cannot post to {public_url[:200]!r}, because {reason}: give the URL under which this service "
            "is reached from the internet, e.g. https://destination.example.com."
        )
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}/webhook/{account_id}"


def _unreachable_reason(parts: SplitResult) -> str:
    """Return the reason why Segment cannot post to a URL, "" if it can. Raises `ValueError` for an invalid URL."""
    host, port = parts.hostname or "", parts.port
    if parts.scheme == "http":
        return "it is not HTTPS, so calls could be read in transit"
    if parts.scheme != "https" or not host or port == 0:
        return "it does not begin with https:// and a host"
    if parts.query or parts.fragment or "@" in parts.netloc:
        return "it has more than a host and a path"
    return f"{host} is within a network of your own" if _is_private(host) else ""


def _is_private(host: str) -> bool:
    """Return whether a host is local or in a private network, to which Segment does not post."""
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return host == "localhost" or host.endswith((".localhost", ".local", ".internal")) or "." not in host

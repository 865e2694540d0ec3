"""Provisioning: creates a destination in Segment completely, or removes it again."""

from dataclasses import dataclass

from pydantic import JsonValue

from prosperstack_destination.errors import SegmentApiError, SegmentUnavailable
from prosperstack_destination.segment_api.client import PublicApiClient
from prosperstack_destination.segment_api.destination_specs import SPECS, DestinationSpec, send_action, subscription
from prosperstack_destination.segment_api.models import Action, CatalogEntry
from prosperstack_destination.store.segment_connections import ConnectionKind

_NO_MAPPING = (
    "Segment created the destination, but not the mapping that sends to it: only workspaces with the feature "
    "Destination Subscriptions can create mappings by the Public API."
)


@dataclass(frozen=True, slots=True)
class ProvisioningPlan:
    """Destination to create, by the workspace's catalog."""

    spec: DestinationSpec
    entry: CatalogEntry
    #: Action of a webhook that sends calls; None for other kinds.
    action: Action | None


async def plan_destination(api: PublicApiClient, kind: ConnectionKind) -> ProvisioningPlan:
    """Find a kind of destination in the catalog. Raises `SegmentApiError` if it cannot be created."""
    spec = SPECS[kind]
    entry = await api.find_in_catalog(spec)
    if entry is None:
        other = ConnectionKind.WEBHOOK if kind is ConnectionKind.DESTINATION else ConnectionKind.DESTINATION
        raise SegmentApiError(
            f"Segment's catalog has no destination {spec.slug!r} for this workspace: connect the source as "
            f"{other.value!r} instead, or by hand."
        )
    if kind is not ConnectionKind.WEBHOOK:
        return ProvisioningPlan(spec, entry, None)
    action = send_action(entry)
    if action is None:
        raise SegmentApiError(
            f"Segment's catalog has no action of {spec.slug!r} that sends calls: connect the source by hand."
        )
    return ProvisioningPlan(spec, entry, action)


async def create_destination(
    api: PublicApiClient, plan: ProvisioningPlan, source_id: str, credential: str, url: str
) -> str:
    """Create a destination with a credential, and return its id. A webhook sends to the URL.

    Raises `SegmentApiError` and `SegmentUnavailable`, whose text says what is left in Segment, if anything can be.
    """
    settings: dict[str, JsonValue] = {plan.spec.credential_setting: credential}
    try:
        destination = await api.create_destination(
            source_id, plan.entry.id, plan.spec.name, settings, enabled=plan.action is None
        )
    except SegmentUnavailable as error:
        remedy = f"If the source has a destination {plan.spec.name!r} in Segment, delete it there."
        raise _with_outcome(error, remedy) from error
    if plan.action is not None:
        await _finish(api, plan, destination.id, subscription(plan.action, url))
    return destination.id


async def delete_destination(api: PublicApiClient, plan: ProvisioningPlan, destination_id: str) -> None:
    """Delete a created destination. The text of the error says that the destination is left in Segment."""
    try:
        await api.delete_destination(destination_id)
    except (SegmentApiError, SegmentUnavailable) as error:
        raise _with_outcome(error, f"The destination {plan.spec.name!r} is left: delete it in Segment.") from error


async def _finish(
    api: PublicApiClient, plan: ProvisioningPlan, destination_id: str, mapping: dict[str, JsonValue]
) -> None:
    """Add the mapping of a webhook that was created disabled, then enable it, so that it never sends early."""
    try:
        await api.create_subscription(destination_id, mapping)
        await api.enable_destination(destination_id)
    except (SegmentApiError, SegmentUnavailable) as error:
        try:
            await delete_destination(api, plan, destination_id)
        except (SegmentApiError, SegmentUnavailable) as cleanup_error:
            raise _with_outcome(error, f"{_NO_MAPPING} {cleanup_error}") from error
        raise _with_outcome(error, f"{_NO_MAPPING} It was deleted again: connect the source by hand.") from error


def _with_outcome(
    error: SegmentApiError | SegmentUnavailable, outcome: str
) -> SegmentApiError | SegmentUnavailable:
    """Return the error with the outcome of the operation added to its text."""
    text = f"{error} {outcome}"
    if isinstance(error, SegmentUnavailable):
        return SegmentUnavailable(text, retry_after=error.retry_after, status_code=error.status_code)
    return type(error)(text, status_code=error.status_code, segment_message=error.segment_message)

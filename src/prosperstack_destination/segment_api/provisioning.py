"""Making a destination in Segment, whole or not at all."""

from dataclasses import dataclass

from pydantic import JsonValue

from prosperstack_destination.errors import SegmentApiError, SegmentUnavailable
from prosperstack_destination.segment_api.client import PublicApiClient
from prosperstack_destination.segment_api.destination_specs import SPECS, DestinationSpec, send_action, subscription
from prosperstack_destination.segment_api.models import Action, CatalogEntry
from prosperstack_destination.store.segment_connections import Kind

_NO_MAPPING = (
    "The destination was made, but not the mapping that sends to it: Segment lets only workspaces with its feature "
    "Destination Subscriptions make mappings from outside."
)


@dataclass(frozen=True, slots=True)
class ProvisioningPlan:
    """What is to be made, as the workspace's catalog has it."""

    made: DestinationSpec
    entry: CatalogEntry
    #: Of a webhook: what sends.
    action: Action | None


async def plan_destination(api: PublicApiClient, kind: Kind) -> ProvisioningPlan:
    """Look a kind of destination up in the catalog. Raises `SegmentApiError` where it cannot be made."""
    made = SPECS[kind]
    entry = await api.find_in_catalog(made)
    if entry is None:
        other = Kind.WEBHOOK if kind is Kind.DESTINATION else Kind.DESTINATION
        raise SegmentApiError(
            f"Segment's catalog has no destination {made.slug!r} for this workspace: connect the source as "
            f"{other.value!r} instead, or by hand."
        )
    if kind is not Kind.WEBHOOK:
        return ProvisioningPlan(made, entry, None)
    action = send_action(entry)
    if action is None:
        raise SegmentApiError(
            f"Segment's catalog names no action of {made.slug!r} that could send: connect the source by hand."
        )
    return ProvisioningPlan(made, entry, action)


async def create_destination(
    api: PublicApiClient, plan: ProvisioningPlan, source_id: str, credential: str, url: str
) -> str:
    """Make a destination that shows a credential, and sends to a URL if it is a webhook; its id in Segment.

    Raises `SegmentApiError` and `SegmentUnavailable`, which say what is left there, if anything can be.
    """
    settings: dict[str, JsonValue] = {plan.made.credential_setting: credential}
    try:
        destination = await api.create_destination(
            source_id, plan.entry.id, plan.made.name, settings, enabled=plan.action is None
        )
    except SegmentUnavailable as error:
        fate = f"Should the source have a destination {plan.made.name!r} in Segment by now, delete it there."
        raise _told(error, fate) from error
    if plan.action is not None:
        await _finish(api, plan, destination.id, subscription(plan.action, url))
    return destination.id


async def delete_destination(api: PublicApiClient, plan: ProvisioningPlan, destination_id: str) -> None:
    """Delete what was made, as far as Segment still has it. Raises what says that it is left there."""
    try:
        await api.delete_destination(destination_id)
    except (SegmentApiError, SegmentUnavailable) as error:
        raise _told(error, f"The destination {plan.made.name!r} is left: delete it in Segment.") from error


async def _finish(
    api: PublicApiClient, plan: ProvisioningPlan, destination_id: str, mapping: dict[str, JsonValue]
) -> None:
    """Have a webhook send. It was made disabled, so that it never does by halves."""
    try:
        await api.create_subscription(destination_id, mapping)
        await api.enable_destination(destination_id)
    except (SegmentApiError, SegmentUnavailable) as error:
        try:
            await delete_destination(api, plan, destination_id)
        except (SegmentApiError, SegmentUnavailable) as left:
            raise _told(error, f"{_NO_MAPPING} {left}") from error
        raise _told(error, f"{_NO_MAPPING} It was deleted again: connect the source by hand.") from error


def _told(error: SegmentApiError | SegmentUnavailable, fate: str) -> SegmentApiError | SegmentUnavailable:
    """The same error, which also says what became of what was begun."""
    text = f"{error} {fate}"
    if isinstance(error, SegmentUnavailable):
        return SegmentUnavailable(text, retry_after=error.retry_after, status_code=error.status_code)
    return type(error)(text, status_code=error.status_code, segment_message=error.segment_message)

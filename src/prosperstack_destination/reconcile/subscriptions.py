"""Properties of subscriptions: a rule's ``subscription.`` target goes to every active subscription of a subscriber.

Listing a subscriber's subscriptions costs a request, and so does each one that differs. So nothing is sent before a
desired value differs from the one last applied.
"""

from collections.abc import Awaitable, Collection, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Final

import structlog
from pydantic import JsonValue
from sqlalchemy import Connection

from prosperstack_destination.account_mapping import dump_catalog, fetch_catalog
from prosperstack_destination.errors import (
    ProsperStackError,
    ProsperStackNotFound,
    ProsperStackRejected,
    ProsperStackUnavailable,
)
from prosperstack_destination.mapping.coercion import PropertyValue
from prosperstack_destination.mapping.projection import MappingProblem, Projection
from prosperstack_destination.mapping.rules import SUBSCRIPTION, load_rules
from prosperstack_destination.prosperstack import models
from prosperstack_destination.prosperstack.client import all_items
from prosperstack_destination.prosperstack.models import Page, PropertyDefinition
from prosperstack_destination.reconcile.rejection_bisect import Fault, RejectionBisect
from prosperstack_destination.reconcile.three_way_diff import same
from prosperstack_destination.reconcile.worker_context import RequestInfo, WorkerContext
from prosperstack_destination.store import accounts, mappings, profiles, subscription_states
from prosperstack_destination.store.accounts import Account
from prosperstack_destination.store.erasure import queue_remote_erasure
from prosperstack_destination.store.models import Profile
from prosperstack_destination.store.problems import rejection_reason
from prosperstack_destination.store.subscribers import Subscriber
from prosperstack_destination.store.subscription_states import PREFIX, SubscriptionState

log = structlog.get_logger(__name__)

#: Statuses of active subscriptions.
ACTIVE: Final = frozenset({"active", "trialing"})


def pending(desired: Mapping[str, PropertyValue], state: SubscriptionState) -> dict[str, PropertyValue]:
    """Return the desired values that are neither applied nor rejected."""
    values = {}
    for key, value in desired.items():
        rejected = state.rejected.get(key)
        if key in state.applied and same(state.applied[key], value):
            continue
        if rejected is None or not same(rejected[0], value):
            values[key] = value
    return values


def to_send(new: Mapping[str, PropertyValue], observed: Mapping[str, JsonValue]) -> dict[str, PropertyValue]:
    """Return the new values that differ from one subscription's."""
    return {key: value for key, value in new.items() if not same(observed.get(key), value)}


class SubscriptionUpdater:
    """Updates the subscriptions of an account's subscribers. Each step is safe to repeat."""

    def __init__(self, ctx: WorkerContext) -> None:
        self._ctx = ctx

    async def update(self, profile: Profile, subscribers: Iterable[Subscriber], projection: Projection) -> None:
        """Update what differs for a profile, and mark what ProsperStack rejects.

        Raises `ProsperStackError` where the account has to wait.
        """
        for subscriber in subscribers:
            await self._settle(profile, subscriber.id, projection.subscription_values())

    async def clear(self, subscriber_id: str, properties: Iterable[str]) -> list[str]:
        """Delete values on all subscriptions of a subscriber; return the keys that are the subscriber's own.

        ``properties`` are keys, those of subscriptions with `PREFIX`. Raises `ProsperStackError`.
        """
        keys = [key.removeprefix(PREFIX) for key in properties if key.startswith(PREFIX)]
        if keys:
            for subscription in await self._list(None, subscriber_id):
                values = {key: None for key in keys if key in subscription.values()}
                if values:
                    await self._patch(None, subscription.id, values)
        return [key for key in properties if not key.startswith(PREFIX)]

    async def refresh_catalog(self, account: Account) -> Account:
        """List the properties of subscriptions where a rule targets one; return the account's new state."""
        mapping = await self._ctx.database.read(mappings.current, self._ctx.account_id)
        if not load_rules(mapping.rules).for_subscriptions:
            return account

        def fetch(cursor: str | None) -> Awaitable[Page[PropertyDefinition]]:
            request = partial(self._ctx.prosperstack.list_properties, cursor, entity="subscription")
            return self._ctx.send(RequestInfo("GET /properties"), request)

        catalog = dump_catalog(await fetch_catalog(fetch, "subscription"))
        if catalog != account.subscription_catalog:
            await self._ctx.database.write(_store_catalog, self._ctx.account_id, catalog, self._ctx.clock())
        return replace(account, subscription_catalog=catalog)

    async def _settle(self, profile: Profile, subscriber_id: str, desired: Mapping[str, PropertyValue]) -> None:
        ctx = self._ctx
        state = await ctx.database.read(subscription_states.of_subscriber, ctx.account_id, subscriber_id)
        new = pending(desired, state)
        if not new:
            return
        state = state.with_unconfirmed(new.keys())
        await ctx.database.write(_store_state, profile, subscriber_id, state, new.keys(), ctx.clock())
        try:
            rejected = await self._send_all(profile, subscriber_id, new)
        except ProsperStackError:  # ProsperStack may have applied some of it
            await ctx.database.write(_store_state, profile, subscriber_id, state, new.keys(), ctx.clock())
            raise
        settled = {key: value for key, value in new.items() if key not in rejected}
        state = state.with_result(settled, rejected)
        await ctx.database.write(_store_state, profile, subscriber_id, state, new.keys(), ctx.clock())

    async def _send_all(
        self, profile: Profile, subscriber_id: str, new: Mapping[str, PropertyValue]
    ) -> dict[str, tuple[JsonValue, str]]:
        """Send properties to every active subscription of a subscriber; return the rejected ones."""
        rejected: dict[str, tuple[JsonValue, str]] = {}
        gone: set[str] = set()
        for subscription in await self._list(profile, subscriber_id):
            if subscription.status in ACTIVE:
                try:
                    rejected |= await self._send(profile, subscription.id, to_send(new, subscription.values()))
                except ProsperStackNotFound:
                    gone.add(subscription.id)
        if gone and (shown := gone & {each.id for each in await self._list(profile, subscriber_id)}):
            raise ProsperStackUnavailable(
                f"ProsperStack answered 404 for subscription {min(shown)}, and still lists it.", status_code=404
            )
        return rejected

    async def _list(self, profile: Profile | None, subscriber_id: str) -> list[models.Subscription]:
        info = _request_info("GET /subscriptions", profile, subscriber_id)

        def fetch(cursor: str | None) -> Awaitable[Page[models.Subscription]]:
            return self._ctx.send(info, partial(self._ctx.prosperstack.find_subscriptions, subscriber_id, cursor))

        return list(await all_items(fetch))

    async def _send(
        self, profile: Profile, subscription_id: str, properties: dict[str, PropertyValue]
    ) -> dict[str, tuple[JsonValue, str]]:
        """Send properties to one subscription; return the rejected ones with ProsperStack's reason."""
        rejected: dict[str, tuple[JsonValue, str]] = {}
        while properties:
            try:
                await self._patch(profile, subscription_id, properties)
                break
            except ProsperStackRejected as rejection:
                fault = await self._isolate(profile, subscription_id, RejectionBisect(properties, str(rejection)))
                rejected[fault.key] = (fault.value, fault.reason)
                properties = {key: value for key, value in properties.items() if key != fault.key}
        return rejected

    async def _isolate(self, profile: Profile, subscription_id: str, search: RejectionBisect) -> Fault:
        while (fault := search.fault) is None:
            try:
                await self._patch(profile, subscription_id, dict(search.attempt))
            except ProsperStackRejected as rejection:
                search = search.rejected(str(rejection))
            else:
                search = search.accepted()
        return fault

    async def _patch(
        self, profile: Profile | None, subscription_id: str, properties: Mapping[str, PropertyValue]
    ) -> None:
        info = _request_info("PATCH /subscriptions/{id}", profile, subscription_id, properties)
        await self._ctx.send(info, partial(self._ctx.prosperstack.update_subscription, subscription_id, properties))
        log.info("delivered", subscription=subscription_id, properties=sorted(properties))


def rejections(state: SubscriptionState, projection: Projection) -> list[MappingProblem]:
    """Return the rejections of values that are desired now."""
    return [
        MappingProblem(SUBSCRIPTION + key, desired.trait, desired.value, rejection_reason(known[1]))
        for key, desired in projection.subscription.items()
        if (known := state.rejected.get(key)) is not None and same(known[0], desired.value)
    ]


def _request_info(
    request: str, profile: Profile | None, target: str, properties: Mapping[str, PropertyValue] | None = None
) -> RequestInfo:
    """Return the description of a request for a profile; None: the profile was erased."""
    if profile is None:
        return RequestInfo(request, None, target, properties or {})
    return RequestInfo(request, profile.email, target, properties or {}, profile.attempts)


def _store_catalog(connection: Connection, account_id: str, catalog: str, now: int) -> None:
    mappings.begin_remap(connection, account_id, now)
    accounts.set_subscription_catalog(connection, account_id, catalog)


def _store_state(
    connection: Connection,
    profile: Profile,
    subscriber_id: str,
    state: SubscriptionState,
    sent: Collection[str],
    now: int,
) -> None:
    """Store the state of subscriptions. If the profile was erased meanwhile, queue a remote erasure."""
    if profiles.get(connection, profile.id) is None:
        queue_remote_erasure(
            connection, profile.account_id, {subscriber_id: [PREFIX + key for key in sorted(sent)]}, now
        )
    else:
        subscription_states.settle(connection, profile.account_id, subscriber_id, state, now)

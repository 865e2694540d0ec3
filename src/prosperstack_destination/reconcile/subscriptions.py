"""Properties of subscriptions: what a rule targets with ``subscription.`` goes to every active one of a subscriber.

It costs a request to list a subscriber's subscriptions and one for each that differs, so nothing is asked before a
desired value is another than the one last settled.
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
from prosperstack_destination.store import accounts, mappings, profiles, remap_progress, subscription_states
from prosperstack_destination.store.accounts import Account
from prosperstack_destination.store.erasure import queue_remote_erasure
from prosperstack_destination.store.models import Profile
from prosperstack_destination.store.problems import as_rejected
from prosperstack_destination.store.subscribers import Subscriber
from prosperstack_destination.store.subscription_states import PREFIX, SubscriptionState

log = structlog.get_logger(__name__)

#: Subscriptions that count as active.
ACTIVE: Final = frozenset({"active", "trialing"})


def pending(desired: Mapping[str, PropertyValue], state: SubscriptionState) -> dict[str, PropertyValue]:
    """What of the desired values is neither settled nor rejected already."""
    found = {}
    for key, value in desired.items():
        rejected = state.set_aside.get(key)
        if key in state.applied and same(state.applied[key], value):
            continue
        if rejected is None or not same(rejected[0], value):
            found[key] = value
    return found


def to_send(new: Mapping[str, PropertyValue], observed: Mapping[str, JsonValue]) -> dict[str, PropertyValue]:
    """What of new values one subscription does not have."""
    return {key: value for key, value in new.items() if not same(observed.get(key), value)}


class SubscriptionUpdater:
    """Brings the subscriptions of an account's subscribers to what is desired. Each step is safe to repeat."""

    def __init__(self, at: WorkerContext) -> None:
        self._at = at

    async def update(self, profile: Profile, subscribers: Iterable[Subscriber], projection: Projection) -> None:
        """Update what differs for a person, and set aside what ProsperStack rejects.

        Raises `ProsperStackError` where the account has to wait.
        """
        for each in subscribers:
            await self._settle(profile, each.id, projection.subscription_values())

    async def clear(self, subscriber_id: str, properties: Iterable[str]) -> list[str]:
        """Delete values on all subscriptions of a subscriber; the keys that are the subscriber's own.

        ``properties`` are keys, those of subscriptions with `PREFIX`. Raises `ProsperStackError`.
        """
        keys = [key.removeprefix(PREFIX) for key in properties if key.startswith(PREFIX)]
        if keys:
            for each in await self._list(None, subscriber_id):
                there = {key: None for key in keys if key in each.values()}
                if there:
                    await self._patch(None, each.id, there)
        return [key for key in properties if not key.startswith(PREFIX)]

    async def refresh_catalog(self, account: Account) -> Account:
        """List the properties of subscriptions, if a rule asks for them; the account as it is then."""
        mapping = await self._at.database.read(mappings.current, self._at.account_id)
        if not load_rules(mapping.rules).for_subscriptions:
            return account

        def fetch(cursor: str | None) -> Awaitable[Page[PropertyDefinition]]:
            ask = partial(self._at.prosperstack.list_properties, cursor, entity="subscription")
            return self._at.send(RequestInfo("GET /properties"), ask)

        catalog = dump_catalog(await fetch_catalog(fetch, "subscription"))
        if catalog != account.subscription_catalog:
            await self._at.database.write(_store_catalog, self._at.account_id, catalog, self._at.clock())
        return replace(account, subscription_catalog=catalog)

    async def _settle(self, profile: Profile, subscriber_id: str, desired: Mapping[str, PropertyValue]) -> None:
        at = self._at
        state = await at.database.read(subscription_states.of_subscriber, at.account_id, subscriber_id)
        new = pending(desired, state)
        if not new:
            return
        state = state.about_to_send(new.keys())
        await at.database.write(_note, profile, subscriber_id, state, new.keys(), at.clock())
        try:
            rejected = await self._send_all(profile, subscriber_id, new)
        except ProsperStackError:  # some of it may have been carried out
            await at.database.write(_note, profile, subscriber_id, state, new.keys(), at.clock())
            raise
        settled = {key: value for key, value in new.items() if key not in rejected}
        state = state.sent(settled, rejected)
        await at.database.write(_note, profile, subscriber_id, state, new.keys(), at.clock())

    async def _send_all(
        self, profile: Profile, subscriber_id: str, new: Mapping[str, PropertyValue]
    ) -> dict[str, tuple[JsonValue, str]]:
        """Send properties to every active subscription of a subscriber; those that ProsperStack rejects."""
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
                f"ProsperStack says that subscription {min(shown)} is gone, and shows it.", status_code=404
            )
        return rejected

    async def _list(self, profile: Profile | None, subscriber_id: str) -> list[models.Subscription]:
        about = _about("GET /subscriptions", profile, subscriber_id)

        def fetch(cursor: str | None) -> Awaitable[Page[models.Subscription]]:
            return self._at.send(about, partial(self._at.prosperstack.find_subscriptions, subscriber_id, cursor))

        return list(await all_items(fetch))

    async def _send(
        self, profile: Profile, subscription_id: str, properties: dict[str, PropertyValue]
    ) -> dict[str, tuple[JsonValue, str]]:
        """Send properties to one subscription; those that ProsperStack rejects, with its words."""
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
        about = _about("PATCH /subscriptions/{id}", profile, subscription_id, properties)
        await self._at.send(about, partial(self._at.prosperstack.update_subscription, subscription_id, properties))
        log.info("delivered", subscription=subscription_id, properties=sorted(properties))


def rejections(state: SubscriptionState, projection: Projection) -> list[MappingProblem]:
    """What ProsperStack rejected of what is desired now."""
    return [
        MappingProblem(SUBSCRIPTION + key, desired.trait, desired.value, as_rejected(known[1]))
        for key, desired in projection.subscription.items()
        if (known := state.set_aside.get(key)) is not None and same(known[0], desired.value)
    ]


def _about(
    request: str, profile: Profile | None, target: str, properties: Mapping[str, PropertyValue] | None = None
) -> RequestInfo:
    """A request for a person; None: for a person who was erased."""
    if profile is None:
        return RequestInfo(request, None, target, properties or {})
    return RequestInfo(request, profile.email, target, properties or {}, profile.attempts)


def _store_catalog(connection: Connection, account_id: str, catalog: str, now: int) -> None:
    remap_progress.begin(connection, account_id, now)
    accounts.set_subscription_catalog(connection, account_id, catalog)


def _note(
    connection: Connection,
    profile: Profile,
    subscriber_id: str,
    state: SubscriptionState,
    sent: Collection[str],
    now: int,
) -> None:
    """Note how subscriptions stand; if the person was erased meanwhile, what is sent to them is cleared."""
    if profiles.get(connection, profile.id) is None:
        queue_remote_erasure(
            connection, profile.account_id, {subscriber_id: [PREFIX + key for key in sorted(sent)]}, now
        )
    else:
        subscription_states.settle(connection, profile.account_id, subscriber_id, state, now)

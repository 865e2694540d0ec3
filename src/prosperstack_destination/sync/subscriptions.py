"""Properties of subscriptions: what a rule targets with ``subscription.`` goes to every active one of a subscriber.

It costs a request to list a subscriber's subscriptions and one for each that differs, so nothing is asked before a
desired value is another than the one last settled.
"""

from collections.abc import Awaitable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Final

import structlog
from pydantic import JsonValue
from sqlalchemy import Connection

from prosperstack_destination.accounts.catalogs import dump_catalog, list_catalog
from prosperstack_destination.clock import Clock
from prosperstack_destination.errors import NotFound, Rejected
from prosperstack_destination.mapping.coercion import PropertyValue
from prosperstack_destination.mapping.desired import Problem, Projection
from prosperstack_destination.mapping.rules import SUBSCRIPTION, load_rules
from prosperstack_destination.prosperstack import models
from prosperstack_destination.prosperstack.client import ProsperStack
from prosperstack_destination.prosperstack.models import Page, PropertyDefinition
from prosperstack_destination.prosperstack.paging import all_items
from prosperstack_destination.state import accounts, mappings, reprojections, subscription_states
from prosperstack_destination.state.accounts import Account
from prosperstack_destination.state.database import Store
from prosperstack_destination.state.directory import Subscriber
from prosperstack_destination.state.problems import as_rejected
from prosperstack_destination.state.subscription_states import PREFIX, SubscriptionState
from prosperstack_destination.sync.difference import same
from prosperstack_destination.sync.isolation import Fault, Search
from prosperstack_destination.sync.spender import Spender

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

    def __init__(
        self, account_id: str, database: Store, prosperstack: ProsperStack, spender: Spender, clock: Clock
    ) -> None:
        self._account_id = account_id
        self._database = database
        self._prosperstack = prosperstack
        self._spender = spender
        self._clock = clock

    async def update(self, subscribers: Iterable[Subscriber], projection: Projection) -> Projection:
        """Update what differs; the projection, with what ProsperStack rejected as problems.

        Raises `ProsperStackError` where the account has to wait.
        """
        if not projection.subscription:
            return projection
        problems: list[Problem] = []
        for each in subscribers:
            state = await self._settle(each.id, projection.subscription_values())
            problems += rejections(state, projection)
        return replace(projection, problems=(*projection.problems, *problems)) if problems else projection

    async def clear(self, subscriber_id: str, properties: Iterable[str]) -> list[str]:
        """Delete values on all subscriptions of a subscriber; the keys that are the subscriber's own.

        ``properties`` are keys, those of subscriptions with `PREFIX`. Raises `ProsperStackError`.
        """
        keys = [key.removeprefix(PREFIX) for key in properties if key.startswith(PREFIX)]
        if keys:
            for each in await self._list(subscriber_id):
                there = {key: None for key in keys if key in each.values()}
                if there:
                    await self._patch(each.id, there)
        return [key for key in properties if not key.startswith(PREFIX)]

    async def refresh_catalog(self, account: Account) -> Account:
        """List the properties of subscriptions, if a rule asks for them; the account as it is then."""
        mapping = await self._database.read(mappings.in_force, self._account_id)
        if not load_rules(mapping.rules).for_subscriptions:
            return account

        def fetch(cursor: str | None) -> Awaitable[Page[PropertyDefinition]]:
            return self._spender.spend(partial(self._prosperstack.list_properties, cursor, entity="subscription"))

        catalog = dump_catalog(await list_catalog(fetch, "subscription"))
        if catalog != account.subscription_catalog:
            await self._database.write(_store_catalog, self._account_id, catalog, self._clock())
        return replace(account, subscription_catalog=catalog)

    async def _settle(self, subscriber_id: str, desired: Mapping[str, PropertyValue]) -> SubscriptionState:
        state = await self._database.read(subscription_states.of_subscriber, self._account_id, subscriber_id)
        new = pending(desired, state)
        if not new:
            return state
        rejected: dict[str, tuple[JsonValue, str]] = {}
        for subscription in await self._list(subscriber_id):
            if subscription.status in ACTIVE:
                rejected |= await self._send(subscription.id, to_send(new, subscription.values()))
        settled = {key: value for key, value in new.items() if key not in rejected}
        kept = {key: value for key, value in state.set_aside.items() if key not in new}
        state = SubscriptionState({**state.applied, **settled}, {**kept, **rejected})
        await self._database.write(
            subscription_states.settle, self._account_id, subscriber_id, state, self._clock()
        )
        return state

    async def _list(self, subscriber_id: str) -> list[models.Subscription]:
        def fetch(cursor: str | None) -> Awaitable[Page[models.Subscription]]:
            return self._spender.spend(partial(self._prosperstack.find_subscriptions, subscriber_id, cursor))

        return list(await all_items(fetch))

    async def _send(
        self, subscription_id: str, properties: dict[str, PropertyValue]
    ) -> dict[str, tuple[JsonValue, str]]:
        """Send properties to one subscription; those that ProsperStack rejects, with its words."""
        rejected: dict[str, tuple[JsonValue, str]] = {}
        while properties:
            try:
                await self._patch(subscription_id, properties)
                break
            except NotFound:
                break  # it is gone: there is nothing to be updated
            except Rejected as rejection:
                fault = await self._isolate(subscription_id, Search(properties, str(rejection)))
                rejected[fault.key] = (fault.value, fault.reason)
                properties = {key: value for key, value in properties.items() if key != fault.key}
        return rejected

    async def _isolate(self, subscription_id: str, search: Search) -> Fault:
        while (fault := search.fault) is None:
            try:
                await self._patch(subscription_id, dict(search.attempt))
            except Rejected as rejection:
                search = search.rejected(str(rejection))
            else:
                search = search.accepted()
        return fault

    async def _patch(self, subscription_id: str, properties: Mapping[str, PropertyValue]) -> None:
        await self._spender.spend(partial(self._prosperstack.update_subscription, subscription_id, properties))
        log.info("delivered", subscription=subscription_id, properties=sorted(properties))


def rejections(state: SubscriptionState, projection: Projection) -> list[Problem]:
    """What ProsperStack rejected of what is desired now."""
    return [
        Problem(SUBSCRIPTION + key, desired.trait, desired.value, as_rejected(known[1]))
        for key, desired in projection.subscription.items()
        if (known := state.set_aside.get(key)) is not None and same(known[0], desired.value)
    ]


def _store_catalog(connection: Connection, account_id: str, catalog: str, now: int) -> None:
    reprojections.begin(connection, account_id, now)
    accounts.set_subscription_catalog(connection, account_id, catalog)

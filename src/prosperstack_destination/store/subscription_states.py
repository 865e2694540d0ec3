"""Transactions on the values that were applied to subscribers' subscriptions."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Final

from pydantic import JsonValue
from sqlalchemy import Connection, delete, insert, select

from prosperstack_destination.store import json_codec
from prosperstack_destination.store.tables import subscription_states as table

#: Prefix that distinguishes the key of a subscription's property from a subscriber's.
PREFIX: Final = "subscription."


@dataclass(frozen=True, slots=True)
class SubscriptionState:
    """Values applied to all active subscriptions of one subscriber."""

    #: Applied values by property key.
    applied: Mapping[str, JsonValue] = field(default_factory=dict)
    #: Rejected values with ProsperStack's reasons, by property key.
    rejected: Mapping[str, tuple[JsonValue, str]] = field(default_factory=dict)
    #: Keys of properties that were sent, or are about to be, without a known result.
    unconfirmed: Set[str] = frozenset()

    def with_unconfirmed(self, keys: Set[str]) -> "SubscriptionState":
        """Return the state while properties are being sent: without a known result they are not applied."""
        applied = {key: value for key, value in self.applied.items() if key not in keys}
        return replace(self, applied=applied, unconfirmed=self.unconfirmed | keys)

    def with_result(
        self, settled: Mapping[str, JsonValue], rejected: Mapping[str, tuple[JsonValue, str]]
    ) -> "SubscriptionState":
        """Return the state after the result: the settled values, and the rejected ones."""
        tried = settled.keys() | rejected.keys()
        kept = {key: value for key, value in self.rejected.items() if key not in tried}
        return SubscriptionState(
            {**self.applied, **settled}, {**kept, **rejected}, self.unconfirmed - settled.keys()
        )


def of_subscriber(connection: Connection, account_id: str, subscriber_id: str) -> SubscriptionState:
    """Return the state of a subscriber, at first an empty one."""
    row = connection.execute(
        select(table).where(table.c.account_id == account_id, table.c.subscriber_id == subscriber_id)
    ).one_or_none()
    if row is None:
        return SubscriptionState()
    set_aside = {key: (value, reason) for key, (value, reason) in json_codec.load(row.set_aside).items()}
    return SubscriptionState(json_codec.load(row.applied), set_aside, frozenset(json_codec.load(row.unsure)))


def erase(connection: Connection, account_id: str, written: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Delete the states of subscribers.

    ``written`` maps subscriber IDs to keys of applied properties. Returns it with the keys of their subscriptions
    added, prefixed with `PREFIX`.
    """
    every: dict[str, list[str]] = {}
    for subscriber_id, keys in written.items():
        state = of_subscriber(connection, account_id, subscriber_id)
        every[subscriber_id] = [*keys, *(PREFIX + key for key in sorted(state.applied.keys() | state.unconfirmed))]
    connection.execute(
        delete(table).where(table.c.account_id == account_id, table.c.subscriber_id.in_(list(written)))
    )
    return every


def settle(connection: Connection, account_id: str, subscriber_id: str, state: SubscriptionState, now: int) -> None:
    """Store the state. Safe to repeat."""
    connection.execute(
        delete(table).where(table.c.account_id == account_id, table.c.subscriber_id == subscriber_id)
    )
    connection.execute(
        insert(table).values(
            account_id=account_id,
            subscriber_id=subscriber_id,
            applied=json_codec.dump(state.applied),
            set_aside=json_codec.dump(state.rejected),
            unsure=json_codec.dump(sorted(state.unconfirmed)),
            settled_at=now,
        )
    )

"""Units of work on what was settled on the subscriptions of subscribers."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Final

from pydantic import JsonValue
from sqlalchemy import Connection, delete, insert, select

from prosperstack_destination.store import json_codec
from prosperstack_destination.store.tables import subscription_states as table

#: What tells the key of a subscription's property from a subscriber's.
PREFIX: Final = "subscription."


@dataclass(frozen=True, slots=True)
class SubscriptionState:
    """What was settled on all active subscriptions of one subscriber."""

    #: Property keys to the values last settled.
    applied: Mapping[str, JsonValue] = field(default_factory=dict)
    #: Property keys to (value, reason) that ProsperStack rejected.
    set_aside: Mapping[str, tuple[JsonValue, str]] = field(default_factory=dict)
    #: Keys of properties that were sent, or are about to be, while it is not known what came of it.
    unsure: Set[str] = frozenset()

    def about_to_send(self, keys: Set[str]) -> "SubscriptionState":
        """The same while properties are being sent: until it is known what came of it they are not settled."""
        applied = {key: value for key, value in self.applied.items() if key not in keys}
        return replace(self, applied=applied, unsure=self.unsure | keys)

    def sent(
        self, settled: Mapping[str, JsonValue], rejected: Mapping[str, tuple[JsonValue, str]]
    ) -> "SubscriptionState":
        """The same once they were: what was settled, and what was rejected of the rest."""
        tried = settled.keys() | rejected.keys()
        kept = {key: value for key, value in self.set_aside.items() if key not in tried}
        return SubscriptionState({**self.applied, **settled}, {**kept, **rejected}, self.unsure - settled.keys())


def of_subscriber(connection: Connection, account_id: str, subscriber_id: str) -> SubscriptionState:
    """What was settled, nothing at first."""
    row = connection.execute(
        select(table).where(table.c.account_id == account_id, table.c.subscriber_id == subscriber_id)
    ).one_or_none()
    if row is None:
        return SubscriptionState()
    set_aside = {key: (value, reason) for key, (value, reason) in json_codec.load(row.set_aside).items()}
    return SubscriptionState(json_codec.load(row.applied), set_aside, frozenset(json_codec.load(row.unsure)))


def erase(connection: Connection, account_id: str, wrote: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Drop what is known of subscribers' subscriptions.

    ``wrote`` has, by subscriber id, the keys of properties that were settled; those of subscriptions are added,
    with `PREFIX` before them.
    """
    every: dict[str, list[str]] = {}
    for subscriber_id, keys in wrote.items():
        state = of_subscriber(connection, account_id, subscriber_id)
        every[subscriber_id] = [*keys, *(PREFIX + key for key in sorted(state.applied.keys() | state.unsure))]
    connection.execute(
        delete(table).where(table.c.account_id == account_id, table.c.subscriber_id.in_(list(wrote)))
    )
    return every


def settle(connection: Connection, account_id: str, subscriber_id: str, state: SubscriptionState, now: int) -> None:
    """Note what is settled. Safe to repeat."""
    connection.execute(
        delete(table).where(table.c.account_id == account_id, table.c.subscriber_id == subscriber_id)
    )
    connection.execute(
        insert(table).values(
            account_id=account_id,
            subscriber_id=subscriber_id,
            applied=json_codec.dump(state.applied),
            set_aside=json_codec.dump(state.set_aside),
            unsure=json_codec.dump(sorted(state.unsure)),
            settled_at=now,
        )
    )

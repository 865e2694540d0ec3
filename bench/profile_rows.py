"""Rows of profiles with a subscriber each, stored in bulk."""

from typing import Any, Final

from bench.projecting import traits
from sqlalchemy import Connection

from prosperstack_destination.store import json_codec
from prosperstack_destination.store.models import Lane, Status
from prosperstack_destination.store.statements import BulkInsert
from prosperstack_destination.store.tables import profiles, subscribers
from prosperstack_destination.store.timed_traits import dump_traits

_PROFILES: Final = BulkInsert(
    profiles,
    (
        *("account_id", "email", "address", "user_id", "ids", "traits", "version", "status", "pending_since"),
        *("changed_at", "due_at", "lane", "attempts", "touched_at"),
    ),
)
_SUBSCRIBERS: Final = BulkInsert(
    subscribers,
    ("account_id", "id", "email", "observed", "observed_at", "applied", "unsure", "set_aside"),
)


def profile_row(
    account_id: str, number: int, *, changed_at: int, observed_at: int, pending: bool
) -> dict[str, Any]:
    """Return the row of a profile and its subscriber. ``pending``: due since its change; otherwise in sync.

    Times are in microseconds since the epoch.
    """
    email = f"person{number}@example.com"
    return {
        "account_id": account_id,
        "email": email,
        "address": email,
        "user_id": f"u{number}",
        "ids": json_codec.dump({"user": {f"u{number}": changed_at}}),
        "traits": dump_traits({changed_at: traits(number)}),
        "version": 1,
        "status": (Status.PENDING if pending else Status.IN_SYNC).value,
        "pending_since": changed_at if pending else None,
        "changed_at": changed_at,
        "due_at": changed_at if pending else None,
        "lane": Lane.LIVE.value,
        "attempts": 0,
        "touched_at": changed_at,
        "id": f"subr_{number}",
        "observed": '{"preferred_name": "Jo"}',
        "observed_at": observed_at,
        "applied": '{"preferred_name": "Jo"}',
        "unsure": "[]",
        "set_aside": "{}",
    }


def store_profiles(connection: Connection, rows: list[dict[str, Any]]) -> None:
    """Insert profiles and their subscribers."""
    _PROFILES.execute(connection, rows)
    _SUBSCRIBERS.execute(connection, rows)

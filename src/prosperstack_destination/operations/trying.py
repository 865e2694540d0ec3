"""Sending a test call: the documented example, taken in as a real one."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from pydantic import JsonValue
from sqlalchemy import Connection

from prosperstack_destination.clock import SECOND
from prosperstack_destination.operations.desk import AdminServices
from prosperstack_destination.segment.endpoint import EVENT
from prosperstack_destination.segment.example import DOCUMENTED_TRAITS
from prosperstack_destination.segment.results import Result
from prosperstack_destination.state import auditing
from prosperstack_destination.state.accounts import Account
from prosperstack_destination.state.json_text import dump
from prosperstack_destination.state.recent_calls import Channel

#: What a test call says that it was sent by.
LIBRARY: Final = "ProsperStack Destination, test call"


def test_call(email: str, traits: Mapping[str, JsonValue], now: int) -> dict[str, JsonValue]:
    """An Identify call as ProsperStack's documentation has it, without a user id: it may be somebody's."""
    return {
        "type": "identify",
        "messageId": f"test-{now}",
        "traits": {"email": email, "traits": dict(traits)},
        "context": {"library": {"name": LIBRARY}},
        "timestamp": datetime.fromtimestamp(now / SECOND, UTC).isoformat(),
    }


async def send_test(
    desk: AdminServices, account: Account, email: str, actor: str, traits: Mapping[str, JsonValue] | None = None
) -> Result:
    """Take a test call in; what its sender would be told.

    It is a call as any other: the person's properties become what it says, also in ProsperStack. It is among the
    recent calls within a second or two. Raises `TryLater`'s kinds.
    """
    call = test_call(email, DOCUMENTED_TRAITS if traits is None else traits, desk.clock())
    [result] = await desk.reception.ingest_many(account, Channel.TEST, [dump(call).encode()], EVENT)
    await desk.database.write(_note, account, actor, desk.clock())
    return result


def _note(connection: Connection, account: Account, actor: str, now: int) -> None:
    auditing.record(connection, account.id, now, actor=actor, action="test call", details={})

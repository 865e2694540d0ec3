"""Sending a test call: the documented example, taken in as a real one."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from pydantic import JsonValue
from sqlalchemy import Connection

from prosperstack_destination.admin.services import AdminServices
from prosperstack_destination.clock import SECOND
from prosperstack_destination.ingest.documented_call import DOCUMENTED_TRAITS
from prosperstack_destination.ingest.endpoint import EVENT
from prosperstack_destination.ingest.responses import Result
from prosperstack_destination.store import audit_log
from prosperstack_destination.store.accounts import Account
from prosperstack_destination.store.json_codec import dump
from prosperstack_destination.store.recent_calls import Channel

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
    services: AdminServices, account: Account, email: str, actor: str, traits: Mapping[str, JsonValue] | None = None
) -> Result:
    """Take a test call in; what its sender would be told.

    It is a call as any other: the person's properties become what it says, also in ProsperStack. It is among the
    recent calls within a second or two. Raises `TemporaryError`'s kinds.
    """
    call = test_call(email, DOCUMENTED_TRAITS if traits is None else traits, services.clock())
    [result] = await services.ingest.ingest_many(account, Channel.TEST, [dump(call).encode()], EVENT)
    await services.database.write(_note, account, actor, services.clock())
    return result


def _note(connection: Connection, account: Account, actor: str, now: int) -> None:
    audit_log.record(connection, account.id, now, actor=actor, action="test call", details={})

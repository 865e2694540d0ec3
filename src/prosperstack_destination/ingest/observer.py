"""Whoever looks at calls as they come in, and what is told of one."""

import re
from typing import Final, Protocol

from prosperstack_destination.errors import DestinationError, InvalidCall, UnsupportedCall
from prosperstack_destination.ingest.parser import CallSummary, summarize
from prosperstack_destination.ingest.request_body import EVENT_BYTES, parse_object
from prosperstack_destination.ingest.responses import IngestResult, Result, outcome_of
from prosperstack_destination.storable import storable_text
from prosperstack_destination.store.identities import Key
from prosperstack_destination.store.models import Call, Identify, IdKind
from prosperstack_destination.store.recent_calls import BODY_BYTES, CallOutcome, Channel, IncomingCall

#: Some SDKs write their key into the body: it is not kept, whether the text is JSON, or cut off within it.
_KEY: Final = re.compile(r'("write_?key"\s*:\s*)"(?:[^"\\]|\\.)*(?:"|\\?$)', re.IGNORECASE)


class IngestObserver(Protocol):
    """Looks at calls, without holding them up."""

    def call_rejected(self, error: DestinationError, account_id: str = "") -> None:
        """A call was refused, of an account if its key opened one."""

    def should_sample(self, account_id: str, outcome: CallOutcome) -> bool:
        """Whether there is room for one more of an account's calls with this fate: if so, `came` has to follow."""

    def record_call(self, call: IncomingCall) -> None:
        """A call that there is room for, or that an operator tries."""


class NullObserver:
    """An `Observer` that does not look."""

    def call_rejected(self, error: DestinationError, account_id: str = "") -> None:
        """See `Observer`."""

    def should_sample(self, account_id: str, outcome: CallOutcome) -> bool:  # noqa: ARG002 -- whoever it is
        """See `Observer`."""
        return False

    def record_call(self, call: IncomingCall) -> None:
        """See `Observer`."""


def to_call_record(
    account_id: str, channel: Channel, text: bytes, call: Call | None, result: Result, received_at: int
) -> IncomingCall:
    """What is told of a call: its text, what was understood of it (None: nothing), and what came of it."""
    known = _recognized(text, received_at) if call is None else _understood(call)
    source = known.source
    return IncomingCall(
        account_id=account_id,
        received_at=received_at,
        at=known.at,
        channel=channel,
        type=known.type,
        outcome=outcome_of(result),
        message=_said(result, known),
        source=storable_text(f"{source.kind}:{source.key}") if source is not None and source.key else None,
        email=known.email,
        ids=_ids(known),
        body=_KEY.sub(r'\1"…"', storable_text(text[:BODY_BYTES].decode(errors="replace"))),
        size=len(text),
    )


def _understood(call: Call) -> CallSummary:
    if isinstance(call, Identify):
        return CallSummary("identify", call.email, call.user_id, call.anonymous_id, call.at, call.source)
    return CallSummary("delete", None, call.user_id, None, call.at, None)


def _recognized(text: bytes, now: int) -> CallSummary:
    """What can be made out of a text, which may be anything: a whole array that was refused, for one."""
    if len(text) <= EVENT_BYTES:
        try:
            return summarize(parse_object(text), now)
        except InvalidCall:
            pass
    return CallSummary("other", None, None, None, now, None)


def _said(result: Result, known: CallSummary) -> str:
    if isinstance(result, IngestResult):
        return result.message
    # What another type calls itself may be anything, and is in the text.
    return str(UnsupportedCall(known.type) if isinstance(result, UnsupportedCall) else result)


def _ids(known: CallSummary) -> tuple[Key, ...]:
    ids = ((IdKind.USER, known.user_id), (IdKind.ANONYMOUS, known.anonymous_id))
    return tuple((kind, external_id) for kind, external_id in ids if external_id)

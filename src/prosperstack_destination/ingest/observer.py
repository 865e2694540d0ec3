"""Observer of calls, and the record of one call for recent calls."""

import re
from typing import Final, Protocol

from prosperstack_destination.errors import DestinationError, InvalidCall, UnsupportedCall
from prosperstack_destination.ingest.parser import CallSummary, summarize
from prosperstack_destination.ingest.request_body import EVENT_BYTES, parse_object
from prosperstack_destination.ingest.responses import IngestResult, Result, outcome_of
from prosperstack_destination.storable_text import storable_text
from prosperstack_destination.store.identities import Key
from prosperstack_destination.store.models import Call, Identify, IdKind
from prosperstack_destination.store.recent_calls import MAX_BODY_BYTES, CallOutcome, Channel, IncomingCall

#: Write key in a body, which some SDKs send: it is removed, in complete JSON and in text that is cut off within it.
_KEY: Final = re.compile(r'("write_?key"\s*:\s*)"(?:[^"\\]|\\.)*(?:"|\\?$)', re.IGNORECASE)


class IngestObserver(Protocol):
    """Receiver of reports on calls. Its methods return at once."""

    def call_rejected(self, error: DestinationError, account_id: str = "") -> None:
        """Count a rejected call, of an account where its key opened one."""

    def call_left_out(self, outcome: CallOutcome, account_id: str) -> None:
        """Count a call of an account that has no effect."""

    def should_sample(self, account_id: str, outcome: CallOutcome) -> bool:
        """Return whether there is room for one more call; if so, `record_call` has to follow."""

    def record_call(self, call: IncomingCall) -> None:
        """Record a sampled call, or an operator's test call."""


def to_call_record(
    account_id: str, channel: Channel, text: bytes, call: Call | None, result: Result, received_at: int
) -> IncomingCall:
    """Return the record of a call from its text, its parsed form (None for a rejected one) and its result."""
    summary = _summary_of_text(text, received_at) if call is None else _summary_of_call(call)
    source = summary.source
    return IncomingCall(
        account_id=account_id,
        received_at=received_at,
        at=summary.at,
        channel=channel,
        type=summary.type,
        outcome=outcome_of(result),
        message=_message(result, summary),
        source=storable_text(f"{source.kind}:{source.key}") if source is not None and source.key else None,
        email=summary.email,
        ids=_ids(summary),
        body=_KEY.sub(r'\1"…"', storable_text(text[:MAX_BODY_BYTES].decode(errors="replace"))),
        size=len(text),
    )


def _summary_of_call(call: Call) -> CallSummary:
    if isinstance(call, Identify):
        return CallSummary("identify", call.email, call.user_id, call.anonymous_id, call.at, call.source)
    return CallSummary("delete", None, call.user_id, None, call.at, None)


def _summary_of_text(text: bytes, now: int) -> CallSummary:
    """Return the readable parts of any text; a whole rejected array, for example, has none."""
    if len(text) <= EVENT_BYTES:
        try:
            return summarize(parse_object(text), now)
        except InvalidCall:
            pass
    return CallSummary("other", None, None, None, now, None)


def _message(result: Result, summary: CallSummary) -> str:
    if isinstance(result, IngestResult):
        return result.message
    # The type in the error's text is the sender's and may hold anything; the summary's type is one of a few words.
    return str(UnsupportedCall(summary.type) if isinstance(result, UnsupportedCall) else result)


def _ids(summary: CallSummary) -> tuple[Key, ...]:
    ids = ((IdKind.USER, summary.user_id), (IdKind.ANONYMOUS, summary.anonymous_id))
    return tuple((kind, external_id) for kind, external_id in ids if external_id)

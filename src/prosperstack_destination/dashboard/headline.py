"""How somebody stands, for whoever has five seconds: pure functions."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from prosperstack_destination.admin.comparison import PropertyComparison, PropertyState
from prosperstack_destination.admin.people import NextStep, PersonView
from prosperstack_destination.store.accounts import STOPPED_STATUSES, Account, AccountStatus
from prosperstack_destination.store.models import UNSETTLED, Lane, Status


class HeadlineTone(StrEnum):
    """Of what kind it is, as the style sheet calls it; the words say it too."""

    GOOD = "good"
    CALM = "calm"
    WARN = "warn"
    BAD = "bad"
    PALE = "pale"


@dataclass(frozen=True, slots=True)
class Headline:
    """What is said first."""

    words: str
    tone: HeadlineTone
    #: What that means, or why.
    more: str
    #: When it is tried again, in microseconds since the epoch; None: that is not known, or nothing has to be.
    again_at: int | None = None


#: How a person stands, in a list.
IN_SHORT: Final[Mapping[Status, tuple[str, HeadlineTone]]] = {
    **dict.fromkeys(UNSETTLED, ("waiting", HeadlineTone.CALM)),
    Status.IN_SYNC: ("up to date", HeadlineTone.GOOD),
    Status.UNMATCHED: ("no subscriber", HeadlineTone.PALE),
    Status.REJECTED: ("email rejected", HeadlineTone.BAD),
}

#: How a property stands, beside the two values.
ROW_IN_SHORT: Final[Mapping[PropertyState, tuple[str, HeadlineTone]]] = {
    PropertyState.SAME: ("the same", HeadlineTone.GOOD),
    PropertyState.TO_BE_SENT: ("differs: to be written", HeadlineTone.CALM),
    PropertyState.TO_BE_CHECKED: ("to be checked", HeadlineTone.CALM),
    PropertyState.EDITED_THERE: ("differs: edited there", HeadlineTone.WARN),
    PropertyState.SET_ASIDE: ("differs: rejected", HeadlineTone.BAD),
    PropertyState.PROBLEM: ("cannot be written", HeadlineTone.BAD),
    PropertyState.NO_SUBSCRIBER: ("no subscriber yet", HeadlineTone.PALE),
    PropertyState.NOT_FED: ("left alone", HeadlineTone.PALE),
}

#: Rows in which ProsperStack has something else than Segment says.
DIFFER: Final = frozenset(
    {PropertyState.TO_BE_SENT, PropertyState.EDITED_THERE, PropertyState.SET_ASIDE, PropertyState.PROBLEM}
)

_STEPS: Final[Mapping[NextStep, str]] = {
    NextStep.NOTHING: "Nothing has to be written: it is noted in a moment.",
    NextStep.LOOK_UP: "ProsperStack is asked who has this email, and what it has of them.",
    NextStep.UPDATE: "One request writes everything that differs.",
    NextStep.UPDATE_SUBSCRIPTIONS: "Properties of their subscriptions are written.",
    NextStep.WAIT_FOR_SUBSCRIBER: "Nobody has the email so far as is known: it is noted in a moment.",
    NextStep.WAIT_FOR_CALL: "The person's next call is waited for.",
}


def headline(person: PersonView, account: Account, now: int) -> Headline:
    """How a person stands, with what they wait for."""
    profile = person.profile
    rows = [row for side in person.subscribers for row in side.rows]
    if profile.status is Status.REJECTED:
        why = profile.status_reason or "ProsperStack rejects the email."
        more = f"{_ended(why)} It is tried again when the person's next call comes."
        return Headline("Set aside", HeadlineTone.BAD, more)
    if profile.status is Status.UNMATCHED:
        count = sum(row.desired is not None for row in rows)
        more = f"As soon as a subscriber has it, {_properties(count)} {_are(count)} written."
        return Headline("No subscriber has this email", HeadlineTone.PALE, more, person.next_attempt_at)
    if profile.status is Status.IN_SYNC:
        return _settled(rows)
    return _waiting(person, account, now)


def _settled(rows: list[PropertyComparison]) -> Headline:
    wrong = {row.key for row in rows if row.state in (PropertyState.PROBLEM, PropertyState.SET_ASIDE)}
    edited = {row.key for row in rows if row.state is PropertyState.EDITED_THERE}
    if wrong:
        words = f"Up to date, but for {_properties(len(wrong))}"
        return Headline(
            words, HeadlineTone.WARN, "What cannot be written is shown below, with what to do about it."
        )
    if edited:
        more = f"{_properties(len(edited)).capitalize()} {_are(len(edited))} left as edited in ProsperStack."
        return Headline("Up to date", HeadlineTone.GOOD, f"{more} Segment's next change of them is written again.")
    if not any(row.desired is not None for row in rows):
        return Headline(
            "Nothing to write", HeadlineTone.PALE, "No trait of this person feeds a property: see the mapping."
        )
    return Headline("Up to date", HeadlineTone.GOOD, "ProsperStack has everything that Segment says.")


def _waiting(person: PersonView, account: Account, now: int) -> Headline:
    step = _STEPS[person.next_step]
    if account.status in STOPPED_STATUSES:
        why = account.status_reason or "ProsperStack refuses the account's key."
        return Headline("Waits: the account is stopped", HeadlineTone.BAD, _ended(why), account.status_until)
    if person.next_attempt_at is not None:
        why = person.profile.status_reason or "The latest attempt came to nothing."
        return Headline("Waits for the next attempt", HeadlineTone.WARN, _ended(why), person.next_attempt_at)
    if account.status is AccountStatus.RETRYING and account.status_until is not None and account.status_until > now:
        why = account.status_reason or "It is tried again by itself."
        return Headline("Waits: ProsperStack does not answer", HeadlineTone.WARN, _ended(why), account.status_until)
    if person.profile.lane is Lane.CANCELLING:
        return Headline("First in line", HeadlineTone.CALM, step)
    behind = " Live changes of others go first." if person.profile.lane is Lane.BULK else ""
    return Headline("Waits for its turn", HeadlineTone.CALM, step + behind)


def _ended(words: str) -> str:
    """Somebody's words as a sentence of ours."""
    return words if words.endswith((".", "!", "?", "…")) else f"{words}."


def _properties(count: int) -> str:
    return "one property" if count == 1 else f"{count:,} properties"


def _are(count: int) -> str:
    return "is" if count == 1 else "are"

"""How somebody stands, for whoever has five seconds: pure functions."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from prosperstack_destination.operations.comparing import Row, RowState
from prosperstack_destination.operations.people import NextStep, Person
from prosperstack_destination.state.accounts import STOPPED, Account, AccountStatus
from prosperstack_destination.state.profile import UNSETTLED, Lane, Status


class Tone(StrEnum):
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
    tone: Tone
    #: What that means, or why.
    more: str
    #: When it is tried again, in microseconds since the epoch; None: that is not known, or nothing has to be.
    again_at: int | None = None


#: How a person stands, in a list.
IN_SHORT: Final[Mapping[Status, tuple[str, Tone]]] = {
    **dict.fromkeys(UNSETTLED, ("waiting", Tone.CALM)),
    Status.IN_SYNC: ("up to date", Tone.GOOD),
    Status.UNMATCHED: ("no subscriber", Tone.PALE),
    Status.SET_ASIDE: ("email rejected", Tone.BAD),
}

#: How a property stands, beside the two values.
ROW_IN_SHORT: Final[Mapping[RowState, tuple[str, Tone]]] = {
    RowState.SAME: ("the same", Tone.GOOD),
    RowState.TO_BE_SENT: ("differs: to be written", Tone.CALM),
    RowState.TO_BE_CHECKED: ("to be checked", Tone.CALM),
    RowState.EDITED_THERE: ("differs: edited there", Tone.WARN),
    RowState.SET_ASIDE: ("differs: rejected", Tone.BAD),
    RowState.PROBLEM: ("cannot be written", Tone.BAD),
    RowState.NO_SUBSCRIBER: ("no subscriber yet", Tone.PALE),
    RowState.NOT_FED: ("left alone", Tone.PALE),
}

#: Rows in which ProsperStack has something else than Segment says.
DIFFER: Final = frozenset({RowState.TO_BE_SENT, RowState.EDITED_THERE, RowState.SET_ASIDE, RowState.PROBLEM})

_STEPS: Final[Mapping[NextStep, str]] = {
    NextStep.NOTHING: "Nothing has to be written: it is noted in a moment.",
    NextStep.LOOK_UP: "ProsperStack is asked who has this email, and what it has of them.",
    NextStep.UPDATE: "One request writes everything that differs.",
    NextStep.UPDATE_SUBSCRIPTIONS: "Properties of their subscriptions are written.",
    NextStep.WAIT_FOR_SUBSCRIBER: "Nobody has the email so far as is known: it is noted in a moment.",
    NextStep.WAIT_FOR_CALL: "The person's next call is waited for.",
}


def headline(person: Person, account: Account, now: int) -> Headline:
    """How a person stands, with what they wait for."""
    profile = person.profile
    rows = [row for side in person.sides for row in side.rows]
    if profile.status is Status.SET_ASIDE:
        why = profile.status_reason or "ProsperStack rejects the email."
        more = f"{_ended(why)} It is tried again when the person's next call comes."
        return Headline("Set aside", Tone.BAD, more)
    if profile.status is Status.UNMATCHED:
        count = sum(row.desired is not None for row in rows)
        more = f"As soon as a subscriber has it, {_properties(count)} {_are(count)} written."
        return Headline("No subscriber has this email", Tone.PALE, more, person.next_attempt_at)
    if profile.status is Status.IN_SYNC:
        return _settled(rows)
    return _waiting(person, account, now)


def _settled(rows: list[Row]) -> Headline:
    wrong = {row.key for row in rows if row.state in (RowState.PROBLEM, RowState.SET_ASIDE)}
    edited = {row.key for row in rows if row.state is RowState.EDITED_THERE}
    if wrong:
        words = f"Up to date, but for {_properties(len(wrong))}"
        return Headline(words, Tone.WARN, "What cannot be written is shown below, with what to do about it.")
    if edited:
        more = f"{_properties(len(edited)).capitalize()} {_are(len(edited))} left as edited in ProsperStack."
        return Headline("Up to date", Tone.GOOD, f"{more} Segment's next change of them is written again.")
    if not any(row.desired is not None for row in rows):
        return Headline("Nothing to write", Tone.PALE, "No trait of this person feeds a property: see the mapping.")
    return Headline("Up to date", Tone.GOOD, "ProsperStack has everything that Segment says.")


def _waiting(person: Person, account: Account, now: int) -> Headline:
    step = _STEPS[person.next_step]
    if account.status in STOPPED:
        why = account.status_reason or "ProsperStack refuses the account's key."
        return Headline("Waits: the account is stopped", Tone.BAD, _ended(why), account.status_until)
    if person.next_attempt_at is not None:
        why = person.profile.status_reason or "The latest attempt came to nothing."
        return Headline("Waits for the next attempt", Tone.WARN, _ended(why), person.next_attempt_at)
    if account.status is AccountStatus.RETRYING and account.status_until is not None and account.status_until > now:
        why = account.status_reason or "It is tried again by itself."
        return Headline("Waits: ProsperStack does not answer", Tone.WARN, _ended(why), account.status_until)
    if person.profile.lane is Lane.CANCELLING:
        return Headline("First in line", Tone.CALM, step)
    behind = " Live changes of others go first." if person.profile.lane is Lane.BULK else ""
    return Headline("Waits for its turn", Tone.CALM, step + behind)


def _ended(words: str) -> str:
    """Somebody's words as a sentence of ours."""
    return words if words.endswith((".", "!", "?", "…")) else f"{words}."


def _properties(count: int) -> str:
    return "one property" if count == 1 else f"{count:,} properties"


def _are(count: int) -> str:
    return "is" if count == 1 else "are"

"""Transaction that merges calls: it resolves their identities and updates profiles, held calls and erasures."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from sqlalchemy import Connection

from prosperstack_destination.store import erasure, held_calls, profiles, sources
from prosperstack_destination.store.database import UnitOfWork
from prosperstack_destination.store.identities import Identities, Key
from prosperstack_destination.store.merge import ProfileDraft, Reads, merge, new_draft, reads_none
from prosperstack_destination.store.models import (
    Call,
    CallSource,
    Delete,
    Identify,
    IdKind,
    Lane,
    Outcome,
    SourceKind,
    TimedTraits,
)
from prosperstack_destination.store.pseudonyms import Pseudonym
from prosperstack_destination.store.sources import SourceCounters
from prosperstack_destination.store.statements import lock_account
from prosperstack_destination.store.timed_traits import find_trait
from prosperstack_destination.store.tombstones import Tombstones

#: Function that returns the traits that an account reads. Called only for full profiles.
Readers = Callable[[Connection, str], Reads]


def no_readers(_connection: Connection, _account_id: str) -> Reads:
    """`Readers` of an account without a mapping."""
    return reads_none


@dataclass(frozen=True, slots=True)
class CommitResult:
    """Result of the transaction for a batch of calls."""

    #: One outcome for each call, in order.
    outcomes: list[Outcome]
    #: Accounts with profiles to evaluate.
    changed: set[str]
    #: Number of profiles that had no pending change before, and have one now.
    newly_pending: int = 0
    #: Number of traits dropped from full profiles.
    dropped: int = 0
    #: Time of the merge without the commit, in seconds.
    merge_seconds: float = 0.0


class NeedsExclusiveLock(Exception):
    """The calls move external IDs between emails: repeat the transaction with an exclusive lock. Nothing is
    stored.
    """


async def ingest(
    store: UnitOfWork, calls: Sequence[Call], pseudonym: Pseudonym, readers: Readers = no_readers
) -> CommitResult:
    """Merge calls in a transaction that is on disk when this returns."""
    try:
        return await store.write(ingest_calls, calls, pseudonym, readers)
    except NeedsExclusiveLock:
        return await store.write(ingest_calls, calls, pseudonym, readers, exclusive=True)


def ingest_calls(
    connection: Connection,
    calls: Sequence[Call],
    pseudonym: Pseudonym,
    readers: Readers = no_readers,
    *,
    exclusive: bool = False,
) -> CommitResult:
    """Merge calls: those of an account in order, the accounts in the order of their IDs.

    A repeated call changes nothing. Shared transactions may run concurrently. Raises `NeedsExclusiveLock` if
    ``exclusive`` is required, which excludes other transactions on the same accounts.
    """
    begun = time.perf_counter()
    outcomes: list[Outcome] = [Outcome.ACCEPTED] * len(calls)
    changed: set[str] = set()
    awakened = dropped = 0
    by_account: dict[str, list[int]] = {}
    for place, call in enumerate(calls):
        by_account.setdefault(call.account_id, []).append(place)
    for account_id in sorted(by_account):
        needed = exclusive or any(_needs_to_be_alone(calls[place]) for place in by_account[account_id])
        is_alone = lock_account(connection, account_id, exclusive=needed)
        for kind, places in groupby(by_account[account_id], lambda place: type(calls[place])):
            run = list(places)
            if kind is Delete:
                for place in run:
                    call = calls[place]
                    assert isinstance(call, Delete)  # noqa: S101 -- grouped by type
                    erasure.erase(connection, call, pseudonym)
                    outcomes[place] = Outcome.ERASED
                changed.add(account_id)
                continue
            identifies = [call for place in run if isinstance(call := calls[place], Identify)]
            intake = _MergeBatch(connection, account_id, identifies, pseudonym, readers)
            for place, call in zip(run, identifies, strict=True):
                outcomes[place] = intake.take(call)
            if intake.moves_ids and not is_alone:
                raise NeedsExclusiveLock
            if intake.save():
                changed.add(account_id)
            awakened += intake.awakened
            dropped += intake.dropped
    return CommitResult(outcomes, changed, awakened, dropped, time.perf_counter() - begun)


def _needs_to_be_alone(call: Call) -> bool:
    """Return whether a call depends on the absence of a row: a missing row cannot be locked."""
    return isinstance(call, Delete) or (call.email is None and (call.from_engage or call.may_be_held))


class _MergeBatch:
    """Identify calls of one account in one transaction."""

    def __init__(
        self,
        connection: Connection,
        account_id: str,
        calls: Sequence[Identify],
        pseudonym: Pseudonym,
        readers: Readers,
    ) -> None:
        self._connection = connection
        self._account_id = account_id
        self._readers = readers
        self._known_reads: Reads | None = None
        #: Number of traits dropped from full profiles.
        self.dropped = 0
        self._now = max(call.received_at for call in calls)
        self._identities = Identities(connection, account_id, {key for call in calls for key in call.ids})
        self._tally = SourceCounters()
        self._held: dict[Key, TimedTraits] = {}
        # The exact profiles are known only call by call, since a call may teach an email to the next one.
        emails = {email for call in calls if (email := call.email or self._identities.email(call.ids))}
        named = {(IdKind.USER, call.user_id) for call in calls if call.user_id is not None}
        held_by = {call.ids[0] for call in calls if call.email is None and call.ids}
        self._erasures = Tombstones(connection, account_id, named | held_by, emails, pseudonym, self._now)
        self._drafts = profiles.drafts(connection, account_id, emails, self._now)
        self._looked_for = emails
        self._waited = _waiting(self._drafts)

    def take(self, call: Identify) -> Outcome:
        """Merge a call or hold it; return its outcome."""
        email = call.email or self._identities.email(call.ids)
        address, teaches = call.address, call.email is not None or call.previous_id is not None
        if email is None and call.id_email is not None:
            email, address, teaches = call.id_email.lower(), call.id_email, True
        if self._erasures.is_outdated(call.user_id, email, call.at):
            return Outcome.OUTDATED
        if email is None and self._erasures.covers_ids(call.ids[:1], call.at):
            return Outcome.OUTDATED  # an anonymous ID alone, which may belong to another person now
        if email is None and not ((call.from_engage or call.may_be_held) and call.ids):
            return Outcome.UNKNOWN
        if call.source is not None:
            self._tally.count(call.source)
        if email is None:
            self._hold(call)
            return Outcome.HELD
        draft = self._draft(email, address or email)
        if teaches:
            draft.address = address or draft.address
            self._learn(call, draft)
        draft.user_id = call.user_id or draft.user_id
        draft.record_call(call.received_at)
        self._merge(call, draft)
        return Outcome.ACCEPTED

    @property
    def moves_ids(self) -> bool:
        """True if a known ID moved to another email."""
        return self._identities.moved

    @property
    def awakened(self) -> int:
        """Number of profiles that had no pending change before, and have one now."""
        return len(_waiting(self._drafts) - self._waited)

    def save(self) -> bool:
        """Write all changes. Return whether the reconciler has profiles to evaluate."""
        self._release()
        due = profiles.save(self._connection, self._account_id, self._drafts.values())
        self._identities.save(self._connection)
        if self._held:
            self.dropped += held_calls.hold(self._connection, self._account_id, self._held, self._now, self._reads)
        self._tally.save(self._connection, self._account_id, self._now)
        return due

    def _draft(self, email: str, address: str) -> ProfileDraft:
        draft = self._drafts.get(email)
        if draft is None and email not in self._looked_for:
            found = profiles.drafts(self._connection, self._account_id, [email], self._now)
            self._drafts |= found
            self._waited |= _waiting(found)
            self._looked_for.add(email)
            draft = self._drafts.get(email)
        if draft is None:
            # An erasure also forgets the person's subscribers.
            lost_at = self._now if self._erasures.contains_email(email) else None
            draft = self._drafts[email] = new_draft(email, address, lost_at)
        return draft

    def _learn(self, call: Identify, draft: ProfileDraft) -> None:
        """Record the IDs of a call with an email: each ID belongs to its latest email."""
        for key in call.ids:
            known = self._identities.email_of(key)
            if known != draft.email:
                if known is not None:
                    last = self._draft(known, known).id_time(key)
                    if last is not None and (call.at, draft.email) < (last, known):
                        continue
                self._identities.learn(key, draft.email)
            draft.record_id(key, call.at)

    def _merge(self, call: Identify, draft: ProfileDraft) -> None:
        source = call.source
        if source is None or source.kind is not SourceKind.AUDIENCE:
            self._take(draft, {call.at: call.traits}, call.received_at, call.lane)
            return
        before = find_trait(draft.traits, source.key)
        self._take(draft, {call.at: call.traits}, call.received_at, call.lane)
        self._tally.count_membership(source, before, find_trait(draft.traits, source.key))

    def _take(self, draft: ProfileDraft, new: TimedTraits, received_at: int, lane: Lane) -> None:
        self.dropped += draft.merge_traits(new, received_at, lane, self._reads)

    def _reads(self, trait: str) -> bool:
        """Return whether the account reads a trait: see `Reads`."""
        if self._known_reads is None:
            self._known_reads = self._readers(self._connection, self._account_id)
        return self._known_reads(trait)

    def _hold(self, call: Identify) -> None:
        key = call.ids[0]
        merged = merge(self._held.get(key, {}), {call.at: call.traits}, self._reads)
        self.dropped += merged.dropped
        self._held[key] = merged.traits

    def _release(self) -> None:
        """Merge held calls of IDs whose email is known now."""
        learned = self._identities.learned
        if not learned:
            return
        released = held_calls.release(self._connection, self._account_id, learned)
        for key in learned & self._held.keys():
            released[key] = merge(released.get(key, {}), self._held.pop(key), self._reads).traits
        if not released:
            return
        audiences = self._tally.audiences | sources.audiences(self._connection, self._account_id)
        for key, traits in sorted(released.items()):
            email = self._identities.email_of(key)
            if email is None:
                continue
            draft = self._draft(email, email)
            before = draft.traits
            self._take(draft, traits, self._now, Lane.BULK)
            for name in sorted({name for group in traits.values() for name in group} & audiences):
                audience = CallSource(SourceKind.AUDIENCE, name)
                self._tally.count_membership(audience, find_trait(before, name), find_trait(draft.traits, name))


def _waiting(drafts: Mapping[str, ProfileDraft]) -> set[str]:
    """Return the emails of the drafts with a pending change."""
    return {email for email, draft in drafts.items() if draft.pending_since is not None}

"""Units of work on deletion: a person is forgotten, and older calls do not bring them back."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue
from sqlalchemy import Connection, bindparam, insert, select, update

from prosperstack_destination.state import (
    accounts,
    auditing,
    clearing,
    directory,
    holding,
    identities,
    profiles,
    subscription_states,
)
from prosperstack_destination.state.accounts import OnDelete
from prosperstack_destination.state.identities import Key
from prosperstack_destination.state.profile import Delete, IdKind
from prosperstack_destination.state.tables import erasures

#: A keyed hash that stands for an id or an email.
Pseudonym = Callable[[str], str]

#: How much of a pseudonym the audit trail shows.
_SHOWN: Final = 12
_ANY: Final = select(erasures.c.subject).where(erasures.c.account_id == bindparam("account")).limit(1)


def erase(connection: Connection, call: Delete, pseudonym: Pseudonym, actor: str = "segment") -> "Erased":
    """Forget a person: their profiles, ids and whatever is held of them. Calls of the account must not be taken
    in meanwhile: see `state.dialects.share_account`.

    The properties that this service wrote are to be cleared in ProsperStack, or the subscriber deleted, as the
    account wants it. Whoever is not known is erased as well: a call of theirs may still be under way. Safe to
    repeat.
    """
    user = (IdKind.USER, call.user_id)
    emails = identities.emails_of(connection, call.account_id, user)
    subjects = [_subject_of_user(call.user_id), *map(_subject_of_email, sorted(emails))]
    pseudonyms = [pseudonym(subject) for subject in subjects]
    _remember(connection, call.account_id, pseudonyms, call.at)
    return _forget(connection, call.account_id, emails, {user}, pseudonyms[0], actor, call.received_at)


@dataclass(frozen=True, slots=True)
class Erased:
    """What an erasure came to."""

    profiles: int
    #: Subscribers of ProsperStack's that this service had written to.
    subscribers: int
    in_prosperstack: OnDelete


def erase_email(
    connection: Connection, account_id: str, email: str, pseudonym: Pseudonym, actor: str, now: int
) -> Erased:
    """Forget a person by an email (trimmed, in lower case), as of now, with the ids that came with it.

    What their calls say from now on is taken in anew. Safe to repeat.
    """
    profile = profiles.find(connection, account_id, email)
    emails, user_ids = {email}, [] if profile is None or profile.user_id is None else [profile.user_id]
    for user_id in user_ids:
        emails |= identities.emails_of(connection, account_id, (IdKind.USER, user_id))
    subjects = [*map(_subject_of_email, sorted(emails)), *map(_subject_of_user, user_ids)]
    _remember(connection, account_id, [pseudonym(subject) for subject in subjects], now)
    named = {(IdKind.USER, user_id) for user_id in user_ids}
    return _forget(connection, account_id, emails, named, pseudonym(_subject_of_email(email)), actor, now)


def _forget(
    connection: Connection, account_id: str, emails: set[str], named: set[Key], subject: str, actor: str, now: int
) -> Erased:
    """Drop everything that is stored of these emails and ids; have ProsperStack cleared; put it on the trail."""
    erased = profiles.erase(connection, account_id, emails)
    ids = {*named, *(key for ids in erased for key in ids)}
    identities.forget(connection, account_id, ids)
    holding.forget(connection, account_id, ids)
    wrote = directory.erase(connection, account_id, emails)
    wrote = subscription_states.erase(connection, account_id, wrote)
    on_delete = clear_later(connection, account_id, wrote, now)
    details: dict[str, JsonValue] = {
        "subject": subject[:_SHOWN],
        "profiles": len(erased),
        "subscribers": len(wrote),
        "in_prosperstack": on_delete.value,
    }
    auditing.record(connection, account_id, now, actor=actor, action="erase", details=details)
    return Erased(len(erased), len(wrote), on_delete)


def clear_later(connection: Connection, account_id: str, wrote: Mapping[str, Sequence[str]], now: int) -> OnDelete:
    """Have done in ProsperStack what the account wants done for erased people.

    ``wrote`` has, by subscriber id, the keys of the properties that this service wrote.
    """
    on_delete = accounts.on_delete(connection, account_id)
    if on_delete is not OnDelete.NOTHING:
        delete_subscriber = on_delete is OnDelete.DELETE_SUBSCRIBER
        clearing.add(connection, account_id, wrote, delete_subscriber=delete_subscriber, now=now)
    return on_delete


class Erasures:
    """Who of some people was erased, and when. ``user_ids`` and ``emails`` are all that will be asked for."""

    def __init__(
        self,
        connection: Connection,
        account_id: str,
        user_ids: Collection[str],
        emails: Collection[str],
        pseudonym: Pseudonym,
    ) -> None:
        self._at: dict[str, int] = {}
        if connection.execute(_ANY, {"account": account_id}).first() is None:
            return  # as in most accounts at most times: nothing has to be hashed
        subjects = [*map(_subject_of_user, user_ids), *map(_subject_of_email, emails)]
        by_pseudonym = {pseudonym(subject): subject for subject in subjects}
        known = _known(connection, account_id, list(by_pseudonym))
        self._at = {by_pseudonym[each]: at for each, at in known.items()}

    def is_outdated(self, user_id: str | None, email: str | None, at: int) -> bool:
        """Whether the person was erased at that event time or after it."""
        if not self._at:
            return False
        of_user = None if user_id is None else self._at.get(_subject_of_user(user_id))
        of_email = None if email is None else self._at.get(_subject_of_email(email))
        return any(erased is not None and at <= erased for erased in (of_user, of_email))


def _remember(connection: Connection, account_id: str, subjects: Collection[str], at: int) -> None:
    known = _known(connection, account_id, subjects)
    for subject in subjects:
        if subject not in known:
            connection.execute(insert(erasures).values(account_id=account_id, subject=subject, at=at))
        elif known[subject] < at:
            same = (erasures.c.account_id == account_id) & (erasures.c.subject == subject)
            connection.execute(update(erasures).where(same).values(at=at))


def _known(connection: Connection, account_id: str, subjects: Collection[str]) -> Mapping[str, int]:
    rows = connection.execute(
        select(erasures.c.subject, erasures.c.at).where(
            erasures.c.account_id == account_id, erasures.c.subject.in_(subjects)
        )
    )
    return {row.subject: row.at for row in rows}


def _subject_of_user(user_id: str) -> str:
    return f"user:{user_id}"


def _subject_of_email(email: str) -> str:
    return f"email:{email}"

"""Tombstones: pseudonyms of erased people with the event times of their deletions, which outdate older calls."""

from collections.abc import Collection, Iterable, Mapping
from typing import Final

from sqlalchemy import Connection, bindparam, insert, select, update

from prosperstack_destination.clock import SKEW, real_time
from prosperstack_destination.store.identities import Key
from prosperstack_destination.store.models import IdKind
from prosperstack_destination.store.pseudonyms import Pseudonym, subject_of_email, subject_of_id
from prosperstack_destination.store.statements import PreparedStatement
from prosperstack_destination.store.tables import erasures

_IS_ANY_ERASED: Final = PreparedStatement(
    lambda _: select(erasures.c.subject).where(erasures.c.account_id == bindparam("account")).limit(1)
)


class Tombstones:
    """Tombstones among the ``ids`` and ``emails`` of a batch of calls.

    Loading them may write: deletions dated in the future, by a clock that was ahead, are dated just before ``now``
    (microseconds). Otherwise no call could restore the person until then.
    """

    def __init__(
        self,
        connection: Connection,
        account_id: str,
        ids: Collection[Key],
        emails: Collection[str],
        pseudonym: Pseudonym,
        now: int,
    ) -> None:
        self._at: dict[str, int] = {}
        if not _IS_ANY_ERASED.rows(connection, {"account": account_id}):
            return  # most accounts: no hashing needed
        subjects = [*map(subject_of_id, ids), *map(subject_of_email, emails)]
        by_pseudonym = {pseudonym(subject): subject for subject in subjects}
        known = _deletion_times(connection, account_id, list(by_pseudonym))
        if any(at > now + SKEW for at in known.values()):
            _correct_times(connection, account_id, now)
        self._at = {by_pseudonym[each]: real_time(at, now) for each, at in known.items()}

    def contains_email(self, email: str) -> bool:
        """Return whether a person with this email was erased at any time."""
        return bool(self._at) and subject_of_email(email) in self._at

    def is_outdated(self, user_id: str | None, email: str | None, at: int) -> bool:
        """Return whether the person was erased at or after that event time."""
        if not self._at:
            return False
        of_user = None if user_id is None else self._at.get(subject_of_id((IdKind.USER, user_id)))
        of_email = None if email is None else self._at.get(subject_of_email(email))
        return any(erased is not None and at <= erased for erased in (of_user, of_email))

    def covers_ids(self, ids: Iterable[Key], at: int) -> bool:
        """Return whether any of these IDs belonged to a person who was erased at or after that event time."""
        if not self._at:
            return False
        return any(at <= self._at.get(subject_of_id(key), at - 1) for key in ids)


def record(connection: Connection, account_id: str, subjects: Collection[str], at: int) -> None:
    """Record deletions of these pseudonyms at an event time; the latest time counts."""
    known = _deletion_times(connection, account_id, subjects)
    for subject in subjects:
        if subject not in known:
            connection.execute(insert(erasures).values(account_id=account_id, subject=subject, at=at))
        elif known[subject] < at:
            same = (erasures.c.account_id == account_id) & (erasures.c.subject == subject)
            connection.execute(update(erasures).where(same).values(at=at))


def _correct_times(connection: Connection, account_id: str, now: int) -> None:
    future = (erasures.c.account_id == account_id) & (erasures.c.at > now + SKEW)
    connection.execute(update(erasures).where(future).values(at=now - 1))


def _deletion_times(connection: Connection, account_id: str, subjects: Collection[str]) -> Mapping[str, int]:
    rows = connection.execute(
        select(erasures.c.subject, erasures.c.at).where(
            erasures.c.account_id == account_id, erasures.c.subject.in_(subjects)
        )
    )
    return {row.subject: row.at for row in rows}

"""Transactions that make work due again: at an operator's request, and after a clock was set back."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import BigInteger, ColumnElement, Connection, and_, case, func, literal, or_, select, update

from prosperstack_destination.store import accounts, remote_erasures
from prosperstack_destination.store.account_stats import awaits_retry
from prosperstack_destination.store.accounts import AccountStatus
from prosperstack_destination.store.models import Lane, Status
from prosperstack_destination.store.tables import accounts as account_rows
from prosperstack_destination.store.tables import (
    clearings,
    directories,
    is_rejected,
    problems,
    profiles,
    subscribers,
    subscription_states,
)

#: Columns with a time to wait for.
_DUE_COLUMNS: Final = (
    *(profiles.c.due_at, clearings.c.due_at, account_rows.c.status_until),
    *(directories.c.refresh_at, directories.c.sweep_at),
)
#: Columns with the time of an observation.
_OBSERVED_COLUMNS: Final = (
    *(directories.c.as_of, directories.c.began_at, directories.c.swept_at, directories.c.sweep_began_at),
    subscribers.c.observed_at,
)


def retry_account(connection: Connection, account_id: str) -> bool:
    """Retry a failing account now, also one with a refused key. Return False if it is active or missing."""
    account = accounts.get(connection, account_id)
    if account is None or account.status is AccountStatus.ACTIVE:
        return False
    accounts.set_status(connection, account_id, account.status, reason=account.status_reason, until=None)
    return True


def prioritize(connection: Connection, account_id: str, email: str, now: int) -> bool:
    """Look up a profile before all others and send the differences. Return False if there is no such profile.

    Rejected values are not sent again, and edits in ProsperStack are kept.
    """
    mine = (profiles.c.account_id == account_id) & (profiles.c.email == email)
    first = {**_changed_now(now), "status": Status.UNKNOWN, "lane": Lane.CANCELLING, "changed_at": now}
    return connection.execute(update(profiles).where(mine).values(first)).rowcount > 0


def retry_person(connection: Connection, account_id: str, email: str, now: int) -> bool:
    """Retry a profile now, with its rejected values. Return False if there is no such profile."""
    clear_rejections(connection, account_id, subscribers.c.email == email)
    result = connection.execute(
        update(profiles)
        .where(profiles.c.account_id == account_id, profiles.c.email == email)
        .values(_changed_now(now))
    )
    return result.rowcount > 0


def ids_with_failures(connection: Connection, account_id: str) -> list[int]:
    """Return the IDs of profiles with a mapping problem, a failed attempt, or a rejected email."""
    # Separate queries, so that each uses an index.
    troubles = [
        select(problems.c.profile_id).where(problems.c.account_id == account_id),
        *(
            select(profiles.c.id).where(profiles.c.account_id == account_id, who)
            for who in (awaits_retry, is_rejected)
        ),
    ]
    return sorted({each for trouble in troubles for each in connection.scalars(trouble)})


def ids_with_problem(connection: Connection, account_id: str, key: str, reason: str) -> list[int]:
    """Return the IDs of profiles with this problem of a property."""
    same = (problems.c.property == key) & (problems.c.reason == reason)
    found = select(problems.c.profile_id).where(problems.c.account_id == account_id, same)
    return sorted(connection.scalars(found))


def retry(connection: Connection, account_id: str, profile_ids: Sequence[int], now: int) -> int:
    """Retry profiles now, with their rejected values. Return the number of those that still exist."""
    # By ID alone, so that SQLite looks each one up by its key.
    who = profiles.c.id.in_(profile_ids)
    clear_rejections(connection, account_id, subscribers.c.email.in_(select(profiles.c.email).where(who)))
    return connection.execute(update(profiles).where(who).values(_changed_now(now))).rowcount


def replay(connection: Connection, account_id: str, email: str, now: int) -> bool:
    """Forget a profile's applied values and evaluate it again. Return False if there is no such profile.

    Older observations no longer count as in sync: differences are written, even those edited in ProsperStack.
    """
    return _replay(connection, account_id, profiles.c.email == email, subscribers.c.email == email, now) > 0


def replay_page(
    connection: Connection, account_id: str, after: str, now: int, limit: int
) -> tuple[int, str | None]:
    """Replay the next ``limit`` profiles after an email.

    Return their number and the email to continue after (None: done). They go into the bulk lane, so that live
    changes go first.
    """
    mine = (profiles.c.account_id == account_id) & (profiles.c.email > after)
    ordered = select(profiles.c.email).where(mine).order_by(profiles.c.email)
    last = connection.execute(ordered.offset(limit - 1).limit(1)).scalar()

    def among(email: ColumnElement[str]) -> ColumnElement[bool]:
        return (email > after) if last is None else and_(email > after, email <= last)

    lane = case((profiles.c.pending_since.is_(None), Lane.BULK), else_=profiles.c.lane)
    count = _replay(connection, account_id, among(profiles.c.email), among(subscribers.c.email), now, lane=lane)
    return count, last


def _replay(
    connection: Connection,
    account_id: str,
    who: ColumnElement[bool],
    subscribers_where: ColumnElement[bool],
    now: int,
    **values: object,
) -> int:
    theirs = (subscribers.c.account_id == account_id) & subscribers_where
    nothing = {"applied": "{}", "set_aside": "{}"}
    _update_subscriptions(connection, account_id, theirs, nothing)
    connection.execute(update(subscribers).where(theirs).values(nothing))
    changed_values = {**_changed_now(now), "changed_at": now, "looked_up_at": None, **values}
    return connection.execute(
        update(profiles).where(profiles.c.account_id == account_id, who).values(changed_values)
    ).rowcount


def end_backoff(connection: Connection, account_id: str, now: int) -> None:
    """Retry failed profiles and erasures now, since ProsperStack works again."""
    waits = (profiles.c.account_id == account_id) & awaits_retry & (profiles.c.due_at > now)
    connection.execute(update(profiles).where(waits).values(due_at=now))
    remote_erasures.retry_failed(connection, account_id, now)


def clear_rejections(connection: Connection, account_id: str, subscribers_where: ColumnElement[bool]) -> None:
    """Clear the rejected values of these subscribers, so that they are sent again."""
    theirs = (subscribers.c.account_id == account_id) & subscribers_where
    _update_subscriptions(connection, account_id, theirs, {"set_aside": "{}"})
    connection.execute(update(subscribers).where(theirs, subscribers.c.set_aside != "{}").values(set_aside="{}"))


def _update_subscriptions(
    connection: Connection, account_id: str, subscribers_where: ColumnElement[bool], values: dict[str, str]
) -> None:
    """Update the subscriptions of these subscribers."""
    connection.execute(
        update(subscription_states)
        .where(
            subscription_states.c.account_id == account_id,
            subscription_states.c.subscriber_id.in_(select(subscribers.c.id).where(subscribers_where)),
        )
        .values(values)
    )


def _changed_now(now: int) -> dict[str, object]:
    """Return the values that mark a profile as changed now.

    The new version keeps it due while an older evaluation is running.
    """
    return {
        "due_at": now,
        "attempts": 0,
        "status_reason": None,
        "version": profiles.c.version + 1,
        "status": Status.PENDING,
        "pending_since": func.coalesce(profiles.c.pending_since, literal(now, BigInteger)),
    }


def clamp_future_times(connection: Connection, now: int) -> None:
    """Make everything that is due in the future due now, and date future observations back to now.

    Safe to repeat; early attempts are harmless.
    """
    for column in (*_DUE_COLUMNS, *_OBSERVED_COLUMNS):
        connection.execute(update(column.table).where(column > now).values({column: now}))
    future = or_(profiles.c.changed_at > now, profiles.c.looked_up_at > now)
    connection.execute(
        update(profiles).where(profiles.c.due_at.is_not(None), future).values(changed_at=now, looked_up_at=None)
    )

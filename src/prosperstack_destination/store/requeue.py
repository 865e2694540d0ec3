"""Units of work for operators: have people, or whole accounts, looked at again."""

from collections.abc import Sequence

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    and_,
    case,
    func,
    literal,
    select,
    update,
)

from prosperstack_destination.store import accounts, remote_erasures
from prosperstack_destination.store.account_stats import waits_after_failure
from prosperstack_destination.store.accounts import AccountStatus
from prosperstack_destination.store.models import Lane, Status
from prosperstack_destination.store.tables import is_set_aside, problems, profiles, subscribers, subscription_states


def retry_account(connection: Connection, account_id: str) -> bool:
    """Try an account now that is left alone after failures; whether it was. A refused key is tried too."""
    account = accounts.get(connection, account_id)
    if account is None or account.status is AccountStatus.ACTIVE:
        return False
    accounts.set_status(connection, account_id, account.status, reason=account.status_reason, until=None)
    return True


def prioritize(connection: Connection, account_id: str, email: str, now: int) -> bool:
    """Look one person up anew before everybody else, and send what differs; False: there is no such profile.

    What ProsperStack rejected is not sent again, and what was edited there stays.
    """
    mine = (profiles.c.account_id == account_id) & (profiles.c.email == email)
    first = {**_now(now), "status": Status.UNKNOWN, "lane": Lane.CANCELLING, "changed_at": now}
    return connection.execute(update(profiles).where(mine).values(first)).rowcount > 0


def retry_person(connection: Connection, account_id: str, email: str, now: int) -> bool:
    """Look at one person now, and send what ProsperStack rejected before; False: there is no such profile."""
    clear_rejections(connection, account_id, subscribers.c.email == email)
    result = connection.execute(
        update(profiles).where(profiles.c.account_id == account_id, profiles.c.email == email).values(_now(now))
    )
    return result.rowcount > 0


def with_trouble(connection: Connection, account_id: str) -> list[int]:
    """The profiles, by id, with a problem, a failed attempt, or that are set aside."""
    # One after the other, so that each finds its people by an index.
    troubles = [
        select(problems.c.profile_id).where(problems.c.account_id == account_id),
        *(
            select(profiles.c.id).where(profiles.c.account_id == account_id, who)
            for who in (waits_after_failure, is_set_aside)
        ),
    ]
    return sorted({each for trouble in troubles for each in connection.scalars(trouble)})


def with_problem(connection: Connection, account_id: str, key: str, reason: str) -> list[int]:
    """The profiles, by id, whose property of this key has a problem for this reason."""
    same = (problems.c.property == key) & (problems.c.reason == reason)
    found = select(problems.c.profile_id).where(problems.c.account_id == account_id, same)
    return sorted(connection.scalars(found))


def retry(connection: Connection, account_id: str, profile_ids: Sequence[int], now: int) -> int:
    """Look at profiles now, and send what ProsperStack rejected of them once more; how many they are by now."""
    # By their ids alone: that way they are found one by one, however many there are besides.
    who = profiles.c.id.in_(profile_ids)
    clear_rejections(connection, account_id, subscribers.c.email.in_(select(profiles.c.email).where(who)))
    return connection.execute(update(profiles).where(who).values(_now(now))).rowcount


def replay(connection: Connection, account_id: str, email: str, now: int) -> bool:
    """Forget what was applied of one person, and look at them again; False: there is no such profile.

    What was observed before counts no more where it seems to be what is desired: what differs in ProsperStack is
    written, also where somebody edited it there.
    """
    return _replay(connection, account_id, profiles.c.email == email, subscribers.c.email == email, now) > 0


def replay_page(
    connection: Connection, account_id: str, after: str, now: int, limit: int
) -> tuple[int, str | None]:
    """The same for the next people after an email: how many they are, and the email to go on after (None: all are).

    They are many: what is live goes first.
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
    whose: ColumnElement[bool],
    now: int,
    **values: object,
) -> int:
    theirs = (subscribers.c.account_id == account_id) & whose
    nothing = {"applied": "{}", "set_aside": "{}"}
    _of_subscriptions(connection, account_id, theirs, nothing)
    connection.execute(update(subscribers).where(theirs).values(nothing))
    anew = {**_now(now), "changed_at": now, "looked_up_at": None, **values}
    return connection.execute(
        update(profiles).where(profiles.c.account_id == account_id, who).values(anew)
    ).rowcount


def end_backoff(connection: Connection, account_id: str, now: int) -> None:
    """Try now what waits for another attempt: ProsperStack works again."""
    waits = (profiles.c.account_id == account_id) & waits_after_failure & (profiles.c.due_at > now)
    connection.execute(update(profiles).where(waits).values(due_at=now))
    remote_erasures.retry_failed(connection, account_id, now)


def clear_rejections(connection: Connection, account_id: str, whose: ColumnElement[bool]) -> None:
    """Have what ProsperStack rejected sent once more to these subscribers."""
    theirs = (subscribers.c.account_id == account_id) & whose
    _of_subscriptions(connection, account_id, theirs, {"set_aside": "{}"})
    connection.execute(update(subscribers).where(theirs, subscribers.c.set_aside != "{}").values(set_aside="{}"))


def _of_subscriptions(
    connection: Connection, account_id: str, whose: ColumnElement[bool], values: dict[str, str]
) -> None:
    """The same for the subscriptions of these subscribers."""
    connection.execute(
        update(subscription_states)
        .where(
            subscription_states.c.account_id == account_id,
            subscription_states.c.subscriber_id.in_(select(subscribers.c.id).where(whose)),
        )
        .values(values)
    )


def _now(now: int) -> dict[str, object]:
    """A change for the reconciler, as if a call had come in: a newer version stays due whatever is under way."""
    return {
        "due_at": now,
        "attempts": 0,
        "status_reason": None,
        "version": profiles.c.version + 1,
        "status": Status.PENDING,
        "pending_since": func.coalesce(profiles.c.pending_since, literal(now, BigInteger)),
    }

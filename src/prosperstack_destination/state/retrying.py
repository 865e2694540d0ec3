"""Units of work for operators: have people, or whole accounts, looked at again."""

from sqlalchemy import BigInteger, Connection, func, literal, or_, select, update

from prosperstack_destination.state import accounts
from prosperstack_destination.state.accounts import AccountStatus
from prosperstack_destination.state.profile import Status
from prosperstack_destination.state.tables import problems, profiles, subscribers


def retry_account(connection: Connection, account_id: str) -> None:
    """Try an account now that is left alone after failures. One whose key was refused is tried as well."""
    account = accounts.get(connection, account_id)
    if account is not None and account.status is not AccountStatus.ACTIVE:
        accounts.set_status(connection, account_id, account.status, reason=account.status_reason, until=None)


def retry_person(connection: Connection, account_id: str, email: str, now: int) -> bool:
    """Look at one person now, and send what ProsperStack rejected before; False: there is no such profile."""
    connection.execute(
        update(subscribers)
        .where(subscribers.c.account_id == account_id, subscribers.c.email == email)
        .values(set_aside="{}")
    )
    result = connection.execute(
        update(profiles).where(profiles.c.account_id == account_id, profiles.c.email == email).values(_now(now))
    )
    return result.rowcount > 0


def retry_problems(connection: Connection, account_id: str, now: int) -> int:
    """Look now at everybody with a problem, a failed attempt, or who is set aside; how many they are.

    What ProsperStack rejected is sent once more.
    """
    connection.execute(
        update(subscribers)
        .where(subscribers.c.account_id == account_id, subscribers.c.set_aside != "{}")
        .values(set_aside="{}")
    )
    with_problem = select(problems.c.profile_id).where(problems.c.account_id == account_id)
    result = connection.execute(
        update(profiles)
        .where(
            profiles.c.account_id == account_id,
            or_(
                profiles.c.id.in_(with_problem),
                profiles.c.status == Status.SET_ASIDE,
                (profiles.c.status == Status.PENDING) & (profiles.c.attempts > 0),
            ),
        )
        .values(_now(now))
    )
    return result.rowcount


def replay(connection: Connection, account_id: str, now: int, email: str | None = None) -> int:
    """Forget what was applied and observed, and look at everybody again, or at one person; how many they are.

    What differs in ProsperStack is written, also where somebody edited it there.
    """
    theirs = subscribers.c.account_id == account_id
    mine = profiles.c.account_id == account_id
    if email is not None:
        theirs, mine = theirs & (subscribers.c.email == email), mine & (profiles.c.email == email)
    connection.execute(update(subscribers).where(theirs).values(applied="{}", set_aside="{}"))
    return connection.execute(update(profiles).where(mine).values({**_now(now), "looked_up_at": None})).rowcount


def _now(now: int) -> dict[str, object]:
    """A change for the reconciler, as if a call had come in: a newer version stays due whatever is under way."""
    return {
        "due_at": now,
        "attempts": 0,
        "version": profiles.c.version + 1,
        "status": Status.PENDING,
        "pending_since": func.coalesce(profiles.c.pending_since, literal(now, BigInteger)),
    }

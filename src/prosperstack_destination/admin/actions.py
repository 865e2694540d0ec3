"""What operators do about people and accounts that do not go on by themselves.

Each is a unit of work of one transaction, or takes several where it is about many people, and goes on the audit
trail under the ``actor``'s name, without personal data. Afterwards the account has something to do: in the service
`AdminServices.wake` has to be told. A process beside it need not: the reconciler looks every second.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue
from sqlalchemy import Connection

from prosperstack_destination.account_mapping import load
from prosperstack_destination.emails import normalize_email
from prosperstack_destination.errors import NotFoundError
from prosperstack_destination.prosperstack.forecast import forecast
from prosperstack_destination.reconcile.rate_limiter import account_rate
from prosperstack_destination.store import audit_log, erasure, profile_scan, profiles, remote_erasures, requeue
from prosperstack_destination.store.accounts import Account
from prosperstack_destination.store.database import UnitOfWork
from prosperstack_destination.store.dialects import lock_account
from prosperstack_destination.store.erasure import Erased
from prosperstack_destination.store.models import Delete
from prosperstack_destination.store.pseudonyms import Pseudonym

#: People who are replayed in one transaction.
REPLAYED_AT_ONCE: Final = 2_000
#: The same for those who are looked at again.
RETRIED_AT_ONCE: Final = 2_000


@dataclass(frozen=True, slots=True)
class ReplayCost:
    """What it costs at most to have everybody compared with ProsperStack anew."""

    profiles: int
    #: What is the same in ProsperStack costs nothing where that is known already.
    most_requests: int
    #: How long so many take at the account's rate.
    most_seconds: float


def prioritize(connection: Connection, account: Account, profile_id: int, actor: str, now: int) -> None:
    """Bring a person to the front: before everybody else they are looked up anew, and sent what differs.

    That is a request, and one for each subscriber that differs. An account that waits after failures is tried as
    well. What somebody edited in ProsperStack is seen, and stays; what it rejected is not sent again: see `replay`
    and `retry_person`. Raises `NotFoundError`. Safe to repeat.
    """
    requeue.prioritize(connection, account.id, _email(connection, account, profile_id), now)
    requeue.retry_account(connection, account.id)
    _record(connection, account, actor, now, "sync now", {"profile": profile_id})


def retry_person(connection: Connection, account: Account, profile_id: int, actor: str, now: int) -> None:
    """Look at a person now, and send what ProsperStack rejected once more; try the account if it waits.

    Raises `NotFoundError`. Safe to repeat.
    """
    requeue.retry_person(connection, account.id, _email(connection, account, profile_id), now)
    requeue.retry_account(connection, account.id)
    _record(connection, account, actor, now, "retry", {"profiles": 1, "profile": profile_id})


async def retry_all(
    store: UnitOfWork, account: Account, actor: str, now: int, at_once: int = RETRIED_AT_ONCE
) -> int:
    """Look now at everybody with a problem, a failed attempt, or who is set aside; how many they are.

    What ProsperStack rejected is sent once more, and the account is tried if it waits. Many people take many short
    transactions: calls are accepted meanwhile. Safe to repeat, also where it was broken off.
    """
    people = await store.read(requeue.with_trouble, account.id)
    await store.write(remote_erasures.retry_failed, account.id, now)
    return await _retry(store, account, people, actor, now, {}, at_once)


async def retry_group(store: UnitOfWork, account: Account, key: str, reason: str, actor: str, now: int) -> int:
    """The same for those who have one problem: of a property, for a reason, as `store.problems.grouped` has them.

    How many they are; 0: the problem is gone.
    """
    people = await store.read(requeue.with_problem, account.id, key, reason)
    return await _retry(store, account, people, actor, now, {"property": key}, RETRIED_AT_ONCE)


async def _retry(
    store: UnitOfWork,
    account: Account,
    people: list[int],
    actor: str,
    now: int,
    details: dict[str, JsonValue],
    at_once: int,
) -> int:
    count = 0
    for start in range(0, len(people), at_once):
        some = people[start : start + at_once]
        count += await store.write(requeue.retry, account.id, some, now)
    await store.write(requeue.retry_account, account.id)
    await store.write(_record, account, actor, now, "retry", {"profiles": count, **details})
    return count


def retry_account(connection: Connection, account: Account, actor: str, now: int) -> bool:
    """Try an account now that waits after failures, or that is stopped; False: it was neither. Safe to repeat."""
    waited = requeue.retry_account(connection, account.id)
    if waited:
        _record(connection, account, actor, now, "retry account", {})
    return waited


def replay_cost(
    connection: Connection, account: Account, reserve: float, profile_id: int | None = None
) -> ReplayCost:
    """What it would cost at most to `replay` one person, or `replay_everybody`; it changes nothing.

    ``reserve``: what is left for owners where the account says nothing else. Raises `NotFoundError` where the
    account has
    no such profile.
    """
    count = 1
    if profile_id is None:
        count = profile_scan.count(connection, account.id)
    else:
        _email(connection, account, profile_id)
    most = forecast(count, account_rate(connection, account, reserve), matching=count, subscribers=None)
    # A request to look somebody up and one to write; to list their subscriptions and to write one, the same again.
    times = 2 if load(connection, account).rules.for_subscriptions else 1
    return ReplayCost(count, most.requests * times, most.seconds * times)


def replay(connection: Connection, account: Account, actor: str, now: int, profile_id: int) -> None:
    """Have one person compared with ProsperStack anew.

    What differs there is written, also where somebody edited it by hand: say what it costs first (`replay_cost`).
    Raises `NotFoundError` where the account has no such profile. Safe to repeat.
    """
    requeue.replay(connection, account.id, _email(connection, account, profile_id), now)
    _record(connection, account, actor, now, "replay", {"profiles": 1, "profile": profile_id})


async def replay_all(
    store: UnitOfWork, account: Account, actor: str, now: int, on_progress: Callable[[int], None] = lambda _: None
) -> int:
    """The same for everybody in the account; how many they are. ``on_progress`` is told so meanwhile.

    It takes many short transactions, and seconds for each hundred thousand people: calls are accepted meanwhile.
    Broken off it leaves the others as they were, and may be begun anew.
    """
    count, after = 0, ""
    details: dict[str, JsonValue] = {"broken_off": True}
    try:
        while True:
            done, last = await store.write(requeue.replay_page, account.id, after, now, REPLAYED_AT_ONCE)
            count += done
            on_progress(count)
            if last is None:
                break
            after = last
        details = {}
    finally:
        await store.write(_record, account, actor, now, "replay", {"profiles": count, **details})
    return count


def erase(
    connection: Connection, account: Account, email: str, pseudonym: Pseudonym, actor: str, now: int
) -> Erased:
    """Forget a person by an email (in any case), and the ids that came with it, as a Delete call does.

    What this service wrote in ProsperStack is cleared as the account is set. Whoever is not known is erased as
    well: a call of theirs may still be under way. Older calls do not bring them back, newer ones do. It cannot be
    undone, and is safe to repeat. ``pseudonym`` is the vault's.
    """
    lock_account(connection, account.id, exclusive=True)
    return erasure.erase_email(connection, account.id, normalize_email(email), pseudonym, actor, now)


def erase_user(
    connection: Connection, account: Account, user_id: str, pseudonym: Pseudonym, actor: str, now: int
) -> Erased:
    """The same by a user id: everybody who ever had it."""
    lock_account(connection, account.id, exclusive=True)
    return erasure.erase(connection, Delete(account.id, user_id, now, now), pseudonym, actor)


def erase_profile(
    connection: Connection, account: Account, profile_id: int, pseudonym: Pseudonym, actor: str, now: int
) -> Erased:
    """The same by a profile. Raises `NotFoundError` where the account has none with this id."""
    return erase(connection, account, _email(connection, account, profile_id), pseudonym, actor, now)


def _email(connection: Connection, account: Account, profile_id: int) -> str:
    profile = profiles.get(connection, profile_id)
    if profile is None or profile.account_id != account.id:
        raise NotFoundError(f"The account has no profile {profile_id}: it may have been deleted.")
    return profile.email


def _record(
    connection: Connection, account: Account, actor: str, now: int, action: str, details: dict[str, JsonValue]
) -> None:
    audit_log.record(connection, account.id, now, actor=actor, action=action, details=details)

"""Reconciling one account: step by step, until nothing is due."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import structlog
from sqlalchemy import Connection

from prosperstack_destination.accounts.catalogs import dump_catalog, list_catalog, load_catalog
from prosperstack_destination.clock import MINUTE, SECOND, Clock
from prosperstack_destination.errors import NotFound, ProsperStackError, Rejected
from prosperstack_destination.mapping.catalog import Catalog
from prosperstack_destination.mapping.coercion import PropertyValue
from prosperstack_destination.mapping.projection import Projection, project
from prosperstack_destination.mapping.rules import Rules
from prosperstack_destination.prosperstack import models
from prosperstack_destination.prosperstack.client import ProsperStack
from prosperstack_destination.prosperstack.models import Page, PropertyDefinition
from prosperstack_destination.prosperstack.paging import all_items
from prosperstack_destination.state import accounts, clearing, directory, problems, profiles
from prosperstack_destination.state.accounts import Account, AccountStatus
from prosperstack_destination.state.clearing import Clearing
from prosperstack_destination.state.database import Database
from prosperstack_destination.state.directory import Seen, Subscriber
from prosperstack_destination.state.problems import RecordedProblem
from prosperstack_destination.state.profile import Profile, Status
from prosperstack_destination.sync.backoff import backoff_seconds
from prosperstack_destination.sync.isolation import Search
from prosperstack_destination.sync.planner import LookUp, Miss, Settle, Step, Update, next_step
from prosperstack_destination.sync.spender import Spender

log = structlog.get_logger(__name__)

#: Profiles that are judged together. Those that need no request are settled in one transaction.
BATCH: Final = 200
#: How long a catalog is believed, in microseconds: a property made in ProsperStack is filled this soon.
CATALOG_FOR: Final = 15 * MINUTE


#: Told of each profile that is settled, and how: "delivered", "unchanged" (nothing had to be sent) or "unmatched".
OnSettled = Callable[[Profile, str], None]


def ignore_settled(_profile: Profile, _how: str) -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True)
class _Meaning:
    """What traits mean to the account just now."""

    catalog: Catalog
    rules: Rules


@dataclass(frozen=True, slots=True)
class _Work:
    """A profile that is due, with the subscribers that are known to have its email."""

    profile: Profile
    subscribers: Sequence[Subscriber]


class AccountWorker:
    """Spends one account's requests. Only one may run for an account at a time.

    Every write is safe to repeat, and names the version of the profile that it settles: what changes while a
    request is in flight stays due.
    """

    def __init__(
        self,
        account: Account,
        database: Database,
        prosperstack: ProsperStack,
        spender: Spender,
        clock: Clock,
        stopping: Callable[[], bool] = lambda: False,
        on_settled: OnSettled = ignore_settled,
    ) -> None:
        self._account = account
        self._database = database
        self._prosperstack = prosperstack
        self._spender = spender
        self._clock = clock
        self._stopping = stopping
        self._on_settled = on_settled
        self._log = log.bind(account=account.fingerprint)

    async def run(self) -> None:
        """Work until nothing is due, or the service stops.

        Raises `ProsperStackError` where the whole account has to wait.
        """
        while not self._stopping():
            meaning = await self._meaning()
            await self._clear()  # before anything is written anew to somebody who was erased and came back
            work = await self._database.read(_due, self._account.id, self._clock(), BATCH)
            if not work:
                return
            await self._round(work, meaning)

    async def _meaning(self) -> _Meaning:
        """The catalog and the rules; the catalog is listed anew when it is old, or after a failure."""
        listed_at = self._account.catalog_at
        old = listed_at is None or not 0 <= self._clock() - listed_at < CATALOG_FOR
        recovering = self._account.status is not AccountStatus.ACTIVE
        if old or recovering:
            await self._refresh_catalog()
        if recovering:
            await self._database.write(accounts.set_status, self._account.id, AccountStatus.ACTIVE)
            self._account = replace(self._account, status=AccountStatus.ACTIVE)
            self._log.info("the account works again")
        mapping = await self._database.read(accounts.mapping_in_force, self._account.id)
        return _Meaning(load_catalog(self._account.catalog), Rules.model_validate_json(mapping.rules))

    async def _refresh_catalog(self) -> None:
        def fetch(cursor: str | None) -> Awaitable[Page[PropertyDefinition]]:
            return self._spender.spend(partial(self._prosperstack.list_properties, cursor))

        catalog = dump_catalog(await list_catalog(fetch))
        now = self._clock()
        changed = catalog != self._account.catalog
        await self._database.write(_store_catalog, self._account.id, catalog, changed=changed, now=now)
        self._account = replace(self._account, catalog=catalog, catalog_at=now)
        if changed:
            self._log.info("the catalog of properties changed", properties=len(load_catalog(catalog)))

    async def _clear(self) -> None:
        """Undo in ProsperStack what was written for people who were erased."""
        while not self._stopping():
            pending = await self._database.read(clearing.due, self._account.id, self._clock(), BATCH)
            if not pending:
                return
            for each in pending:
                if self._stopping():
                    return
                await self._clear_one(each)

    async def _clear_one(self, each: Clearing) -> None:
        try:
            if each.delete_subscriber:
                await self._spender.spend(partial(self._prosperstack.delete_subscriber, each.subscriber_id))
            else:
                nothing = dict.fromkeys(each.properties)
                await self._spender.spend(
                    partial(self._prosperstack.update_subscriber, each.subscriber_id, nothing)
                )
        except NotFound:
            pass  # nothing is left to be cleared
        except ProsperStackError as error:
            until = self._clock() + int(backoff_seconds(each.attempts + 1) * SECOND)
            await self._database.write(clearing.postpone, self._account.id, each, until, str(error))
            if isinstance(error, Rejected):
                self._log.warning("not cleared", subscriber=each.subscriber_id, reason=str(error))
                return
            raise
        await self._database.write(clearing.done, self._account.id, each.subscriber_id)
        self._log.info("cleared", subscriber=each.subscriber_id, deleted=each.delete_subscriber)

    async def _round(self, work: Sequence[_Work], meaning: _Meaning) -> None:
        """Settle at once what needs no request, then deliver the rest one by one."""
        quiet: list[tuple[_Work, Projection, Settle | Miss]] = []
        rest: list[Profile] = []
        for each in work:
            projection, step = self._judge(each, meaning)
            if isinstance(step, Settle | Miss):
                quiet.append((each, projection, step))
            else:
                rest.append(each.profile)
        if quiet:
            await self._database.write(_record, quiet, self._clock())
            for each, _, quiet_step in quiet:
                self._on_settled(each.profile, "unchanged" if isinstance(quiet_step, Settle) else "unmatched")
        for profile in rest:
            if self._stopping():
                return
            try:
                await self._deliver(profile.id, meaning)
            except ProsperStackError as error:
                # If it is this profile that ProsperStack cannot stomach, the others must not wait behind it.
                await self._postpone(profile, str(error))
                raise

    async def _postpone(self, profile: Profile, reason: str) -> None:
        until = self._clock() + int(backoff_seconds(profile.attempts + 1) * SECOND)
        await self._database.write(profiles.postpone, profile, until, reason)

    def _judge(self, work: _Work, meaning: _Meaning) -> tuple[Projection, Step]:
        projection = project(work.profile.values(), meaning.catalog, meaning.rules)
        step = next_step(work.profile, projection, work.subscribers, meaning.catalog, self._clock())
        return projection, step

    async def _deliver(self, profile_id: int, meaning: _Meaning) -> None:
        """Take one profile through its steps until it is settled. What is known is read anew for each."""
        how = "unchanged"
        while not self._stopping():
            work = await self._database.read(_of_profile, profile_id)
            if work is None:
                return
            projection, step = self._judge(work, meaning)
            match step:
                case LookUp():
                    going_on = await self._look_up(work.profile)
                case Update():
                    going_on = await self._update(work.profile, step)
                    how = "delivered"
                case Settle() | Miss():
                    await self._database.write(_record, [(work, projection, step)], self._clock())
                    self._on_settled(work.profile, "unmatched" if isinstance(step, Miss) else how)
                    going_on = False
            if not going_on:
                return

    async def _look_up(self, profile: Profile) -> bool:
        """Learn who has the profile's email. False: ProsperStack rejects the email, and it is set aside."""
        spellings = dict.fromkeys((profile.address, profile.email))  # whether case matters there is not known
        try:
            for spelling in spellings:
                found = await self._find(spelling, profile.email)
                if found:
                    break
        except Rejected as rejection:
            reason = f"ProsperStack rejects the email: {rejection}"
            await self._database.write(profiles.settle, profile, Status.SET_ASIDE, reason=reason)
            self._log.warning("set aside", profile=profile.id, status_code=rejection.status_code)
            return False
        await self._database.write(_store_look_up, profile, found, self._clock())
        return True

    async def _find(self, spelling: str, email: str) -> list[Seen]:
        """The subscribers whose email is this one, whatever the case."""

        def fetch(cursor: str | None) -> Awaitable[Page[models.Subscriber]]:
            return self._spender.spend(partial(self._prosperstack.find_subscribers, spelling, cursor))

        return [
            Seen(each.id, email, each.values(), each.platform_id)
            for each in await all_items(fetch)
            if each.email.strip().lower() == email
        ]

    async def _update(self, profile: Profile, step: Update) -> bool:
        """Send what differs. False: the subscriber is gone, and the profile is looked at again later."""
        try:
            await self._send(step.subscriber, step.send)
        except Rejected as rejection:
            await self._isolate(step.subscriber, Search(step.send, str(rejection)))
        except NotFound:
            await self._database.write(_forget, profile, step.subscriber)
            await self._postpone(profile, "the subscriber is gone")
            self._log.info("a subscriber is gone", subscriber=step.subscriber.id)
            return False
        return True

    async def _send(self, subscriber: Subscriber, properties: dict[str, PropertyValue]) -> None:
        answer = await self._spender.spend(partial(self._prosperstack.update_subscriber, subscriber.id, properties))
        await self._database.write(
            directory.mark_applied,
            self._account.id,
            subscriber.id,
            properties,
            observed=answer.values(),
            now=self._clock(),
        )
        self._log.info("delivered", subscriber=subscriber.id, properties=sorted(properties))

    async def _isolate(self, subscriber: Subscriber, search: Search) -> None:
        """Find the one property that makes ProsperStack reject an update, and set it aside."""
        while (fault := search.fault) is None:
            try:
                await self._send(subscriber, dict(search.attempt))
            except Rejected as rejection:
                search = search.rejected(str(rejection))
            else:
                search = search.accepted()
        await self._database.write(
            directory.set_aside, self._account.id, subscriber.id, fault.key, fault.value, fault.reason
        )
        self._log.warning("set aside", subscriber=subscriber.id, property=fault.key)


def _due(connection: Connection, account_id: str, now: int, limit: int) -> list[_Work]:
    return [_work(connection, profile) for profile in profiles.due(connection, account_id, now, limit)]


def _of_profile(connection: Connection, profile_id: int) -> _Work | None:
    profile = profiles.get(connection, profile_id)
    return None if profile is None else _work(connection, profile)


def _work(connection: Connection, profile: Profile) -> _Work:
    return _Work(profile, directory.with_email(connection, profile.account_id, profile.email))


def _record(connection: Connection, settled: Sequence[tuple[_Work, Projection, Settle | Miss]], now: int) -> None:
    """Note profiles that need no request, what was found to be there already, and their problems."""
    for work, projection, step in settled:
        profile = work.profile
        if isinstance(step, Miss):
            done = profiles.settle(connection, profile, Status.UNMATCHED, look_again_at=step.look_again_at)
        else:
            for subscriber_id, values in step.found.items():
                directory.mark_applied(
                    connection, profile.account_id, subscriber_id, values, observed=None, now=now
                )
            done = profiles.settle(connection, profile, Status.IN_SYNC)
        if done:
            problems.replace(connection, profile.account_id, profile.id, _problems(work, projection, now))


def _problems(work: _Work, projection: Projection, now: int) -> list[RecordedProblem]:
    """What cannot be sent, and what ProsperStack rejected, of what is desired now; one a property."""
    found = {
        each.property: RecordedProblem(each.property, each.trait, each.value, each.reason, now)
        for each in projection.problems
    }
    for subscriber in work.subscribers:
        for key, (value, reason) in subscriber.set_aside.items():
            desired = projection.desired.get(key)
            if desired is not None and desired.value == value:
                found[key] = RecordedProblem(key, desired.trait, value, f"ProsperStack rejects it: {reason}", now)
    return list(found.values())


def _store_catalog(connection: Connection, account_id: str, catalog: str, *, changed: bool, now: int) -> None:
    accounts.set_catalog(connection, account_id, catalog, now)
    if changed:  # a property that was made today applies to everything already received
        profiles.mark_all_due(connection, account_id, now)


def _store_look_up(connection: Connection, profile: Profile, found: Sequence[Seen], now: int) -> None:
    directory.observe(connection, profile.account_id, profile.email, found, now)
    profiles.mark_looked_up(connection, profile.id, now)


def _forget(connection: Connection, profile: Profile, subscriber: Subscriber) -> None:
    directory.forget(connection, profile.account_id, subscriber.id)
    profiles.mark_looked_up(connection, profile.id, None)

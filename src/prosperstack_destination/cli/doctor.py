"""``doctor``: looks at everything that the service needs, and says what to do."""

import asyncio
import email.utils
import shutil
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

import httpx
from rich.markup import escape
from sqlalchemy import URL, Connection, func, select

from prosperstack_destination.admin import labels
from prosperstack_destination.auth.vault import Vault
from prosperstack_destination.cli import output
from prosperstack_destination.cli.connected import local_url, prosperstack_base_url, recorded
from prosperstack_destination.clock import DAY, HOUR, SECOND, system_clock
from prosperstack_destination.errors import (
    ConfigurationError,
    DestinationError,
    ProsperStackAuthError,
    ProsperStackError,
    ProsperStackRateLimited,
    ProsperStackUnavailable,
)
from prosperstack_destination.http_client import HTTP_TIMEOUT_SECONDS
from prosperstack_destination.prosperstack.client import ProsperStackClient
from prosperstack_destination.settings import Settings, read_settings
from prosperstack_destination.store import account_stats, accounts
from prosperstack_destination.store.account_stats import AccountStats
from prosperstack_destination.store.accounts import Account
from prosperstack_destination.store.database import Database, parse_database_url
from prosperstack_destination.store.tables import subscribers
from prosperstack_destination.vault import vault_from_settings

#: Less room than this on the disk is told, in bytes; and so little that it may be full any time.
LITTLE_ROOM: Final = 1024**3
NO_ROOM: Final = 100 * 1024**2
#: A clock that is further off ProsperStack's than this is told, in seconds: event times decide which value wins.
CLOCK_SECONDS: Final = 30
#: A catalog that is older than this is told: that of an idle account is listed once a day, in microseconds.
OLD_CATALOG: Final = 25 * HOUR


class Severity(StrEnum):
    """How one thing is."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    what: str
    health: Severity
    #: What was found.
    found: str
    #: What to do about it; "" where nothing has to be done.
    advice: str = ""


def run(*, offline: bool, as_json: bool) -> bool:
    """Look at everything and print it; whether nothing failed. ``offline`` asks nobody else."""
    findings = asyncio.run(_all(offline=offline))
    if as_json:
        output.print_json(
            [
                {"what": each.what, "health": each.health.value, "found": each.found, "advice": each.advice}
                for each in findings
            ]
        )
    else:
        colours = {Severity.OK: "green", Severity.WARNING: "yellow", Severity.FAILED: "red"}
        for each in findings:
            mark = f"[{colours[each.health]}]{each.health.value:<8}[/]"
            output.console.print(f"{mark} [bold]{escape(each.what)}[/bold]: {escape(each.found)}")
            if each.advice:
                output.console.print(f"         {escape(each.advice)}")
    return all(each.health is not Severity.FAILED for each in findings)


async def _all(*, offline: bool) -> list[Finding]:
    try:
        settings = read_settings()
        url = parse_database_url(settings.effective_database_url)
    except ConfigurationError as error:
        advice = "Correct it in the environment or in .env; docs/reference/settings.md lists them."
        return [Finding("settings", Severity.FAILED, str(error), advice)]
    findings = [Finding("settings", Severity.OK, f"the database is {url.set(query={})!r}")]
    findings += [_disk(settings)]
    return [*findings, *[each async for each in _database(settings, offline=offline)]]


def _disk(settings: Settings) -> Finding:
    folder = settings.data_dir
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    found = f"{free / 1024**3:,.1f} GB are free at {folder.resolve()}"
    if free < NO_ROOM:
        return Finding("disk", Severity.FAILED, found, "Make room: a full disk means that calls are answered 503.")
    if free < LITTLE_ROOM:
        return Finding("disk", Severity.WARNING, found, "Make room soon: a profile takes about 1 KB.")
    return Finding("disk", Severity.OK, found)


def _is_there(url: URL) -> bool:
    """Whether there is a database to be opened: SQLite would make an empty one."""
    return url.get_backend_name() != "sqlite" or bool(url.database and Path(url.database).exists())


async def _database(settings: Settings, *, offline: bool) -> AsyncIterator[Finding]:
    url = parse_database_url(settings.effective_database_url)
    if not _is_there(url):
        advice = "Start the service with `serve`; or set DATA_DIR to where its database is."
        yield Finding("database", Severity.FAILED, f"there is none at {url.database}", advice)
        return
    try:
        database = Database(settings.effective_database_url)
    except DestinationError as error:
        yield Finding("database", Severity.FAILED, str(error), "Correct DATABASE_URL.")
        return
    try:
        begun = time.monotonic()
        now = system_clock()
        found = await database.read(_look, now)
        milliseconds = (time.monotonic() - begun) * 1000
        yield Finding("database", Severity.OK, f"{len(found)} accounts, read in {milliseconds:.0f} ms")
    except DestinationError as error:
        advice = "Is it of this version (`serve` migrates it), readable by this user, and not locked?"
        yield Finding("database", Severity.FAILED, str(error), advice)
        return
    finally:
        await database.close()
    if not found:
        advice = "Open one with `accounts add`, or let Segment send its first call with a ProsperStack key."
        yield Finding("accounts", Severity.WARNING, "there is none yet", advice)
    vault = vault_from_settings(settings)
    async with httpx.AsyncClient(timeout=HTTP_TIMEOUT_SECONDS) as http:
        for each in found:
            for finding in _account(each, now):
                yield finding
            async for finding in _key(each, settings, vault, http, offline=offline):
                yield finding
        if not offline:
            yield await _service(settings, http)


@dataclass(frozen=True, slots=True)
class _Seen:
    account: Account
    standing: AccountStats
    #: When anything of the directory was observed last, in microseconds, and how many subscribers it has.
    directory_at: int | None
    subscribers: int


def _look(connection: Connection, now: int) -> list[_Seen]:
    by_id = {each.account_id: each for each in account_stats.of_accounts(connection, now)}
    seen = []
    for account in accounts.all_accounts(connection):
        mine = subscribers.c.account_id == account.id
        row = connection.execute(select(func.max(subscribers.c.observed_at), func.count()).where(mine)).one()
        seen.append(_Seen(account, by_id[account.id], row[0], row[1]))
    return seen


def _account(seen: _Seen, now: int) -> list[Finding]:
    account, name = seen.account, seen.account.fingerprint
    findings = []
    if account.catalog_at is None:
        advice = "The service lists it when it starts, and from then on: is it running?"
        findings.append(Finding(f"{name}, catalog", Severity.WARNING, "it was never listed", advice))
    elif now - account.catalog_at > OLD_CATALOG:
        found = f"it is {labels.ago(account.catalog_at, now)} old"
        advice = "It is listed once a day at least while the service runs: look at its log."
        findings.append(Finding(f"{name}, catalog", Severity.WARNING, found, advice))
    else:
        findings.append(Finding(f"{name}, catalog", Severity.OK, f"{labels.ago(account.catalog_at, now)} old"))
    if seen.directory_at is not None:
        found = f"{seen.subscribers:,} subscribers, the latest seen {labels.ago(seen.directory_at, now)} ago"
        findings.append(Finding(f"{name}, directory", Severity.OK, found))
    waiting = seen.standing
    if waiting.failures.in_words:
        why = f": {waiting.failures.reason}" if waiting.failures.reason else ""
        advice = "`failures` lists them with the reasons, `retry` tries them now."
        findings.append(Finding(f"{name}, failures", Severity.WARNING, waiting.failures.in_words + why, advice))
    if waiting.oldest_at is not None and now - waiting.oldest_at > DAY:
        found = f"{waiting.backlog:,} profiles, the oldest since {labels.ago(waiting.oldest_at, now)}"
        advice = "`status` shows when they will be done, `events` which requests fail."
        findings.append(Finding(f"{name}, backlog", Severity.WARNING, found, advice))
    else:
        findings.append(Finding(f"{name}, backlog", Severity.OK, f"{waiting.backlog:,} profiles"))
    return findings


async def _key(
    seen: _Seen, settings: Settings, vault: Vault, http: httpx.AsyncClient, *, offline: bool
) -> AsyncIterator[Finding]:
    account, what = seen.account, f"{seen.account.fingerprint}, key"
    try:
        key = vault.decrypt(account.encrypted_key)
    except ConfigurationError as error:
        yield Finding(what, Severity.FAILED, str(error), "Put the former SECRET_KEY, or secret.key, back.")
        return
    if offline:
        yield Finding(what, Severity.OK, "it can be decrypted")
        return
    base_url = prosperstack_base_url(settings)
    dates: list[str] = []

    async def note(response: httpx.Response) -> None:
        dates.append(response.headers.get("date", ""))

    http.event_hooks = {"response": [note]}
    begun = time.monotonic()
    try:
        page = await ProsperStackClient(http, base_url, key).list_properties()
    except ProsperStackAuthError as error:
        advice = "Make a new key in ProsperStack, and enter it with `accounts rekey`."
        yield Finding(what, Severity.FAILED, str(error), advice)
    except ProsperStackRateLimited:
        yield Finding(what, Severity.OK, "the rate limit is spent just now, so that the key works")
    except ProsperStackUnavailable as error:
        advice = f"Is {base_url} right, and reachable from here (proxy, firewall, DNS)?"
        yield Finding(what, Severity.FAILED, str(error), advice)
    except ProsperStackError as error:
        yield Finding(what, Severity.FAILED, str(error), "Is PROSPERSTACK_BASE_URL right?")
    else:
        milliseconds = (time.monotonic() - begun) * 1000
        found = f"ProsperStack ({base_url}) takes it: {len(page.data)} properties, in {milliseconds:.0f} ms"
        yield Finding(what, Severity.OK, found)
    if dates and (finding := _clock(dates[-1])) is not None:
        yield finding


def _clock(date: str) -> Finding | None:
    """This machine's clock against ProsperStack's; None where that did not tell a time."""
    try:
        theirs = email.utils.parsedate_to_datetime(date).timestamp()
    except ValueError:
        return None
    off = system_clock() / SECOND - theirs
    found = f"within {max(abs(off), 1):.0f} s of ProsperStack's"
    if abs(off) <= CLOCK_SECONDS:
        return Finding("clock", Severity.OK, found)
    found = f"{abs(off):,.0f} s {'ahead of' if off > 0 else 'behind'} ProsperStack's"
    return Finding("clock", Severity.WARNING, found, "Set it (NTP): a call from its future counts as now.")


async def _service(settings: Settings, http: httpx.AsyncClient) -> Finding:
    url = f"{local_url(settings.host, settings.port)}/readyz"
    if not {"host", "port"} & settings.model_fields_set and (served := recorded(settings)) is not None:
        url = f"{served.url}/readyz"
    http.event_hooks = {}
    try:
        answer = await http.get(url)
    except httpx.HTTPError as error:
        advice = "Start it with `serve`, or set HOST and PORT to where it listens."
        return Finding("service", Severity.WARNING, f"nothing answers at {url} ({type(error).__name__})", advice)
    if answer.status_code == 200:
        return Finding("service", Severity.OK, f"ready at {url}")
    return Finding(
        "service", Severity.FAILED, f"{url} answers {answer.status_code}: {answer.text[:200]}", "See its log."
    )

"""Implementation of `doctor`: check everything that the service needs, and advise."""

import asyncio
import email.utils
import shutil
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
from rich.markup import escape
from sqlalchemy import URL, Connection, func, select

from prosperstack_destination.admin import labels
from prosperstack_destination.auth.vault import Vault
from prosperstack_destination.cli import output, restored_database
from prosperstack_destination.cli.findings import Finding, Severity
from prosperstack_destination.cli.serving_record import load, local_url, prosperstack_base_url
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

#: Free disk space below which doctor warns, and below which it fails, in bytes.
LOW_DISK_SPACE: Final = 1024**3
NO_DISK_SPACE: Final = 100 * 1024**2
#: Largest difference to ProsperStack's clock without a warning, in seconds. Event times decide which value wins.
CLOCK_SECONDS: Final = 30
#: Largest age of a catalog without a warning, in microseconds. That of an idle account is listed once a day.
OLD_CATALOG: Final = 25 * HOUR


def run(*, offline: bool, after_restore: bool, as_json: bool) -> bool:
    """Run and print all checks; return True if none failed.

    ``offline`` sends no requests. ``after_restore`` adds what a restored database lacks.
    """
    findings = asyncio.run(_check_all(offline=offline, after_restore=after_restore))
    if as_json:
        output.print_json(
            [
                {
                    "what": each.what,
                    "health": each.severity.value,
                    "found": each.observation,
                    "advice": each.advice,
                }
                for each in findings
            ]
        )
    else:
        colours = {Severity.OK: "green", Severity.WARNING: "yellow", Severity.FAILED: "red"}
        for each in findings:
            mark = f"[{colours[each.severity]}]{each.severity.value:<8}[/]"
            output.console.print(f"{mark} [bold]{escape(each.what)}[/bold]: {escape(each.observation)}")
            if each.advice:
                output.console.print(f"         {escape(each.advice)}")
    return all(each.severity is not Severity.FAILED for each in findings)


async def _check_all(*, offline: bool, after_restore: bool) -> list[Finding]:
    try:
        settings = read_settings()
        url = parse_database_url(settings.effective_database_url)
    except ConfigurationError as error:
        advice = "Correct it in the environment or in .env; docs/reference/settings.md lists the settings."
        return [Finding("settings", Severity.FAILED, str(error), advice)]
    findings = [Finding("settings", Severity.OK, f"the database is {url.set(query={})!r}")]
    findings += [_disk(settings)]
    checks = _database(settings, offline=offline, after_restore=after_restore)
    return [*findings, *[each async for each in checks]]


def _disk(settings: Settings) -> Finding:
    folder = settings.data_dir
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    observation = f"{free / 1024**3:,.1f} GB are free at {folder.resolve()}"
    if free < NO_DISK_SPACE:
        return Finding(
            "disk",
            Severity.FAILED,
            observation,
            "Free disk space now: calls are answered 503 when the disk is full.",
        )
    if free < LOW_DISK_SPACE:
        return Finding("disk", Severity.WARNING, observation, "Free disk space soon: a profile takes about 1 KB.")
    return Finding("disk", Severity.OK, observation)


def _database_exists(url: URL) -> bool:
    """Return False for a missing SQLite file, which opening it would create."""
    return url.get_backend_name() != "sqlite" or bool(url.database and Path(url.database).exists())


async def _database(settings: Settings, *, offline: bool, after_restore: bool) -> AsyncIterator[Finding]:
    url = parse_database_url(settings.effective_database_url)
    if not _database_exists(url):
        advice = "Start the service with `serve`, or set DATA_DIR to the folder of its database."
        yield Finding("database", Severity.FAILED, f"there is no database at {url.database}", advice)
        return
    try:
        database = Database(settings.effective_database_url)
    except DestinationError as error:
        yield Finding("database", Severity.FAILED, str(error), "Correct DATABASE_URL.")
        return
    try:
        started_at = time.monotonic()
        now = system_clock()
        loaded = await database.read(_load_accounts, now)
        milliseconds = (time.monotonic() - started_at) * 1000
        yield Finding("database", Severity.OK, f"{len(loaded)} accounts, read in {milliseconds:.0f} ms")
        if after_restore:
            for step in restored_database.findings(await database.read(restored_database.load), now):
                yield step
    except DestinationError as error:
        advice = "Check that its schema is current (`db upgrade`), and that this user can read it."
        yield Finding("database", Severity.FAILED, str(error), advice)
        return
    finally:
        await database.close()
    if not loaded:
        advice = "Run `accounts add`, or send a first call with a ProsperStack key."
        yield Finding("accounts", Severity.WARNING, "there is no account yet", advice)
    vault = vault_from_settings(settings)
    async with httpx.AsyncClient(timeout=HTTP_TIMEOUT_SECONDS) as http:
        for each in loaded:
            for finding in _check_account(each, now):
                yield finding
            async for finding in _check_key(each, settings, vault, http, offline=offline):
                yield finding
        if not offline:
            yield await _check_service(settings, http)


@dataclass(frozen=True, slots=True)
class _AccountState:
    account: Account
    stats: AccountStats
    #: Time of the latest observation of a subscriber, in microseconds, and number of subscribers.
    directory_at: int | None
    subscribers: int


def _load_accounts(connection: Connection, now: int) -> list[_AccountState]:
    by_id = {each.account_id: each for each in account_stats.of_accounts(connection, now)}
    states = []
    for account in accounts.all_accounts(connection):
        mine = subscribers.c.account_id == account.id
        row = connection.execute(select(func.max(subscribers.c.observed_at), func.count()).where(mine)).one()
        states.append(_AccountState(account, by_id[account.id], row[0], row[1]))
    return states


def _check_account(state: _AccountState, now: int) -> list[Finding]:
    account, name = state.account, state.account.fingerprint
    findings = []
    if account.catalog_at is None:
        advice = "A running service lists it. Start it with `serve`."
        findings.append(Finding(f"{name}, catalog", Severity.WARNING, "never listed", advice))
    elif now - account.catalog_at > OLD_CATALOG:
        observation = f"{labels.ago(account.catalog_at, now)} old"
        advice = "A running service lists it at least once a day. Check the log of the service."
        findings.append(Finding(f"{name}, catalog", Severity.WARNING, observation, advice))
    else:
        findings.append(Finding(f"{name}, catalog", Severity.OK, f"{labels.ago(account.catalog_at, now)} old"))
    if state.directory_at is not None:
        observation = (
            f"{state.subscribers:,} subscribers, the latest observed {labels.ago(state.directory_at, now)} ago"
        )
        findings.append(Finding(f"{name}, directory", Severity.OK, observation))
    waiting = state.stats
    if waiting.failures.summary:
        reason = f": {waiting.failures.reason}" if waiting.failures.reason else ""
        advice = "`failures` lists them with their reasons, `retry` tries now."
        findings.append(Finding(f"{name}, failures", Severity.WARNING, waiting.failures.summary + reason, advice))
    if waiting.oldest_at is not None and now - waiting.oldest_at > DAY:
        observation = f"{waiting.backlog:,} profiles, the oldest since {labels.ago(waiting.oldest_at, now)}"
        advice = "`status` estimates the time left, `events` shows failed requests."
        findings.append(Finding(f"{name}, backlog", Severity.WARNING, observation, advice))
    else:
        findings.append(Finding(f"{name}, backlog", Severity.OK, f"{waiting.backlog:,} profiles"))
    return findings


async def _check_key(
    state: _AccountState, settings: Settings, vault: Vault, http: httpx.AsyncClient, *, offline: bool
) -> AsyncIterator[Finding]:
    account, what = state.account, f"{state.account.fingerprint}, key"
    try:
        key = vault.decrypt(account.encrypted_key)
    except ConfigurationError as error:
        yield Finding(what, Severity.FAILED, str(error), "Restore the former SECRET_KEY, or secret.key.")
        return
    if offline:
        yield Finding(what, Severity.OK, "decrypted")
        return
    base_url = prosperstack_base_url(settings)
    dates: list[str] = []

    async def record_date(response: httpx.Response) -> None:
        dates.append(response.headers.get("date", ""))

    http.event_hooks = {"response": [record_date]}
    started_at = time.monotonic()
    try:
        page = await ProsperStackClient(http, base_url, key).list_properties()
    except ProsperStackAuthError as error:
        advice = "Create a new key in ProsperStack, then run `accounts rekey`."
        yield Finding(what, Severity.FAILED, str(error), advice)
    except ProsperStackRateLimited:
        yield Finding(what, Severity.OK, "valid: ProsperStack answered that its rate limit is used up")
    except ProsperStackUnavailable as error:
        advice = f"Check that {base_url} is correct and reachable from this machine (proxy, firewall, DNS)."
        yield Finding(what, Severity.FAILED, str(error), advice)
    except ProsperStackError as error:
        yield Finding(what, Severity.FAILED, str(error), "Check PROSPERSTACK_BASE_URL.")
    else:
        milliseconds = (time.monotonic() - started_at) * 1000
        observation = f"ProsperStack ({base_url}) accepts it: {len(page.data)} properties, in {milliseconds:.0f} ms"
        yield Finding(what, Severity.OK, observation)
    if dates and (finding := _check_clock(dates[-1])) is not None:
        yield finding


def _check_clock(date: str) -> Finding | None:
    """Compare this machine's clock with a Date header of ProsperStack; None for a header without a time."""
    try:
        theirs = email.utils.parsedate_to_datetime(date).timestamp()
    except ValueError:
        return None
    off = system_clock() / SECOND - theirs
    observation = f"within {max(abs(off), 1):.0f} s of ProsperStack's"
    if abs(off) <= CLOCK_SECONDS:
        return Finding("clock", Severity.OK, observation)
    observation = f"{abs(off):,.0f} s {'ahead of' if off > 0 else 'behind'} ProsperStack's"
    return Finding(
        "clock",
        Severity.WARNING,
        observation,
        "Synchronize this clock (NTP). Calls with a future time count as now.",
    )


async def _check_service(settings: Settings, http: httpx.AsyncClient) -> Finding:
    url = f"{local_url(settings.host, settings.port)}/readyz"
    if not {"host", "port"} & settings.model_fields_set and (record := load(settings)) is not None:
        url = f"{record.url}/readyz"
    http.event_hooks = {}
    try:
        answer = await http.get(url)
    except httpx.HTTPError as error:
        advice = "Start it with `serve`, or set HOST and PORT to its address."
        return Finding("service", Severity.WARNING, f"nothing answers at {url} ({type(error).__name__})", advice)
    if answer.status_code == 200:
        return Finding("service", Severity.OK, f"ready at {url}")
    return Finding(
        "service",
        Severity.FAILED,
        f"{url} answers {answer.status_code}: {answer.text[:200]}",
        "Check the log of the service.",
    )

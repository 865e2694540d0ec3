"""Command that checks everything that the service needs, and advises."""

import asyncio
import email.utils
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Final

import httpx
import typer
from rich.markup import escape

from prosperstack_destination.admin import labels
from prosperstack_destination.admin.database import describe, existing, missing_file
from prosperstack_destination.admin.status import AccountHealth, RestoredDatabase, load_health, load_restored
from prosperstack_destination.auth.vault import Vault
from prosperstack_destination.cli import output
from prosperstack_destination.cli.output import Time
from prosperstack_destination.cli.session import Json
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
from prosperstack_destination.serving_record import load, local_url, prosperstack_base_url
from prosperstack_destination.settings import Settings, read_settings
from prosperstack_destination.settings_vault import vault_from_settings

app = typer.Typer()

#: Free disk space below which doctor warns, and below which it fails, in bytes.
LOW_DISK_SPACE: Final = 1024**3
NO_DISK_SPACE: Final = 100 * 1024**2
#: Largest difference to ProsperStack's clock without a warning, in seconds. Event times decide which value wins.
CLOCK_SECONDS: Final = 30
#: Largest age of a catalog without a warning, in microseconds. That of an idle account is listed once a day.
OLD_CATALOG: Final = 25 * HOUR


class Severity(StrEnum):
    """Result of one check."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: its subject, its result, and advice."""

    what: str
    severity: Severity
    #: Observation that the severity follows from.
    observation: str
    #: Action for the operator; "" if none is needed.
    advice: str = ""


@app.command()
def doctor(
    offline: Annotated[bool, typer.Option("--offline", help="Ask neither ProsperStack nor the service.")] = False,
    after_restore: Annotated[
        bool, typer.Option("--after-restore", help="Say what has to be repeated after a backup was restored.")
    ] = False,
    json: Json = False,
) -> None:
    """Check everything that the service needs, and print advice. It costs one request for each account."""
    findings = asyncio.run(_check_all(offline=offline, after_restore=after_restore))
    if json:
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
    if any(each.severity is Severity.FAILED for each in findings):
        raise typer.Exit(1)


async def _check_all(*, offline: bool, after_restore: bool) -> list[Finding]:
    try:
        settings = read_settings()
        database = describe(settings.effective_database_url)
    except ConfigurationError as error:
        advice = "Correct it in the environment or in .env; docs/reference/settings.md lists the settings."
        return [Finding("settings", Severity.FAILED, str(error), advice)]
    findings = [Finding("settings", Severity.OK, f"the database is {database}")]
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


async def _database(settings: Settings, *, offline: bool, after_restore: bool) -> AsyncIterator[Finding]:
    url = settings.effective_database_url
    if (file := missing_file(url)) is not None:
        advice = "Start the service with `serve`, or set DATA_DIR to the folder of its database."
        yield Finding("database", Severity.FAILED, f"there is no database at {file}", advice)
        return
    now = system_clock()
    started_at = time.monotonic()
    try:
        async with existing(url) as database:
            loaded = await database.read(load_health, now)
            milliseconds = (time.monotonic() - started_at) * 1000
            restored = await database.read(load_restored) if after_restore else None
    except DestinationError as error:
        advice = "Check that its schema is current (`db upgrade`), and that this user can read it."
        yield Finding("database", Severity.FAILED, str(error), advice)
        return
    yield Finding("database", Severity.OK, f"{len(loaded)} accounts, read in {milliseconds:.0f} ms")
    if restored is not None:
        for step in _restore_steps(restored, now):
            yield step
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


def _restore_steps(state: RestoredDatabase, now: int) -> Iterator[Finding]:
    """Yield a finding for each step after a restore, in the order of the steps."""
    if state.integrity == "ok":
        yield Finding("restore, integrity", Severity.OK, f"{state.profiles:,} profiles")
    else:
        advice = "Restore another backup: this one is damaged."
        yield Finding("restore, integrity", Severity.FAILED, state.integrity, advice)
    if state.revision != state.newest_revision:
        advice = "Run `db upgrade`, or start the service, which upgrades it."
        observation = f"revision {state.revision}, and this version has {state.newest_revision}"
        yield Finding("restore, schema", Severity.WARNING, observation, advice)
    steps = {
        "calls": (
            state.latest_call_at,
            "Calls after it are missing. Import them from your warehouse (`import`), or let Segment replay them "
            "from then on. Both are safe: the newest event wins.",
        ),
        "deletions": (state.latest_erasure_at, "Repeat deletions that were made after it (`erase`)."),
        "credentials": (
            state.latest_credential_at,
            "Issue and revoke again what was issued or revoked after it: a key that was revoked since works now.",
        ),
        "mapping": (state.latest_mapping_at, "Apply again what was applied after it (`mappings apply`)."),
        "ProsperStack": (
            state.latest_observation_at,
            "What ProsperStack got after it is not known here. Start the service, and run `replay --yes`.",
        ),
    }
    for step, (at, advice) in steps.items():
        yield Finding(f"restore, {step}", Severity.WARNING, _when(at, now), advice)


def _when(at: int | None, now: int) -> str:
    if at is None:
        return "there is none in this database"
    return f"the latest is of {Time(at)} UTC, {labels.ago(at, now)} ago"


def _check_account(state: AccountHealth, now: int) -> list[Finding]:
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
    state: AccountHealth, settings: Settings, vault: Vault, http: httpx.AsyncClient, *, offline: bool
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

"""Command that posts calls to the service, and shows the resulting properties."""

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import httpx
import typer
from pydantic import JsonValue
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from prosperstack_destination.cli import output
from prosperstack_destination.cli.session import SANDBOX_KEY, SANDBOX_PORT, Json
from prosperstack_destination.errors import InvalidInput, ProsperStackError
from prosperstack_destination.ingest.documented_call import DOCUMENTED_CALL
from prosperstack_destination.prosperstack.client import ProsperStackClient

app = typer.Typer()

#: Concurrent calls.
CONCURRENCY: Final = 16
#: Timeout of a call, in seconds.
CALL_SECONDS: Final = 30.0
#: People whose properties are shown. Each poll costs one request of the sandbox's rate limit for each of them.
SHOWN_PEOPLE: Final = 3
#: Interval between two polls of the properties, in seconds.
POLL_SECONDS: Final = 1.0

Properties = dict[str, JsonValue]


@dataclass(frozen=True, slots=True)
class _CallResult:
    status: int
    message: str


@app.command()
def send(
    file: Annotated[
        Path | None,
        typer.Argument(help="JSON file (one call, or an array) or JSONL file. Default: the documented example."),
    ] = None,
    to: Annotated[str, typer.Option(help="URL to post the calls to.")] = "http://127.0.0.1:8700/identify",
    key: Annotated[str, typer.Option(envvar="SEGMENT_KEY", help="API key to authenticate with.")] = SANDBOX_KEY,
    prosperstack_url: Annotated[
        str, typer.Option(help="URL of the sandbox, to show the properties before and after.")
    ] = f"http://127.0.0.1:{SANDBOX_PORT}/v1",
    wait: Annotated[
        float, typer.Option(min=0, help="Time to wait for the properties to change, in seconds.")
    ] = 10.0,
    json: Json = False,
) -> None:
    """Post Identify calls to the service and show the answers and the changed properties."""
    calls = [DOCUMENTED_CALL] if file is None else read_calls(file)
    if not asyncio.run(_send(calls, to=to, key=key, prosperstack_url=prosperstack_url, wait=wait, as_json=json)):
        raise typer.Exit(1)


def read_calls(file: Path) -> list[JsonValue]:
    """Return the calls of a JSON file (one call, or an array) or a JSONL file (one call a line)."""
    try:
        text = file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{file} cannot be read: {error}") from None
    try:
        content = json.loads(text)
    except json.JSONDecodeError:
        return [_line(file, number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    return content if isinstance(content, list) else [content]


def _line(file: Path, number: int, line: str) -> JsonValue:
    try:
        call: JsonValue = json.loads(line)
    except json.JSONDecodeError as error:
        raise InvalidInput(f"{file}, line {number}, is not JSON: {error}") from None
    return call


async def _send(
    calls: Sequence[JsonValue], *, to: str, key: str, prosperstack_url: str, wait: float, as_json: bool
) -> bool:
    console = Console(highlight=False, quiet=as_json)
    people = list(dict.fromkeys(email for call in calls if (email := _email(call))))[:SHOWN_PEOPLE]
    async with httpx.AsyncClient(timeout=CALL_SECONDS, trust_env=False) as http:
        sandbox = ProsperStackClient(http, prosperstack_url, key)
        before = await _properties(sandbox, people)
        answers = await _post(http, calls, to, key, console)
        _show_answers(answers, console)
        after = before
        if before is None:
            console.print(f"No sandbox answers at {prosperstack_url}: the resulting properties are not shown.")
        else:
            desired = await _desired(http, calls, people, to, key)
            unchanged = {email for email in people if _has(before[email], desired.get(email))}
            after = await _after(sandbox, [each for each in people if each not in unchanged], before, wait, console)
            for email in people:
                console.print(_changes(email, before[email], after[email], is_unchanged=email in unchanged))
    if as_json:
        output.print_json(_facts(answers, before or {}, after or {}))
    return all(answer.status in (200, 202) for answer in answers)


async def _post(
    http: httpx.AsyncClient, calls: Sequence[JsonValue], to: str, key: str, console: Console
) -> list[_CallResult]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    slots = asyncio.Semaphore(CONCURRENCY)
    with Progress(*columns, console=console, transient=len(calls) == 1) as progress:
        task = progress.add_task("Sending", total=len(calls), rate="")

        async def one(call: JsonValue) -> _CallResult:
            async with slots:
                answer = await _answer(http, call, to, key)
            progress.advance(task)
            progress.update(task, rate=f"{progress.tasks[task].speed or 0:,.0f}/s")
            return answer

        return list(await asyncio.gather(*(one(call) for call in calls)))


async def _answer(http: httpx.AsyncClient, call: JsonValue, to: str, key: str) -> _CallResult:
    try:
        response = await http.post(to, json=call, auth=httpx.BasicAuth(key, ""))
    except httpx.TransportError as error:
        return _CallResult(
            0, f"{to} cannot be reached ({type(error).__name__}). Is the service running? Start it with `serve`."
        )
    try:
        body: Any = response.json()
    except ValueError:
        body = None
    text = body.get("message") if isinstance(body, dict) else None
    return _CallResult(response.status_code, text if isinstance(text, str) else response.reason_phrase)


def _facts(
    answers: Sequence[_CallResult], before: dict[str, Properties], after: dict[str, Properties]
) -> dict[str, JsonValue]:
    return {
        "answers": [
            {"status": answer.status or None, "message": answer.message, "calls": count}
            for answer, count in Counter(answers).most_common()
        ],
        "people": [{"email": email, "before": before[email], "after": after[email]} for email in before],
    }


def _show_answers(answers: Sequence[_CallResult], console: Console) -> None:
    table = Table("Calls", "Status", "Message", box=None, header_style="bold")
    table.columns[0].justify = "right"
    for answer, count in Counter(answers).most_common():
        good = answer.status in (200, 202)
        status = f"[{'green' if good else 'red'}]{answer.status or '-'}[/]"
        table.add_row(f"{count:,}", status, answer.message)
    console.print(table)


async def _properties(sandbox: ProsperStackClient, people: Sequence[str]) -> dict[str, Properties] | None:
    """Return the properties of the first subscriber of each email; None if no sandbox answers."""
    try:
        pages = {email: await sandbox.find_subscribers(email) for email in people}
    except ProsperStackError:
        return None
    return {email: page.data[0].values() if page.data else {} for email, page in pages.items()}


async def _after(
    sandbox: ProsperStackClient,
    people: Sequence[str],
    before: dict[str, Properties],
    wait: float,
    console: Console,
) -> dict[str, Properties]:
    """Return the properties when those of all these people have changed, or after ``wait`` seconds."""
    after = before
    loop = asyncio.get_running_loop()
    deadline = loop.time() + wait
    with console.status("Waiting for ProsperStack's properties to change"):
        while people and loop.time() < deadline and any(after[email] == before[email] for email in people):
            await asyncio.sleep(POLL_SECONDS)
            after = await _properties(sandbox, people) or after
    return after


async def _desired(
    http: httpx.AsyncClient, calls: Sequence[JsonValue], people: Sequence[str], to: str, key: str
) -> dict[str, Properties]:
    """Return the desired properties by email, from a dry run of each person's latest call."""
    latest = {email: call for call in calls if (email := _email(call)) is not None and email in people}
    found: dict[str, Properties] = {}
    for email, call in latest.items():
        try:
            answer = await http.post(to, json=call, params={"dry_run": "true"}, auth=httpx.BasicAuth(key, ""))
            properties = answer.json()["properties"]
            found[email] = {each["property"]: each["value"] for each in properties}
        except (httpx.TransportError, ValueError, KeyError, TypeError):
            continue  # another service, or a refused call: the properties are polled instead
    return found


def _has(observed: Properties, desired: Properties | None) -> bool:
    """Return True if ProsperStack has all desired values; False if they are not known."""
    return bool(desired) and all(observed.get(key) == value for key, value in (desired or {}).items())


def _changes(email: str, before: Properties, after: Properties, *, is_unchanged: bool) -> Table:
    table = Table("Property", "Before", "After", box=None, header_style="bold", title=email, title_justify="left")
    for key in sorted(before.keys() | after.keys()):
        old, new = _shown(before.get(key)), _shown(after.get(key))
        table.add_row(key, old, new if old == new else f"[green]{new}[/]")
    if is_unchanged:
        table.caption = "ProsperStack has these values already: up to date."
    elif before == after:
        table.caption = "No change yet: no subscriber has this email, or the update is waiting (see `status`)."
    return table


def _shown(value: JsonValue) -> str:
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)


def _email(call: JsonValue) -> str | None:
    """Return the email of a call from `traits.email`, the usual place; None elsewhere."""
    traits = call.get("traits") if isinstance(call, dict) else None
    email = traits.get("email") if isinstance(traits, dict) else None
    return email if isinstance(email, str) else None

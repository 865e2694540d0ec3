"""Template rendering, and the filters for numbers, times and values."""

import asyncio
from functools import cache
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from pydantic import JsonValue
from pydantic_core import to_json

from prosperstack_destination import __version__
from prosperstack_destination.admin.labels import ago, brief, span
from prosperstack_destination.background import cancel
from prosperstack_destination.clock import utc
from prosperstack_destination.dashboard.static_files import Assets

#: Maximum length of a foreign text in a table and on hover, in characters. A page has hundreds of them, so it stays
#: small: a text whose characters take up to five bytes as HTML is truncated earlier.
MAX_SHOWN: Final = 80
MAX_HOVER: Final = 200
_MAX_SHOWN_BYTES: Final = 240
#: Maximum length of a sentence that quotes a foreign text, in characters.
MAX_SENTENCE: Final = 500
#: Visible replacements of control characters: they are invisible, invalid in HTML, or change the text direction.
_PICTURES: Final = {
    **{code: 0x2400 + code for code in range(0x20)},
    **dict.fromkeys((*range(0x7F, 0xA0), *range(0x200E, 0x2010), *range(0x2028, 0x202F)), 0xFFFD),
    **dict.fromkeys(range(0x2066, 0x206A), 0xFFFD),
    0x7F: 0x2421,
}


class Templates:
    """Background compilation of all templates, started by the first rendered page.

    It takes most of a second, which a service without dashboard users saves.
    """

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start the compilation. Safe to repeat."""
        if self._task is None:
            self._task = asyncio.create_task(_compile_all(), name="templates")

    async def close(self) -> None:
        """Cancel the compilation. Safe to repeat."""
        if self._task is not None:
            await cancel([self._task])


class Renderer:
    """Renderer of templates. Autoescape is on: values are text, never markup."""

    def __init__(self, assets: Assets, templates: Templates) -> None:
        self._globals = {"asset": assets.url, "version": __version__}
        self._templates = templates

    def render(self, template: str, **values: Any) -> str:
        """Render a template with these values."""
        self._templates.start()
        return _environment().get_template(template).render(**self._globals, **values)


@cache
def _environment() -> Environment:
    """Return the template environment, one for each process because it caches the compiled templates."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": number,
        "span": span,
        "brief": brief,
        "when": when,
        "attempt": attempt,
        "exact": exact,
        "value": value,
        "name": name,
        "short": short,
        "sentence": sentence,
        "quoted": quoted,
        "pretty": pretty,
        "cut": cut,
        "percent": percent,
    }
    return environment


async def _compile_all() -> None:
    """Compile the templates in a thread, one after the other."""
    for template in _environment().list_templates():
        await asyncio.to_thread(_environment().get_template, template)


def number(count: float) -> str:
    """Format a number with thousands separators."""
    return f"{count:,}" if isinstance(count, int) else f"{count:,.1f}"


def percent(part: float) -> str:
    """Format a part of 1 in percent. Values below 1 never round to 100%."""
    return f"{min(part * 100, 99.9):.1f}%" if 0.99 <= part < 1 else f"{part * 100:.0f}%"


def exact(at: int) -> str:
    """Format a time (microseconds since the epoch) as date and time in UTC."""
    return f"{utc(at):%Y-%m-%d %H:%M:%S} UTC"


def when(at: int | None, now: int) -> Markup:
    """Format a time (microseconds since the epoch) relative to ``now``; the page's script updates it."""
    if at is None:
        return Markup('<span class="faint">never</span>')
    iso = utc(at).isoformat()
    relative = f"in {span((at - now) / 1_000_000)}" if at > now else f"{ago(at, now)} ago"
    return Markup('<time datetime="{}" title="{}" data-ago>{}</time>').format(iso, exact(at), relative)


def attempt(at: int, now: int) -> Markup:
    """Format the time of a next attempt relative to ``now``: one that is due runs in a moment."""
    return when(at, now) if at > now else Markup("in a moment")


def value(content: JsonValue) -> Markup:
    """Format the value of a trait or a property: truncated, with more on hover, styled by its type."""
    if content is None:
        return Markup('<span class="faint">null</span>')
    kind = {bool: "boolean", int: "number", float: "number", str: "text"}.get(type(content), "json")
    return _escaped(content if isinstance(content, str) else to_json(content).decode(), f"value {kind}")


def name(text: str) -> Markup:
    """Format a foreign name, for example a trait or an email: truncated, with more on hover."""
    return _escaped(text, "name")


def short(text: str) -> str:
    """Truncate a foreign name as plain text, for attributes and options."""
    return visible(text) if len(text) <= MAX_SHOWN else f"{visible(text[: MAX_SHOWN - 1])}…"


def sentence(text: str) -> Markup:
    """Format a sentence of this service that may quote a foreign text."""
    return Markup("<bdi>{}</bdi>").format(
        visible(text if len(text) <= MAX_SENTENCE else f"{text[: MAX_SENTENCE - 1]}…")
    )


def quoted(text: str) -> str:
    """Encode a foreign text as JSON for a form field, because browsers change line breaks in plain text."""
    return to_json(text).decode()


def _escaped(text: str, style: str) -> Markup:
    """Return a foreign text in an isolated element, so that its characters do not affect the text around it."""
    start = visible(text[:MAX_SHOWN])
    if _bytes(start) > _MAX_SHOWN_BYTES:
        start = start[: _MAX_SHOWN_BYTES // 5]
    if len(start) == len(text):
        return Markup('<bdi class="{}">{}</bdi>').format(style, start or "“”")
    hover = visible(text[:MAX_HOVER])
    if _bytes(hover) > MAX_HOVER:
        hover = hover[: MAX_HOVER // 5]
    title = f"{hover}… ({number(len(text))} characters)" if len(hover) < len(text) else hover
    return Markup('<bdi class="{}" title="{}">{}…</bdi>').format(style, title, start[:-1])


def _bytes(text: str) -> int:
    """Return the size of a text as HTML, in bytes."""
    return len(escape(text).encode(errors="replace"))


def visible(text: str) -> str:
    """Replace control characters by visible ones."""
    return text.translate(_PICTURES)


def visible_lines(text: str) -> str:
    """Replace control characters except line breaks."""
    return "\n".join(map(visible, text.split("\n")))


def pretty(content: JsonValue, max_length: int | None = None) -> str:
    """Format a JSON value over several lines, truncated to ``max_length`` characters."""
    return cut(to_json(content, indent=2).decode(), max_length)


def cut(text: str, max_length: int | None) -> str:
    """Truncate a foreign text of several lines to ``max_length`` characters."""
    if max_length is None or len(text) <= max_length:
        return visible_lines(text)
    return f"{visible_lines(text[:max_length])}…\n… and {number(len(text) - max_length)} more characters"

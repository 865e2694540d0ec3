"""Templates, and how pages write numbers, times and values."""

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
from prosperstack_destination.clock import utc
from prosperstack_destination.dashboard.static_files import Assets

#: How much of what others said a table shows, and how much more shows on hover, in characters. A page has hundreds
#: of them, and stays small whatever they are: a character that takes five bytes as HTML is shown less often.
SHOWN: Final = 80
ON_HOVER: Final = 200
_SHOWN_BYTES: Final = 240
#: How much of a sentence that quotes others, in characters.
SENTENCE: Final = 500
#: Control characters as pictures of them: they cannot be seen, some are not HTML, and some turn text around.
_PICTURES: Final = {
    **{code: 0x2400 + code for code in range(0x20)},
    **dict.fromkeys((*range(0x7F, 0xA0), *range(0x200E, 0x2010), *range(0x2028, 0x202F)), 0xFFFD),
    **dict.fromkeys(range(0x2066, 0x206A), 0xFFFD),
    0x7F: 0x2421,
}


class Templates:
    """Compiles all templates, once somebody looks at the first page: then they do not wait for the next ones.

    To compile them takes most of a second, which a service whose dashboard nobody looks at need not spend.
    """

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Begin, if that is still to be done."""
        if self._task is None:
            self._task = asyncio.create_task(_compile_all(), name="templates")

    async def close(self) -> None:
        """Break it off."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)


class Renderer:
    """Renders templates; whatever is put into one is text there, never markup."""

    def __init__(self, assets: Assets, templates: Templates) -> None:
        self._known = {"asset": assets.url, "version": __version__}
        self._templates = templates

    def render(self, template: str, **values: Any) -> str:
        """The text of a template with these values."""
        self._templates.begin()
        return _environment().get_template(template).render(**self._known, **values)


@cache
def _environment() -> Environment:
    """What reads templates: one for a process, since to compile them all takes it most of a second."""
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
    """In a thread beside, one after the other."""
    for template in _environment().list_templates():
        await asyncio.to_thread(_environment().get_template, template)


def number(count: float) -> str:
    """A number with its thousands apart."""
    return f"{count:,}" if isinstance(count, int) else f"{count:,.1f}"


def percent(part: float) -> str:
    """A part of 1; what is nearly all, and not all, does not look like all."""
    return f"{min(part * 100, 99.9):.1f}%" if 0.99 <= part < 1 else f"{part * 100:.0f}%"


def exact(at: int) -> str:
    """A time (microseconds) in full."""
    return f"{utc(at):%Y-%m-%d %H:%M:%S} UTC"


def when(at: int | None, now: int) -> Markup:
    """A time (microseconds) in words, with the exact one on hover; the script keeps the words true."""
    if at is None:
        return Markup('<span class="faint">never</span>')
    iso = utc(at).isoformat()
    words = f"in {span((at - now) / 1_000_000)}" if at > now else f"{ago(at, now)} ago"
    return Markup('<time datetime="{}" title="{}" data-ago>{}</time>').format(iso, exact(at), words)


def value(content: JsonValue) -> Markup:
    """A trait's or a property's value in a table: short, with more of it on hover, its type told by its looks."""
    if content is None:
        return Markup('<span class="faint">null</span>')
    kind = {bool: "boolean", int: "number", float: "number", str: "text"}.get(type(content), "json")
    return _escaped(content if isinstance(content, str) else to_json(content).decode(), f"value {kind}")


def name(text: str) -> Markup:
    """What others call something or somebody, as a trait or an email: short, with more of it on hover."""
    return _escaped(text, "name")


def short(text: str) -> str:
    """The same where there can be no markup, as in a label."""
    return visible(text) if len(text) <= SHOWN else f"{visible(text[: SHOWN - 1])}…"


def sentence(text: str) -> Markup:
    """What we say, where it quotes what others said."""
    return Markup("<bdi>{}</bdi>").format(visible(text if len(text) <= SENTENCE else f"{text[: SENTENCE - 1]}…"))


def quoted(text: str) -> str:
    """What others said, in a field that is sent back: browsers change line breaks, and this has none."""
    return to_json(text).decode()


def _escaped(text: str, looks: str) -> Markup:
    """What others said, kept to itself: no character of it changes what stands around it."""
    begins = visible(text[:SHOWN])
    if _bytes(begins) > _SHOWN_BYTES:
        begins = begins[: _SHOWN_BYTES // 5]
    if len(begins) == len(text):
        return Markup('<bdi class="{}">{}</bdi>').format(looks, begins or "“”")
    hover = visible(text[:ON_HOVER])
    if _bytes(hover) > ON_HOVER:
        hover = hover[: ON_HOVER // 5]
    told = f"{hover}… ({number(len(text))} characters)" if len(hover) < len(text) else hover
    return Markup('<bdi class="{}" title="{}">{}…</bdi>').format(looks, told, begins[:-1])


def _bytes(text: str) -> int:
    """How many it takes as HTML."""
    return len(escape(text).encode(errors="replace"))


def visible(text: str) -> str:
    """A text whose control characters can be seen."""
    return text.translate(_PICTURES)


def visible_lines(text: str) -> str:
    """The same, in lines as they are."""
    return "\n".join(map(visible, text.split("\n")))


def pretty(content: JsonValue, longest: int | None = None) -> str:
    """A JSON value over several lines, as far as it is not longer."""
    return cut(to_json(content, indent=2).decode(), longest)


def cut(text: str, longest: int | None) -> str:
    """What others said, over several lines, as far as it is not longer."""
    if longest is None or len(text) <= longest:
        return visible_lines(text)
    return f"{visible_lines(text[:longest])}…\n… and {number(len(text) - longest)} characters more"

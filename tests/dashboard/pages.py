"""Helpers that tests of pages share."""

import re
from collections.abc import Mapping
from html.parser import HTMLParser

import httpx
from pydantic import JsonValue

from dashboard.conftest import Dashboard
from prosperstack_destination.store import profiles
from prosperstack_destination.store.database import Database

JOHN = "john.doe@example.com"
#: What somebody may send to do harm.
HOSTILE = (
    "<script>alert(1)</script>",
    "\"'`&<>",
    "</bdi></td></table>",
    "{{ 7 * 7 }}",
    "\x00\x07\x1b[31m\r\n\t\x85",
    "\u202egnp.exe\u2066",
    "x" * 10_000,
    '"' * 10_000,
    "\N{PILE OF POO}" * 2_000,
    "a b " * 2_500,
)


async def page_of(dashboard: Dashboard, stored: Database, email: str = JOHN) -> str:
    """The page of somebody, below the account's."""
    profile = await stored.read(profiles.find, dashboard.account_id, email)
    assert profile is not None
    return f"people/{profile.id}"


async def send(
    dashboard: Dashboard, traits: Mapping[str, JsonValue], *, email: str = JOHN, user_id: str | None = None
) -> None:
    """A call about somebody."""
    call = {"userId": user_id, "traits": {"email": email, **traits}}
    answer = await dashboard.service.client.post("/identify", json=call)
    assert answer.status_code == 202, answer.text


def said(page: str) -> str:
    """The text of a page, in one line."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page))


class _Page(HTMLParser):
    """A page's elements, as far as they are closed in order, and its text."""

    EMPTY = frozenset({"meta", "link", "img", "input", "br"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.names: set[str] = set()
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert not any(name.startswith("on") or name == "style" for name, _ in attrs)
        self.names.add(tag)
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def checked(answer: httpx.Response) -> _Page:
    """A page that is whole, small, and has one script, which is ours."""
    assert answer.status_code == 200
    assert len(answer.content) < 200_000
    assert not set(answer.text) & {chr(code) for code in range(32) if chr(code) not in "\n\t"}
    assert answer.text.count("<script") == 1
    page = _Page(answer.text)
    assert page.open == []
    return page

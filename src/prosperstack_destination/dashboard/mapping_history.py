"""Mapping history: applied versions with author, note and changes, the rollback, and the export."""

import asyncio
from dataclasses import dataclass
from typing import Final

from starlette.responses import Response

from prosperstack_destination.admin import mapping as operations
from prosperstack_destination.admin.mapping import MappingView
from prosperstack_destination.dashboard.mapping_draft import draft_bar
from prosperstack_destination.dashboard.mapping_editor import remap_notice
from prosperstack_destination.dashboard.routing import ACTOR, PageContext, PageRoute
from prosperstack_destination.dashboard.text_diff import Line, diff_lines
from prosperstack_destination.errors import NotFoundError
from prosperstack_destination.store.mappings import MappingVersion

#: Versions per page.
PAGE_SIZE: Final = 30
#: Maximum length of a shown file, in characters; the export has the whole file.
MAX_TEXT: Final = 60_000


@dataclass(frozen=True, slots=True)
class ListedVersion:
    """Version in the list, with its number of rules."""

    mapping: MappingVersion
    rules: int


class MappingHistoryPages:
    """Routes of the history."""

    def pages(self) -> list[PageRoute]:
        """Return the routes."""
        return [
            PageRoute("/mapping/history", _list),
            PageRoute("/mapping/history/{version:int}", _show),
            PageRoute("/mapping/rollback", _roll_back, "POST"),
            PageRoute("/mapping/export", _export),
        ]


async def _list(context: PageContext) -> Response:
    """Show the newest versions, or the versions before one."""
    before = _version(context.query("before"))
    database = context.services.database
    current = await database.read(operations.of_version, context.account, None)
    page = await database.read(operations.history, context.account, PAGE_SIZE + 1, before)
    rows = await asyncio.to_thread(_listed, page[:PAGE_SIZE])
    return context.page(
        "mapping/history.html",
        title="Mapping history",
        bar=await draft_bar(context),
        current=current.version,
        versions=rows,
        more=rows[-1].mapping.version if len(page) > PAGE_SIZE else None,
    )


async def _show(context: PageContext) -> Response:
    """Show one version and its changes since the version before."""
    version: int = context.request.path_params["version"]
    if not 0 <= version <= _MAX_VERSION:
        raise NotFoundError("No such version.")
    database = context.services.database
    shown = await database.read(operations.of_version, context.account, version)
    current, former = await database.read(operations.current_and, context.account, version - 1)
    text, differences = await asyncio.to_thread(_texts, shown, former)
    return context.page(
        "mapping/version.html",
        title=f"Mapping version {version}",
        bar=await draft_bar(context),
        current=current,
        mapping=shown,
        former=former,
        differences=differences,
        text=text[:MAX_TEXT],
        is_whole=len(text) <= MAX_TEXT,
    )


async def _roll_back(context: PageContext) -> Response:
    version, based_on = _version(context.form.get("version", "")), _version(context.form.get("based_on", ""))
    if version is None or based_on is None:
        raise NotFoundError("No such version.")
    applied = await operations.rollback(context.services, context.account, version, author=ACTOR, based_on=based_on)
    flash = f"Version {version} is applied again, as version {applied.mapping.version}."
    if applied.changed:
        flash += remap_notice(applied.profiles)
    return context.redirect_home("mapping", flash=flash)


async def _export(context: PageContext) -> Response:
    """Return a version as a file, unchanged."""
    version = _version(context.query("version"))
    exported = await context.services.database.read(operations.of_version, context.account, version)
    text = await asyncio.to_thread(operations.text_of, exported)
    headers = {"Content-Disposition": f'attachment; filename="mapping-v{exported.version}.yaml"'}
    return Response(text, 200, headers, "application/yaml")


def _listed(versions: list[MappingView]) -> list[ListedVersion]:
    return [ListedVersion(each.stored, each.rules) for each in versions]


def _texts(shown: MappingVersion, former: MappingVersion | None) -> tuple[str, tuple[Line, ...]]:
    text = operations.text_of(shown)
    return text, () if former is None else diff_lines(operations.text_of(former), text)


#: Maximum version number, within the range of the database's integer.
_MAX_VERSION: Final = 2_000_000_000


def _version(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None

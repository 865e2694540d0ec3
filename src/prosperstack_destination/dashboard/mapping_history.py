"""The mappings that were applied: when, by whom, what for, what differed; any of them again, and any as a file."""

import asyncio
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection
from starlette.responses import Response

from prosperstack_destination.admin import mapping as operations
from prosperstack_destination.dashboard.context import PageContext
from prosperstack_destination.dashboard.mapping_editor import remap_notice
from prosperstack_destination.dashboard.routing import ACTOR, PageRoute
from prosperstack_destination.dashboard.text_diff import Line, diff_lines
from prosperstack_destination.errors import NotFoundError
from prosperstack_destination.mapping.rules import load_rules
from prosperstack_destination.store import mappings
from prosperstack_destination.store.mappings import MappingVersion

#: Versions in one page.
PAGE: Final = 30
#: The longest file that a page shows, in characters; exporting gives it whole.
SHOWN: Final = 60_000


@dataclass(frozen=True, slots=True)
class ListedVersion:
    """One version in the list."""

    mapping: MappingVersion
    rules: int


class MappingHistoryPages:
    """The pages of it."""

    def pages(self) -> list[PageRoute]:
        """Its routes."""
        return [
            PageRoute("/mapping/history", _list),
            PageRoute("/mapping/history/{version:int}", _show),
            PageRoute("/mapping/rollback", _roll_back, "POST"),
            PageRoute("/mapping/export", _export),
        ]


async def _list(visit: PageContext) -> Response:
    """The newest versions, or those before one."""
    before = _version(visit.query("before"))
    current, found = await visit.services.database.read(_page, visit.account.id, before)
    rows = await asyncio.to_thread(_listed, found[:PAGE])
    return visit.page(
        "mapping/history.html",
        title="History of the mapping",
        current=current,
        versions=rows,
        more=rows[-1].mapping.version if len(found) > PAGE else None,
    )


async def _show(visit: PageContext) -> Response:
    """One version, beside the one before."""
    version: int = visit.request.path_params["version"]
    if not 0 <= version <= _MOST:
        raise NotFoundError("There is no such version.")
    current, found, former = await visit.services.database.read(_versions, visit, version)
    text, differences = await asyncio.to_thread(_texts, found, former)
    return visit.page(
        "mapping/version.html",
        title=f"Version {version} of the mapping",
        current=current,
        mapping=found,
        former=former,
        differences=differences,
        text=text[:SHOWN],
        is_whole=len(text) <= SHOWN,
    )


async def _roll_back(visit: PageContext) -> Response:
    version, based_on = _version(visit.form.get("version", "")), _version(visit.form.get("based_on", ""))
    if version is None or based_on is None:
        raise NotFoundError("There is no such version.")
    applied = await operations.rollback(visit.services, visit.account, version, author=ACTOR, based_on=based_on)
    said = f"Version {applied.mapping.version} is in force, which is version {version} again."
    if applied.changed:
        said += remap_notice(applied.profiles)
    return visit.redirect_home("mapping", said=said)


async def _export(visit: PageContext) -> Response:
    """A version as a file, to the letter."""
    wanted = _version(visit.query("version"))
    found = await visit.services.database.read(operations.of_version, visit.account, wanted)
    text = await asyncio.to_thread(operations.text_of, found)
    headers = {"Content-Disposition": f'attachment; filename="mapping-v{found.version}.yaml"'}
    return Response(text, 200, headers, "application/yaml")


def _page(connection: Connection, account_id: str, before: int | None) -> tuple[int, list[MappingVersion]]:
    current = mappings.current(connection, account_id)
    return current.version, mappings.history(connection, account_id, PAGE + 1, before=before)


def _versions(
    connection: Connection, visit: PageContext, version: int
) -> tuple[MappingVersion, MappingVersion, MappingVersion | None]:
    current = mappings.current(connection, visit.account.id)
    found = operations.of_version(connection, visit.account, version)
    return current, found, mappings.of_version(connection, visit.account.id, version - 1) if version else None


def _listed(found: list[MappingVersion]) -> list[ListedVersion]:
    return [ListedVersion(each, len(load_rules(each.rules))) for each in found]


def _texts(found: MappingVersion, former: MappingVersion | None) -> tuple[str, tuple[Line, ...]]:
    text = operations.text_of(found)
    return text, () if former is None else diff_lines(operations.text_of(former), text)


#: Versions are counted in an integer of the database.
_MOST: Final = 2_000_000_000


def _version(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None

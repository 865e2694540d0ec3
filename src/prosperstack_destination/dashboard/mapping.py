"""The mapping: which traits feed which properties, which feed none, and how far a change of it has come."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection
from starlette.responses import Response

from prosperstack_destination.account_mapping import AccountMapping, load
from prosperstack_destination.admin.catalog_refresh import refresh_if_stale
from prosperstack_destination.admin.coverage_cache import CoverageSnapshot
from prosperstack_destination.dashboard.context import PageContext, html
from prosperstack_destination.dashboard.routing import PageRoute
from prosperstack_destination.dashboard.sse import LiveUpdates
from prosperstack_destination.mapping.coverage import PropertyCoverage
from prosperstack_destination.mapping.rules import SUBSCRIPTION, Rule
from prosperstack_destination.store import mappings, remap_progress
from prosperstack_destination.store.mappings import MappingVersion

#: Properties and traits in one page; who looks for others names them.
MOST_PROPERTIES: Final = 100
MOST_TRAITS: Final = 50
#: How soon a page asks again while profiles are being counted, in seconds.
AGAIN_SECONDS: Final = 2


@dataclass(frozen=True, slots=True)
class Row:
    """One property: what there is, what feeds it, and how it is covered."""

    #: As rules name it.
    key: str
    #: None: the account does not have it, as far as is known; it has a rule all the same.
    name: str | None
    type: str | None
    rule: Rule | None
    #: None: not counted yet.
    covered: PropertyCoverage | None


class MappingPages:
    """The page of it, and the parts of that page."""

    def __init__(self, live: LiveUpdates) -> None:
        self._live = live

    def pages(self) -> list[PageRoute]:
        """Its routes."""
        return [
            PageRoute("/mapping", _show),
            PageRoute("/mapping/coverage", _coverage),
            PageRoute("/mapping/live", self._stream),
        ]

    async def _stream(self, visit: PageContext) -> Response:
        async def parts() -> dict[str, str]:
            return {"progress": await progress(visit)}

        return self._live.stream(parts, visit.is_open)


async def _show(visit: PageContext) -> Response:
    await refresh_if_stale(visit.services, visit.account)
    text, under_way = await _tables(visit)
    meaning, _ = await visit.services.database.read(_known, visit)
    return visit.page(
        "mapping.html",
        rules=meaning.rules,
        title="Mapping",
        find=visit.query("find"),
        tables=text,
        counting=under_way,
        progress=await progress(visit),
    )


async def _coverage(visit: PageContext) -> Response:
    """The tables, as far as they are counted."""
    text, under_way = await _tables(visit)
    response = html(text)
    if under_way:
        response.headers["Refresh-After"] = str(AGAIN_SECONDS)
    return response


async def progress(visit: PageContext) -> str:
    """How far the last change has come, as a part of a page."""
    found = await visit.services.database.read(remap_progress.of_account, visit.account.id)
    return visit.fragment("mapping/progress.html", progress=found, now=visit.services.clock())


async def _tables(visit: PageContext) -> tuple[str, bool]:
    """Both tables, and whether their figures are being counted."""
    meaning, mapping = await visit.services.database.read(_known, visit)
    counted, under_way = visit.services.coverage.latest(visit.account.id, mapping.version)
    find = visit.query("find").casefold()
    rows = [row for row in _rows(meaning, counted) if _is_meant(find, row.key, row.name or "")]
    traits = () if counted is None else counted.traits
    unused = [each for each in traits if not each.feeds]
    shown = [each for each in unused if _is_meant(find, each.trait, each.likeliest or "")]
    text = visit.fragment(
        "mapping/tables.html",
        rows=rows[:MOST_PROPERTIES],
        rows_in_all=len(rows),
        unused=shown[:MOST_TRAITS],
        unused_in_all=len(shown),
        used=len(traits) - len(unused),
        names={each.key: each.name for each in meaning.catalog},
        listed=visit.account.catalog is not None,
        counted=counted,
        counting=under_way,
        mapping=mapping,
        rules=meaning.rules,
        find=find,
        now=visit.services.clock(),
    )
    return text, under_way


def _known(connection: Connection, visit: PageContext) -> tuple[AccountMapping, MappingVersion]:
    return load(connection, visit.account), mappings.current(connection, visit.account.id)


def _rows(meaning: AccountMapping, counted: CoverageSnapshot | None) -> Iterator[Row]:
    """The properties that the account has, and those that rules name besides."""
    covered = {} if counted is None else {each.property: each for each in counted.properties}
    rules = dict(meaning.rules.by_property())
    for each in meaning.catalog:
        yield Row(each.key, each.name, each.type, rules.pop(each.key, None), covered.get(each.key))
    for each in meaning.subscription_catalog:
        key = SUBSCRIPTION + each.key
        if key in rules:
            yield Row(key, each.name, each.type, rules.pop(key), covered.get(key))
    for key, rule in rules.items():
        yield Row(key, None, None, rule, None)


def _is_meant(find: str, *names: str) -> bool:
    return not find or any(find in each.casefold() for each in names)

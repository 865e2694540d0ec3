"""Page of the mapping: the source of each property, unmapped traits, and the progress of a change."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from starlette.responses import Response

from prosperstack_destination.account_mapping import AccountMapping
from prosperstack_destination.admin.coverage_cache import CoverageSnapshot
from prosperstack_destination.admin.mapping import load_mapping, refresh_if_stale, remap_of
from prosperstack_destination.admin.overview import total_of_day
from prosperstack_destination.dashboard.mapping_draft import draft_bar
from prosperstack_destination.dashboard.routing import PageContext, PageRoute, html
from prosperstack_destination.dashboard.sse import LiveUpdates
from prosperstack_destination.mapping.coverage import PropertyCoverage
from prosperstack_destination.mapping.rules import SUBSCRIPTION, Rule

#: Maximum properties and traits on the page; a search finds the others.
MAX_PROPERTIES: Final = 100
MAX_TRAITS: Final = 50
#: Interval at which the page reloads the tables while profiles are counted, in seconds.
RELOAD_SECONDS: Final = 2


@dataclass(frozen=True, slots=True)
class Row:
    """Row of one property: its type, its rule, and its coverage."""

    #: Key, as in rules.
    key: str
    #: None: ProsperStack has no such property, only a rule names it.
    name: str | None
    type: str | None
    rule: Rule | None
    #: None until counted.
    coverage: PropertyCoverage | None


class MappingPages:
    """Routes of the page."""

    def __init__(self, live: LiveUpdates) -> None:
        self._live = live

    def pages(self) -> list[PageRoute]:
        """Return the routes."""
        return [
            PageRoute("/mapping", _show),
            PageRoute("/mapping/coverage", _coverage),
            PageRoute("/mapping/live", self._stream),
        ]

    async def _stream(self, context: PageContext) -> Response:
        async def parts() -> dict[str, str]:
            return {"progress": await progress(context)}

        return self._live.stream(parts, context.is_open)


async def _show(context: PageContext) -> Response:
    await refresh_if_stale(context.services, context.account)
    text, is_counting = await _tables(context)
    account_mapping, _ = await context.services.database.read(load_mapping, context.account)
    return context.page(
        "mapping.html",
        rules=account_mapping.rules,
        title="Mapping",
        bar=await draft_bar(context),
        find=context.query("find"),
        tables=text,
        counting=is_counting,
        progress=await progress(context),
    )


async def _coverage(context: PageContext) -> Response:
    """Return the tables with the figures counted so far."""
    text, is_counting = await _tables(context)
    response = html(text)
    if is_counting:
        response.headers["Refresh-After"] = str(RELOAD_SECONDS)
    return response


async def progress(context: PageContext) -> str:
    """Render the progress of the last mapping change."""
    remap = await context.services.database.read(remap_of, context.account)
    return context.fragment("mapping/progress.html", progress=remap, now=context.services.clock())


async def _tables(context: PageContext) -> tuple[str, bool]:
    """Render both tables, and return whether their figures are still being counted."""
    account_mapping, mapping = await context.services.database.read(load_mapping, context.account)
    counted, is_counting = context.services.coverage.latest(context.account.id, mapping.version)
    find = context.query("find").casefold()
    rows = [row for row in _rows(account_mapping, counted) if _matches(find, row.key, row.name or "")]
    traits = () if counted is None else counted.traits
    unused = [each for each in traits if not each.feeds]
    shown = [each for each in unused if _matches(find, each.trait, each.likeliest or "")]
    text = context.fragment(
        "mapping/tables.html",
        rows=rows[:MAX_PROPERTIES],
        total_rows=len(rows),
        unused=shown[:MAX_TRAITS],
        total_unused=len(shown),
        used=len(traits) - len(unused),
        names={each.key: each.name for each in account_mapping.catalog},
        listed=context.account.catalog is not None,
        counted=counted,
        counting=is_counting,
        mapping=mapping,
        rules=account_mapping.rules,
        find=find,
        day=await context.services.database.read(total_of_day, context.account.id, context.now),
        now=context.services.clock(),
    )
    return text, is_counting


def _rows(account_mapping: AccountMapping, counted: CoverageSnapshot | None) -> Iterator[Row]:
    """Yield ProsperStack's properties, then the others that only rules name."""
    coverage = {} if counted is None else {each.property: each for each in counted.properties}
    rules = dict(account_mapping.rules.by_property())
    for each in account_mapping.catalog:
        yield Row(each.key, each.name, each.type, rules.pop(each.key, None), coverage.get(each.key))
    for each in account_mapping.subscription_catalog:
        key = SUBSCRIPTION + each.key
        if key in rules:
            yield Row(key, each.name, each.type, rules.pop(key), coverage.get(key))
    for key, rule in rules.items():
        yield Row(key, None, None, rule, None)


def _matches(find: str, *names: str) -> bool:
    return not find or any(find in each.casefold() for each in names)

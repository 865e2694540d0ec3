"""Pages of people: the search, and one person with traits, desired properties and ProsperStack's values."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from starlette.responses import Response

from prosperstack_destination.admin import actions, people
from prosperstack_destination.admin.comparison import PropertyComparison, PropertyState
from prosperstack_destination.admin.labels import LANE, ON_DELETE, PROPERTY_STATE
from prosperstack_destination.admin.people import PersonHistory, PersonView, TraitView
from prosperstack_destination.admin.problems import advice
from prosperstack_destination.dashboard.person_text import (
    DIFFERENT_STATES,
    PROPERTY_LABELS,
    STATUS_LABELS,
    describe,
    headline,
)
from prosperstack_destination.dashboard.rendering import pretty, visible, visible_lines
from prosperstack_destination.dashboard.routing import ACTOR, PageContext, PageRoute
from prosperstack_destination.dashboard.sse import LiveUpdates
from prosperstack_destination.errors import InvalidCall, NotFoundError
from prosperstack_destination.store.models import UNSETTLED, Status
from prosperstack_destination.store.profile_queries import SCAN_LIMIT, ProfilePage

#: People per page.
PAGE_SIZE: Final = 50
#: Maximum length of a search text, in characters: no email and no user ID is longer.
MAX_QUERY: Final = 500
#: Status filters: label and statuses of each.
STATUS_FILTERS: Final[Mapping[str, tuple[str, tuple[Status, ...]]]] = {
    "": ("any", ()),
    "waiting": ("waiting", UNSETTLED),
    "in_sync": ("up to date", (Status.IN_SYNC,)),
    "unmatched": ("no subscriber", (Status.UNMATCHED,)),
    "set_aside": ("email rejected", (Status.REJECTED,)),
}


async def _search(context: PageContext) -> Response:
    query, status, after = (
        context.query("q")[:MAX_QUERY],
        context.query("status"),
        context.query("after")[:MAX_QUERY],
    )
    status = status if status in STATUS_FILTERS else ""
    page: ProfilePage | None = None
    if query or status or context.query("show") == "all":
        page = await context.services.database.read(
            people.search, context.account, query, statuses=STATUS_FILTERS[status][1], after=after, limit=PAGE_SIZE
        )
        if query and not (status or after) and len(page.profiles) == 1 and page.after is None:
            return context.redirect_home(f"people/{page.profiles[0].id}")
    reason = None
    if query and page is not None and not page.profiles and page.after is None:
        reason = await context.services.database.read(people.explain_no_result, context.account, query)
    return context.page(
        "people.html",
        title="People",
        q=query,
        status_filter=status,
        after=after,
        statuses={name: label for name, (label, _) in STATUS_FILTERS.items()},
        result=page,
        reason=reason,
        status_labels=STATUS_LABELS,
        looked_at=SCAN_LIMIT,
    )


#: Traits and properties per page.
TRAITS: Final = 40
PROPERTIES: Final = 30
#: Maximum subscribers, problems, IDs, unmapped properties and events on a page.
MAX_SUBSCRIBERS: Final = 5
PROBLEMS: Final = 15
IDS: Final = 10
UNMAPPED: Final = 40
EVENTS: Final = 12
#: Maximum length of a value on the page of its trait, in characters.
MAX_VALUE: Final = 30_000
#: Maximum digits of a profile ID.
_DIGITS: Final = 18


@dataclass(frozen=True, slots=True)
class Slice:
    """Page of a list: ``most`` of ``of`` items, from the index ``first``."""

    of: int
    first: int
    most: int

    @property
    def last(self) -> int:
        """Index after the last item."""
        return min(self.first + self.most, self.of)

    @property
    def next(self) -> int | None:
        """First index of the next page; None on the last page."""
        return self.last if self.last < self.of else None

    @property
    def previous(self) -> int | None:
        """First index of the previous page; None on the first page."""
        return max(self.first - self.most, 0) if self.first else None


@dataclass(frozen=True, slots=True)
class SubscriberTable:
    """Desired values and ProsperStack's values of one subscriber."""

    subscriber_id: str | None
    observed_at: int | None
    #: Rows that differ come first.
    rows: Sequence[PropertyComparison]
    slice: Slice
    #: First properties without a trait, and their total number.
    unmapped: Sequence[PropertyComparison]
    unmapped_count: int


class PeoplePages:
    """Routes of the search and of the pages of one person."""

    def __init__(self, live: LiveUpdates) -> None:
        self._live = live

    def pages(self) -> list[PageRoute]:
        """Return the routes."""
        return [
            PageRoute("/people", _search),
            PageRoute("/people/{profile_id}", _show),
            PageRoute("/people/{profile_id}/live", self._stream),
            PageRoute("/people/{profile_id}/traits/{digest}", _show_trait),
            PageRoute("/people/{profile_id}/sync", _sync, "POST"),
            PageRoute("/people/{profile_id}/retry", _retry, "POST"),
            PageRoute("/people/{profile_id}/overwrite", _overwrite, "POST"),
            PageRoute("/people/{profile_id}/erase", _erase, "POST"),
        ]

    async def _stream(self, context: PageContext) -> Response:
        profile_id = _profile_id(context)
        await _read(context, profile_id)  # raises `NotFoundError` for an unknown person

        async def parts() -> Mapping[str, str]:
            try:
                return _parts(context, await _read(context, profile_id))
            except NotFoundError:  # erased meanwhile: clear the page
                erased = context.fragment("people/erased.html")
                return {"status": erased, **dict.fromkeys(("problems", "properties", "traits", "timeline"), "")}

        return self._live.stream(parts, context.is_open)


async def _show(context: PageContext) -> Response:
    data = await _read(context, _profile_id(context))
    query = context.request.url.query
    return context.page(
        "person.html",
        title=_title(data.person.profile.address),
        person=data.person,
        parts=_parts(context, data),
        live=f"live?{query}" if query else "live",
        can_retry=_can_retry(data.person),
        edited=_has(data.person, PropertyState.EDITED_THERE),
        erases=ON_DELETE[data.on_delete],
    )


async def _show_trait(context: PageContext) -> Response:
    person = (await _read(context, _profile_id(context))).person
    digest = context.request.path_params["digest"]
    trait = next((each for each in person.traits if _digest(each) == digest), None)
    if trait is None:
        raise NotFoundError("This person has no such trait, or no longer.")
    text = trait.value if isinstance(trait.value, str) else pretty(trait.value)
    return context.page(
        "people/trait.html",
        title=_title(trait.name),
        person=person,
        trait=trait,
        text=visible_lines(text[:MAX_VALUE]),
        left=len(text) - MAX_VALUE,
    )


async def _sync(context: PageContext) -> Response:
    profile_id = _profile_id(context)
    await context.services.database.write(actions.prioritize, context.account, profile_id, ACTOR, context.now)
    context.services.wake([context.account.id])
    return context.redirect_home(
        f"people/{profile_id}", flash="Queued before all others. This page updates with the result."
    )


async def _retry(context: PageContext) -> Response:
    profile_id = _profile_id(context)
    await context.services.database.write(actions.retry_person, context.account, profile_id, ACTOR, context.now)
    context.services.wake([context.account.id])
    to = "problems" if context.form.get("back") == "problems" else f"people/{profile_id}"
    return context.redirect_home(to, flash="Queued for a retry, including rejected values.")


async def _overwrite(context: PageContext) -> Response:
    profile_id = _profile_id(context)
    _require_confirmation(context)
    await context.services.database.write(actions.replay, context.account, ACTOR, context.now, profile_id)
    context.services.wake([context.account.id])
    return context.redirect_home(
        f"people/{profile_id}", flash="Segment's values are sent again and overwrite the edits."
    )


async def _erase(context: PageContext) -> Response:
    _require_confirmation(context)
    pseudonym = context.services.vault.pseudonym
    erased = await context.services.database.write(
        actions.erase_profile, context.account, _profile_id(context), pseudonym, ACTOR, context.now
    )
    context.services.wake([context.account.id])
    remote_effect = ON_DELETE[erased.in_prosperstack] if erased.subscribers else "ProsperStack has no data."
    return context.redirect_home(
        "people",
        flash=f"The person is erased in this service. {remote_effect} Older calls do not restore the person.",
    )


def _require_confirmation(context: PageContext) -> None:
    """Raise `InvalidCall` if the checkbox of an irreversible action is not set; only browsers enforce it."""
    if context.form.get("sure") != "yes":
        raise InvalidCall("The action was not confirmed. Go back, and tick “I am sure”.", field="sure")


async def _read(context: PageContext, profile_id: int) -> PersonHistory:
    return await context.services.database.read(
        people.with_history, context.account, profile_id, context.services.vault, context.services.clock(), EVENTS
    )


def _parts(context: PageContext, data: PersonHistory) -> Mapping[str, str]:
    """Render the parts of the page that change, by the IDs of their elements."""
    person, now = data.person, context.services.clock()
    shown = {"person": person, "now": now, "home": context.base_path}
    traits = Slice(len(person.traits), _first(context, "traits", len(person.traits)), TRAITS)
    rows_from = _first(context, "properties", max(len(side.rows) for side in person.subscribers))
    return {
        "status": context.fragment(
            "people/status.html",
            **shown,
            headline=headline(person, data.account, now),
            lane=LANE[person.profile.lane] if person.profile.status in UNSETTLED else None,
            seen_at=_seen_at(person),
            others=[each for each in person.ids if each.id != person.profile.user_id],
            most=IDS,
        ),
        "problems": context.fragment("people/problems.html", **shown, most=PROBLEMS, advice=advice),
        "properties": context.fragment(
            "people/properties.html",
            **shown,
            sides=_sides(person, rows_from),
            property_labels=PROPERTY_LABELS,
            row_state=PROPERTY_STATE,
            different_states=DIFFERENT_STATES,
        ),
        "traits": context.fragment(
            "people/traits.html",
            **shown,
            traits=[(each, _digest(each)) for each in person.traits[traits.first : traits.last]],
            slice=traits,
        ),
        "timeline": context.fragment("people/timeline.html", **shown, events=data.events, describe=describe),
    }


def _sides(person: PersonView, first: int) -> list[SubscriberTable]:
    most = PROPERTIES // min(len(person.subscribers), MAX_SUBSCRIBERS)
    shown = []
    for side in person.subscribers[:MAX_SUBSCRIBERS]:
        fed = [row for row in side.rows if row.state is not PropertyState.NOT_FED]
        unmapped = [row for row in side.rows if row.state is PropertyState.NOT_FED]
        part = Slice(len(fed), first if first < len(fed) else 0, most)
        rows = sorted(fed, key=lambda row: row.state not in DIFFERENT_STATES)[part.first : part.last]
        shown.append(
            SubscriberTable(side.subscriber_id, side.observed_at, rows, part, unmapped[:UNMAPPED], len(unmapped))
        )
    return shown


def _first(context: PageContext, name: str, count: int) -> int:
    """Return the first index of a list's page from the query; 0 if it is invalid."""
    text = context.query(name)
    first = int(text) if text.isascii() and text.isdigit() and len(text) < _DIGITS else 0
    return first if first < count else 0


def _profile_id(context: PageContext) -> int:
    """Return the profile ID in the path. Raises `NotFoundError` if it is not a valid ID."""
    text: str = context.request.path_params["profile_id"]
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS):
        raise NotFoundError("No such person.")
    return int(text)


def _title(text: str) -> str:
    """Return an email or a trait name for a page title, at most 60 characters."""
    return visible(text[:60])


def _digest(trait: TraitView) -> str:
    """Return the path segment of a trait; its name may be too long for a path."""
    return hashlib.sha256(trait.name.encode(errors="replace")).hexdigest()[:16]


def _seen_at(person: PersonView) -> int | None:
    """Return when ProsperStack's values of the person were read last."""
    seen = [person.profile.looked_up_at, *(side.observed_at for side in person.subscribers)]
    return max((at for at in seen if at is not None), default=None)


def _has(person: PersonView, state: PropertyState) -> bool:
    return any(row.state is state for side in person.subscribers for row in side.rows)


def _can_retry(person: PersonView) -> bool:
    """Return whether a value was rejected or a delivery failed."""
    rejected = person.profile.status is Status.REJECTED or _has(person, PropertyState.SET_ASIDE)
    return rejected or (person.profile.status in UNSETTLED and person.profile.attempts > 0)

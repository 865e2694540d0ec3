"""One person: what Segment says, what ProsperStack should have, and what it has."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from sqlalchemy import Connection
from starlette.responses import Response

from prosperstack_destination.admin import actions, people
from prosperstack_destination.admin.advice import advice
from prosperstack_destination.admin.comparison import PropertyComparison, PropertyState
from prosperstack_destination.admin.labels import LANE, ON_DELETE, PROPERTY_STATE
from prosperstack_destination.admin.people import PersonView, TraitView
from prosperstack_destination.auth.vault import pseudonym_of_email
from prosperstack_destination.dashboard.context import PageContext
from prosperstack_destination.dashboard.event_text import describe
from prosperstack_destination.dashboard.headline import DIFFER, ROW_IN_SHORT, headline
from prosperstack_destination.dashboard.rendering import pretty, visible, visible_lines
from prosperstack_destination.dashboard.routing import ACTOR, PageRoute
from prosperstack_destination.dashboard.sse import LiveUpdates
from prosperstack_destination.errors import InvalidCall, NotFoundError
from prosperstack_destination.store import accounts, events
from prosperstack_destination.store.accounts import Account, OnDelete
from prosperstack_destination.store.events import Event
from prosperstack_destination.store.models import UNSETTLED, Status

#: Traits and properties that a page has; the others are on further ones, so that none is large.
TRAITS: Final = 40
PROPERTIES: Final = 30
#: Subscribers with the same email, problems, ids, properties that nothing feeds, and events that it has.
SUBSCRIBERS: Final = 5
PROBLEMS: Final = 15
IDS: Final = 10
LEFT_ALONE: Final = 40
EVENTS: Final = 12
#: The most of a trait's value that its own page shows, in characters.
WHOLE: Final = 30_000
#: A profile's id has at most so many digits.
_DIGITS: Final = 18


@dataclass(frozen=True, slots=True)
class Slice:
    """Some of many, from a place on."""

    of: int
    first: int
    most: int

    @property
    def last(self) -> int:
        """The place after its last."""
        return min(self.first + self.most, self.of)

    @property
    def next(self) -> int | None:
        """Where the next one begins; None: there is none."""
        return self.last if self.last < self.of else None

    @property
    def previous(self) -> int | None:
        """Where the one before begins; None: there is none."""
        return max(self.first - self.most, 0) if self.first else None


@dataclass(frozen=True, slots=True)
class SubscriberTable:
    """What one subscriber has, beside what is desired."""

    subscriber_id: str | None
    observed_at: int | None
    #: What differs first.
    rows: Sequence[PropertyComparison]
    slice: Slice
    #: Properties that nothing feeds: the first of them, and how many there are.
    left_alone: Sequence[PropertyComparison]
    left_alone_count: int


@dataclass(frozen=True, slots=True)
class _PersonData:
    """Everything that the page rests on."""

    account: Account
    person: PersonView
    #: The newest first.
    events: Sequence[Event]
    on_delete: OnDelete


class PersonPages:
    """The pages of one person."""

    def __init__(self, live: LiveUpdates) -> None:
        self._live = live

    def pages(self) -> list[PageRoute]:
        """Its routes."""
        return [
            PageRoute("/people/{profile_id}", _show),
            PageRoute("/people/{profile_id}/live", self._stream),
            PageRoute("/people/{profile_id}/traits/{digest}", _show_trait),
            PageRoute("/people/{profile_id}/sync", _sync, "POST"),
            PageRoute("/people/{profile_id}/retry", _retry, "POST"),
            PageRoute("/people/{profile_id}/overwrite", _overwrite, "POST"),
            PageRoute("/people/{profile_id}/erase", _erase, "POST"),
        ]

    async def _stream(self, visit: PageContext) -> Response:
        profile_id = _profile_id(visit)
        await _read(visit, profile_id)  # who is not here is told so

        async def parts() -> Mapping[str, str]:
            try:
                return _parts(visit, await _read(visit, profile_id))
            except NotFoundError:  # nothing of them stays on the screen
                gone = visit.fragment("people/gone.html")
                return {"standing": gone, **dict.fromkeys(("problems", "properties", "traits", "happened"), "")}

        return self._live.stream(parts, visit.is_open)


async def _show(visit: PageContext) -> Response:
    known = await _read(visit, _profile_id(visit))
    query = visit.request.url.query
    return visit.page(
        "person.html",
        title=_title(known.person.profile.address),
        person=known.person,
        parts=_parts(visit, known),
        live=f"live?{query}" if query else "live",
        can_try_again=_can_try_again(known.person),
        edited=_has(known.person, PropertyState.EDITED_THERE),
        erases=ON_DELETE[known.on_delete],
    )


async def _show_trait(visit: PageContext) -> Response:
    person = (await _read(visit, _profile_id(visit))).person
    digest = visit.request.path_params["digest"]
    trait = next((each for each in person.traits if _digest(each) == digest), None)
    if trait is None:
        raise NotFoundError("This person has no such trait, or no longer.")
    text = trait.value if isinstance(trait.value, str) else pretty(trait.value)
    return visit.page(
        "people/trait.html",
        title=_title(trait.name),
        person=person,
        trait=trait,
        text=visible_lines(text[:WHOLE]),
        left=len(text) - WHOLE,
    )


async def _sync(visit: PageContext) -> Response:
    profile_id = _profile_id(visit)
    await visit.services.database.write(actions.prioritize, visit.account, profile_id, ACTOR, visit.now)
    visit.services.wake([visit.account.id])
    return visit.redirect_home(
        f"people/{profile_id}", said="First in line now: this page shows what comes of it, as it comes."
    )


async def _retry(visit: PageContext) -> Response:
    profile_id = _profile_id(visit)
    await visit.services.database.write(actions.retry_person, visit.account, profile_id, ACTOR, visit.now)
    visit.services.wake([visit.account.id])
    to = "problems" if visit.form.get("back") == "problems" else f"people/{profile_id}"
    return visit.redirect_home(to, said="It is tried again now, with what ProsperStack rejected before.")


async def _overwrite(visit: PageContext) -> Response:
    profile_id = _profile_id(visit)
    _ask(visit)
    await visit.services.database.write(actions.replay, visit.account, ACTOR, visit.now, profile_id)
    visit.services.wake([visit.account.id])
    return visit.redirect_home(
        f"people/{profile_id}", said="What Segment says is written again, over what was edited."
    )


async def _erase(visit: PageContext) -> Response:
    _ask(visit)
    pseudonym = visit.services.vault.pseudonym
    erased = await visit.services.database.write(
        actions.erase_profile, visit.account, _profile_id(visit), pseudonym, ACTOR, visit.now
    )
    visit.services.wake([visit.account.id])
    there = ON_DELETE[erased.in_prosperstack] if erased.subscribers else "ProsperStack has nothing to be deleted."
    return visit.redirect_home(
        "people", said=f"The person is forgotten here. {there} Older calls do not bring them back."
    )


def _ask(visit: PageContext) -> None:
    """Refuse what cannot be undone, and was not ticked: browsers ask for the tick, and others may not."""
    if visit.form.get("sure") != "yes":
        raise InvalidCall("Nothing was done: go back, and tick that you are sure.", field="sure")


async def _read(visit: PageContext, profile_id: int) -> _PersonData:
    subject = partial(pseudonym_of_email, visit.services.vault)
    return await visit.services.database.read(_look, visit.account, profile_id, subject, visit.services.clock())


def _look(
    connection: Connection, account: Account, profile_id: int, subject: Callable[[str], str], now: int
) -> _PersonData:
    account = accounts.get(connection, account.id) or account
    person = people.by_id(connection, account, profile_id, now)
    happened, _ = events.latest(connection, account.id, limit=EVENTS, subject=subject(person.profile.email))
    return _PersonData(account, person, happened[::-1], accounts.on_delete(connection, account.id))


def _parts(visit: PageContext, known: _PersonData) -> Mapping[str, str]:
    """The parts of the page that change, by the ids of their elements."""
    person, now = known.person, visit.services.clock()
    shown = {"person": person, "now": now, "home": visit.base_path}
    traits = Slice(len(person.traits), _first(visit, "traits", len(person.traits)), TRAITS)
    rows_from = _first(visit, "properties", max(len(side.rows) for side in person.subscribers))
    return {
        "standing": visit.fragment(
            "people/standing.html",
            **shown,
            headline=headline(person, known.account, now),
            lane=LANE[person.profile.lane] if person.profile.status in UNSETTLED else None,
            seen_at=_seen_at(person),
            others=[each for each in person.ids if each.id != person.profile.user_id],
            most=IDS,
        ),
        "problems": visit.fragment("people/problems.html", **shown, most=PROBLEMS, advice=advice),
        "properties": visit.fragment(
            "people/properties.html",
            **shown,
            sides=_sides(person, rows_from),
            row_in_short=ROW_IN_SHORT,
            row_state=PROPERTY_STATE,
            differ=DIFFER,
        ),
        "traits": visit.fragment(
            "people/traits.html",
            **shown,
            traits=[(each, _digest(each)) for each in person.traits[traits.first : traits.last]],
            slice=traits,
        ),
        "happened": visit.fragment("people/happened.html", **shown, events=known.events, told=describe),
    }


def _sides(person: PersonView, first: int) -> list[SubscriberTable]:
    most = PROPERTIES // min(len(person.subscribers), SUBSCRIBERS)
    shown = []
    for side in person.subscribers[:SUBSCRIBERS]:
        fed = [row for row in side.rows if row.state is not PropertyState.NOT_FED]
        left_alone = [row for row in side.rows if row.state is PropertyState.NOT_FED]
        part = Slice(len(fed), first if first < len(fed) else 0, most)
        rows = sorted(fed, key=lambda row: row.state not in DIFFER)[part.first : part.last]
        shown.append(
            SubscriberTable(
                side.subscriber_id, side.observed_at, rows, part, left_alone[:LEFT_ALONE], len(left_alone)
            )
        )
    return shown


def _first(visit: PageContext, name: str, count: int) -> int:
    """Where a part of many begins, as the query says."""
    asked = visit.query(name)
    first = int(asked) if asked.isascii() and asked.isdigit() and len(asked) < _DIGITS else 0
    return first if first < count else 0


def _profile_id(visit: PageContext) -> int:
    """The profile that a path names. Raises `NotFoundError` for what cannot be one."""
    text: str = visit.request.path_params["profile_id"]
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS):
        raise NotFoundError("There is no such person.")
    return int(text)


def _title(text: str) -> str:
    """A person or a trait in the title of a page."""
    return visible(text[:60])


def _digest(trait: TraitView) -> str:
    """What names a trait in a path: its name may be longer than a path."""
    return hashlib.sha256(trait.name.encode(errors="replace")).hexdigest()[:16]


def _seen_at(person: PersonView) -> int | None:
    """When ProsperStack was asked about them last, or showed them."""
    seen = [person.profile.looked_up_at, *(side.observed_at for side in person.subscribers)]
    return max((at for at in seen if at is not None), default=None)


def _has(person: PersonView, state: PropertyState) -> bool:
    return any(row.state is state for side in person.subscribers for row in side.rows)


def _can_try_again(person: PersonView) -> bool:
    """Whether ProsperStack rejected something, or failed."""
    aside = person.profile.status is Status.REJECTED or _has(person, PropertyState.SET_ASIDE)
    return aside or (person.profile.status in UNSETTLED and person.profile.attempts > 0)

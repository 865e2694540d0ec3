"""What does not go on by itself: why, and what helps."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection
from starlette.responses import Response

from prosperstack_destination.account_mapping import load_catalog
from prosperstack_destination.admin import actions
from prosperstack_destination.admin.advice import advice
from prosperstack_destination.admin.labels import ACCOUNT_STATUS
from prosperstack_destination.admin.services import MAX_COUNTED
from prosperstack_destination.admin.suggestions import Suggestion, suggest_rules
from prosperstack_destination.dashboard.context import PageContext
from prosperstack_destination.dashboard.routing import ACTOR, PageRoute
from prosperstack_destination.dashboard.sse import LiveUpdates
from prosperstack_destination.errors import InvalidCall
from prosperstack_destination.store import accounts, problems, profile_queries, property_creations, remote_erasures
from prosperstack_destination.store.accounts import STOPPED_STATUSES, Account, AccountStatus
from prosperstack_destination.store.models import Status
from prosperstack_destination.store.problems import ProblemGroup, ProblemKind
from prosperstack_destination.store.profile_queries import ProfilePage, ProfileSummary
from prosperstack_destination.store.property_creations import PropertyCreation
from prosperstack_destination.store.remote_erasures import FailedRemoteErasure

#: Kinds of problems that a page has, and samples of each.
GROUPS: Final = 25
SAMPLES: Final = 3
#: People of a kind are counted up to here while counting further takes longer than a page may.
COUNTED_AT_ONCE: Final = 100
#: Of everything else a page has so many.
LISTED: Final = 10

#: What is said of an account that is not active.
_STATUS_LABELS: Final[Mapping[AccountStatus, str]] = {
    AccountStatus.RETRYING: "ProsperStack does not answer as it should",
    AccountStatus.KEY_REFUSED: "The account is stopped: ProsperStack refuses its key",
    AccountStatus.NOT_PERMITTED: "The account is stopped: its key may not do what is needed",
}


@dataclass(frozen=True, slots=True)
class ProblemsView:
    """Everything of an account that does not go on by itself."""

    account: Account
    groups: Sequence[ProblemGroup]
    #: Whose email ProsperStack rejects.
    aside: ProfilePage
    #: At whom the latest attempt failed.
    postponed: Sequence[ProfileSummary]
    #: Subscribers of people who were erased, and could not be cleared.
    clearings: Sequence[FailedRemoteErasure]
    #: Properties that could not be created.
    creations: Sequence[PropertyCreation]
    #: Rules that help, by the property and the reason of a problem.
    suggestions: Mapping[tuple[str, str], Suggestion]

    @property
    def of_people(self) -> bool:
        """Whether trying everything again could help."""
        return bool(self.groups or self.aside.profiles or self.postponed)

    @property
    def none(self) -> bool:
        """Whether there is nothing to show."""
        stands = self.account.status is AccountStatus.ACTIVE
        return stands and not (self.of_people or self.clearings or self.creations)


class ProblemsPages:
    """The pages of it."""

    def __init__(self, live: LiveUpdates) -> None:
        self._live = live

    def pages(self) -> list[PageRoute]:
        """Its routes."""
        return [
            PageRoute("/problems", _show),
            PageRoute("/problems/replay", _show_replay),
            PageRoute("/problems/replay", _replay, "POST"),
            PageRoute("/problems/replay/live", self._stream),
            PageRoute("/problems/retry", _retry_group, "POST"),
            PageRoute("/problems/retry-all", _retry_all, "POST"),
            PageRoute("/retry", _retry_account, "POST"),
        ]

    async def _stream(self, visit: PageContext) -> Response:
        async def parts() -> dict[str, str]:
            return {"progress": _progress(visit)}

        return self._live.stream(parts, visit.is_open)


async def _show(visit: PageContext) -> Response:
    kinds, counted = await visit.services.problem_kinds.latest(visit.account.id), MAX_COUNTED
    if kinds is None:
        counted = COUNTED_AT_ONCE
        kinds = await visit.services.database.read(problems.kinds, visit.account.id, counted)
    found = await visit.services.database.read(look, visit.account, kinds, visit.now)
    return visit.page(
        "problems.html",
        title="Problems",
        problems=found,
        stands=_STATUS_LABELS.get(found.account.status),
        stopped=found.account.status in STOPPED_STATUSES,
        means=ACCOUNT_STATUS[found.account.status],
        counted=counted,
        more=len(kinds) - GROUPS,
        advice=advice,
        masked=_masked,
    )


async def _show_replay(visit: PageContext) -> Response:
    """What it costs to have everybody compared anew, and how far that is."""
    return await _replay_page(visit)


async def _replay_page(visit: PageContext, *, status: int = 200, wrong: str | None = None) -> Response:
    return visit.page(
        "replay.html",
        status=status,
        title="Compare everybody anew",
        cost=await visit.services.replay_costs.get_or_wait(visit.account.id),
        progress=_progress(visit),
        wrong=wrong,
    )


def _progress(visit: PageContext) -> str:
    found = visit.services.replays.of(visit.account.id)
    return visit.fragment("replay_progress.html", replay=found, now=visit.services.clock())


async def _replay(visit: PageContext) -> Response:
    if visit.form.get("sure") != "yes":
        return await _replay_page(visit, status=422, wrong="Nothing was done: tick that you are sure.")
    await visit.services.replays.start(visit.account, ACTOR)
    return visit.redirect_home("problems/replay")


async def _retry_group(visit: PageContext) -> Response:
    key, reason = _quoted(visit, "property"), _quoted(visit, "reason")
    count = await actions.retry_group(visit.services.database, visit.account, key, reason, ACTOR, visit.now)
    return _again(visit, count)


async def _retry_all(visit: PageContext) -> Response:
    return _again(visit, await actions.retry_all(visit.services.database, visit.account, ACTOR, visit.now))


async def _retry_account(visit: PageContext) -> Response:
    waited = await visit.services.database.write(actions.retry_account, visit.account, ACTOR, visit.now)
    visit.services.wake([visit.account.id])
    to = "problems" if visit.form.get("back") == "problems" else "overview"
    return visit.redirect_home(
        to, "ProsperStack is tried now." if waited else "The account works: there was nothing to try."
    )


def _again(visit: PageContext, count: int) -> Response:
    visit.services.wake([visit.account.id])
    people = "One person is" if count == 1 else f"{count:,} people are"
    return visit.redirect_home(
        "problems", f"{people} looked at again." if count else "Nobody has this problem any more."
    )


def look(connection: Connection, account: Account, kinds: Sequence[ProblemKind], now: int) -> ProblemsView:
    """A unit of work: all of them, of which those of people were counted. It looks into indexes at their ends."""
    aside = profile_queries.list_page(connection, account.id, after="", limit=LISTED, statuses=[Status.REJECTED])
    account = accounts.get(connection, account.id) or account
    there = load_catalog(account.catalog)
    groups = problems.with_samples(connection, account.id, kinds[:GROUPS], SAMPLES)
    return ProblemsView(
        account=account,
        groups=groups,
        suggestions=suggest_rules(connection, account, groups),
        aside=aside,
        postponed=profile_queries.failed(connection, account.id, LISTED),
        clearings=remote_erasures.failed(connection, account.id, now, LISTED),
        creations=[
            each
            for each in property_creations.all_creations(connection, account.id)
            if each.reason is not None and there.get(each.key) is None
        ][:LISTED],
    )


def _quoted(visit: PageContext, name: str) -> str:
    """A text that a form has as JSON: browsers change line breaks. Raises `InvalidCall`."""
    try:
        return str(json.loads(visit.form.get(name, "")))
    except ValueError:
        raise InvalidCall(
            f"The form's {name} cannot be read: reload the page, and try again.", field=name
        ) from None


def _masked(email: str) -> str:
    """An email that was not asked for: its beginning, and its domain."""
    name, _, domain = email.partition("@")
    return f"{name[:1]}…@{domain}"

"""Page of problems: mapping problems, rejections, failed deliveries, and the replay."""

import json
from typing import Final

from starlette.responses import Response

from prosperstack_destination.admin import actions, problems
from prosperstack_destination.admin.labels import ACCOUNT_ADVICE, ACCOUNT_HEADLINE
from prosperstack_destination.admin.services import MAX_COUNTED
from prosperstack_destination.dashboard.routing import ACTOR, PageContext, PageRoute
from prosperstack_destination.dashboard.sse import LiveUpdates
from prosperstack_destination.errors import InvalidCall
from prosperstack_destination.store.accounts import STOPPED_STATUSES

#: Maximum kinds of problems on the page, and samples of each.
GROUPS: Final = 25
SAMPLES: Final = 3
#: Maximum people counted for each kind before the background count is ready.
COUNTED_AT_ONCE: Final = 100
#: Maximum rows of each other table.
LISTED: Final = 10


class ProblemsPages:
    """Routes of the pages."""

    def __init__(self, live: LiveUpdates) -> None:
        self._live = live

    def pages(self) -> list[PageRoute]:
        """Return the routes."""
        return [
            PageRoute("/problems", _show),
            PageRoute("/problems/replay", _show_replay),
            PageRoute("/problems/replay", _replay, "POST"),
            PageRoute("/problems/replay/live", self._stream),
            PageRoute("/problems/retry", _retry_group, "POST"),
            PageRoute("/problems/retry-all", _retry_all, "POST"),
            PageRoute("/retry", _retry_account, "POST"),
        ]

    async def _stream(self, context: PageContext) -> Response:
        async def parts() -> dict[str, str]:
            return {"progress": _progress(context)}

        return self._live.stream(parts, context.is_open)


async def _show(context: PageContext) -> Response:
    kinds, counted = await context.services.problem_kinds.latest(context.account.id), MAX_COUNTED
    if kinds is None:
        counted = COUNTED_AT_ONCE
        kinds = await context.services.database.read(problems.count_kinds, context.account.id, counted)
    view = await context.services.database.read(
        problems.load_problems, context.account, kinds[:GROUPS], context.now, samples=SAMPLES, limit=LISTED
    )
    status = view.account.status
    return context.page(
        "problems.html",
        title="Problems",
        problems=view,
        headline=ACCOUNT_HEADLINE.get(status),
        stopped=status in STOPPED_STATUSES,
        what_to_do=ACCOUNT_ADVICE.get(status),
        counted=counted,
        more=len(kinds) - GROUPS,
        advice=problems.advice,
        masked=_masked,
    )


async def _show_replay(context: PageContext) -> Response:
    """Show the cost and the progress of a replay."""
    return await _replay_page(context)


async def _replay_page(context: PageContext, *, status: int = 200, wrong: str | None = None) -> Response:
    return context.page(
        "replay.html",
        status=status,
        title="Replay all people",
        cost=await context.services.replay_costs.get_or_wait(context.account.id),
        progress=_progress(context),
        wrong=wrong,
    )


def _progress(context: PageContext) -> str:
    replay = context.services.replays.of(context.account.id)
    return context.fragment("replay_progress.html", replay=replay, now=context.services.clock())


async def _replay(context: PageContext) -> Response:
    if context.form.get("sure") != "yes":
        return await _replay_page(
            context, status=422, wrong="The replay did not start. Tick “I am sure” to confirm."
        )
    await context.services.replays.start(context.account, ACTOR)
    return context.redirect_home("problems/replay")


async def _retry_group(context: PageContext) -> Response:
    key, reason = _quoted(context, "property"), _quoted(context, "reason")
    count = await actions.retry_group(context.services.database, context.account, key, reason, ACTOR, context.now)
    return _retried(context, count)


async def _retry_all(context: PageContext) -> Response:
    return _retried(
        context, await actions.retry_all(context.services.database, context.account, ACTOR, context.now)
    )


async def _retry_account(context: PageContext) -> Response:
    was_waiting = await context.services.database.write(actions.retry_account, context.account, ACTOR, context.now)
    context.services.wake([context.account.id])
    to = "problems" if context.form.get("back") == "problems" else "overview"
    return context.redirect_home(
        to, "The next attempt starts now." if was_waiting else "The account is active. No retry is needed."
    )


def _retried(context: PageContext, count: int) -> Response:
    context.services.wake([context.account.id])
    people = "one person" if count == 1 else f"{count:,} people"
    return context.redirect_home(
        "problems", f"Retry started for {people}." if count else "No person has this problem any more."
    )


def _quoted(context: PageContext, name: str) -> str:
    """Return a field that is JSON, because browsers change line breaks in plain text. Raises `InvalidCall`."""
    try:
        return str(json.loads(context.form.get(name, "")))
    except ValueError:
        raise InvalidCall(
            f"The form's {name} cannot be read. Reload the page, and try again.", field=name
        ) from None


def _masked(email: str) -> str:
    """Return an email with its first character and its domain only."""
    name, _, domain = email.partition("@")
    return f"{name[:1]}…@{domain}"

"""Tests of the page of problems."""

import re
from collections.abc import Iterator

import httpx
import pytest
from sqlalchemy import Connection, update

from dashboard.conftest import Dashboard
from dashboard.pages import HOSTILE, JOHN, checked, page_of, said, send
from prosperstack_destination.clock import HOUR, system_clock
from prosperstack_destination.store import accounts, activity, problems, profiles, remote_erasures
from prosperstack_destination.store.accounts import AccountStatus
from prosperstack_destination.store.database import Database
from prosperstack_destination.store.models import Status
from prosperstack_destination.store.problems import PropertyCreation
from prosperstack_destination.store.remote_erasures import RemoteErasure
from prosperstack_destination.store.tables import profiles as table

pytestmark = pytest.mark.anyio


def forms(page: str) -> Iterator[tuple[str, dict[str, str]]]:
    """The forms of a page: where to, and what they send."""
    for form in re.findall(r'<form method="post" action="([^"]*)" class="action">(.*?)</form>', page):
        fields = re.findall(r'name="(\w+)" value="([^"]*)"', form[1])
        yield form[0], {name: value.replace("&#34;", '"').replace("&#39;", "'") for name, value in fields}


async def send_form(dashboard: Dashboard, page: str, ends: str) -> httpx.Response:
    """Send a form of a page, by how its address ends."""
    [(to, fields)] = [(to, fields) for to, fields in forms((await dashboard.get(page)).text) if to.endswith(ends)]
    return await dashboard.client.post(to, data=fields)


async def test_suggested_rule_opens_a_draft(dashboard: Dashboard) -> None:
    """A suggested rule is shown with its trial, and one click puts it into a draft."""
    await send(dashboard, {"is_professional": "yes"})
    page = said(await dashboard.until("problems", "tested on"))

    assert "tested on 1 profile: it reduces the problems of this property from 1 to 0" in page
    draft = await send_form(dashboard, "problems", "/mapping/suggested")
    assert draft.status_code == 200
    assert "fallback: keep" in draft.text
    assert "In this draft is_professional feeds is_professional" in said(draft.text)
    assert (await dashboard.post("mapping/suggested", rule="{")).status_code == 400


async def test_page_without_problems_has_no_retry(dashboard: Dashboard) -> None:
    """An account without problems says so, and has no retry."""
    page = (await dashboard.get("problems")).text

    assert "No problems" in page
    assert "Try" not in page


async def test_solved_problem_disappears(dashboard: Dashboard, stored: Database) -> None:
    """A mapping problem has a solution, and disappears when it is solved."""
    await send(dashboard, {"number_of_contacts": "many"})
    page = await dashboard.until("problems", "number_of_contacts")
    text = said(page)

    for each in ("The text is not a number", "Solution: Add a rule with values", "one person", "many"):
        assert each in text
    assert "j…@example.com" in text
    assert JOHN not in text
    assert f'href="{dashboard.home}/{await page_of(dashboard, stored)}"' in page
    assert f'href="{dashboard.home}/mapping/edit?rule=number_of_contacts"' in page
    await send(dashboard, {"number_of_contacts": 5})
    await dashboard.until("problems", "No problems")


async def test_rejected_values_are_retried(dashboard: Dashboard) -> None:
    """A rejection has ProsperStack's reason, and a retry sends the values again."""
    data = dashboard.service.account().data
    [prop] = [each for each in data.properties.values() if each.key == "number_of_contacts"]
    del data.properties[prop.id]
    await send(dashboard, {"number_of_contacts": 7, "is_professional": "maybe"})
    text = said(await dashboard.until("problems", "Rejected by ProsperStack"))
    assert "there is no such subscriber property" in text
    data.properties[prop.id] = prop
    to_rejected = [fields for to, fields in forms((await dashboard.get("problems")).text) if "reason" in fields]
    [fields] = [each for each in to_rejected if "no such subscriber" in each["reason"]]

    answer = await dashboard.client.post(f"{dashboard.home}/problems/retry", data=fields)
    assert answer.headers["location"] == f"{dashboard.home}/problems"
    assert "Retry started for one person" in (await dashboard.get("problems")).text
    await dashboard.until("problems", "Rejected by ProsperStack", gone=True)
    await dashboard.service.until(lambda: dashboard.service.values(JOHN)[0]["number_of_contacts"] == 7)
    again = await dashboard.client.post(f"{dashboard.home}/problems/retry", data=fields)
    assert again.status_code == 303
    assert "No person has this problem any more" in (await dashboard.get("problems")).text


async def test_all_people_with_problems_are_retried(dashboard: Dashboard, stored: Database) -> None:
    """All listed people are retried, with the actor in the audit log."""
    await send(dashboard, {"number_of_contacts": "many"})
    await dashboard.until("problems", "number_of_contacts")
    assert (await send_form(dashboard, "problems", "/retry-all")).status_code == 303

    assert "Retry started for one person" in (await dashboard.get("problems")).text
    trail = await stored.read(activity.recent_actions, dashboard.account_id, 5)
    assert [(each.actor, each.action) for each in trail] == [("dashboard", "retry")]


async def test_stopped_account_is_retried(dashboard: Dashboard, stored: Database) -> None:
    """A stopped account comes first, with its reason; a retry makes it work."""
    await dashboard.service.until(lambda: dashboard.service.values(JOHN)[0]["preferred_name"] == "Johnny")
    until = system_clock() + HOUR
    await stored.write(
        accounts.set_status,
        dashboard.account_id,
        AccountStatus.KEY_REFUSED,
        reason="ProsperStack answered 401.",
        until=until,
    )
    page = (await dashboard.get("problems")).text
    assert "ProsperStack refuses the API key" in page
    assert "ProsperStack answered 401." in page
    assert "Replace the key" in page

    answer = await send_form(dashboard, "problems", f"{dashboard.home}/retry")
    assert answer.headers["location"] == f"{dashboard.home}/problems"
    assert "The next attempt starts now" in (await dashboard.get("problems")).text
    await dashboard.until("problems", "No problems")


async def test_retry_from_the_overview_leads_back(dashboard: Dashboard) -> None:
    """The retry of the overview leads back; an active account needs none."""
    answer = await dashboard.post("retry")

    assert answer.headers["location"] == f"{dashboard.home}/overview"
    assert "No retry is needed" in (await dashboard.get("overview")).text


def leave_undone(connection: Connection, account_id: str, now: int) -> None:
    """Everything else that may go wrong, an hour before it is tried again."""
    for number, status in enumerate((Status.REJECTED, Status.PENDING)):
        profile = profiles.find(connection, account_id, f"p{number}@example.com")
        assert profile is not None
        profiles.settle(connection, profile, status, reason=f"reason {number}")
        if status is Status.PENDING:
            connection.execute(update(table).where(table.c.id == profile.id).values(due_at=now + HOUR, attempts=1))
    remote_erasures.add(connection, account_id, {"subr_gone": ["plan"]}, delete_subscriber=False, now=now)
    remote_erasures.postpone(
        connection, account_id, RemoteErasure("subr_gone", ("plan",), False, 2), now + HOUR, "no answer"
    )
    for key in ("vip", "preferred_name"):
        problems.record_creation(
            connection, account_id, PropertyCreation(key, "VIP", "boolean", now, "too many properties")
        )


async def test_other_failures_are_listed(dashboard: Dashboard, stored: Database) -> None:
    """Rejected emails, failed deliveries, deletions and creations are listed with reasons."""
    for number in range(2):
        await send(dashboard, {"preferred_name": "P"}, email=f"p{number}@example.com")
    await dashboard.until("people?status=unmatched", "p1@example.com")
    await dashboard.until("people?status=unmatched", "p0@example.com")
    await stored.write(leave_undone, dashboard.account_id, system_clock())
    text = said((await dashboard.get("problems")).text)

    for each in ("reason 0", "reason 1", "subr_gone", "no answer", "VIP", "too many properties"):
        assert each in text
    assert text.count("p…@example.com") == 2
    assert "preferred_name" not in text  # somebody created it by hand
    page = await page_of(dashboard, stored, "p0@example.com")
    assert "Email rejected" in (await dashboard.get(page)).text
    answer = await send_form(dashboard, "problems", f"{page}/retry")
    assert answer.headers["location"] == f"{dashboard.home}/problems"
    await dashboard.until("problems", "reason 0", gone=True)


@pytest.mark.parametrize("reason", ["", "many", "[", "\x00", "[]"])
async def test_invalid_form_is_refused(dashboard: Dashboard, reason: str) -> None:
    """A form that no page sends is refused, or has no effect."""
    answer = await dashboard.post("problems/retry", property='"plan"', reason=reason)

    assert answer.status_code in (303, 400)
    if answer.status_code == 303:
        assert "No person has this problem" in (await dashboard.get("problems")).text


async def test_hostile_values_stay_text(dashboard: Dashboard) -> None:
    """Values of any kind stay text, and the page stays small."""
    for number, words in enumerate(HOSTILE):
        await send(dashboard, {"number_of_contacts": words, "is_professional": [words]}, email=f"h{number}@x.y")
    await dashboard.until("problems", "is_professional")
    page = checked(await dashboard.get("problems"))

    assert "\u202e" not in page.text


async def test_replay_needs_confirmation_and_shows_progress(dashboard: Dashboard) -> None:
    """A replay shows its cost, needs a confirmation, and shows its progress."""
    await dashboard.service.until(lambda: dashboard.service.values(JOHN)[0].get("preferred_name") == "Johnny")
    [record] = dashboard.service.account().data.subscribers.after(0, JOHN)
    edited = {"properties": {"preferred_name": "by hand"}}
    await dashboard.service.sandbox.patch(f"subscribers/{record.fields['id']}", json=edited)
    told = said((await dashboard.get("problems/replay")).text)
    unsure = await dashboard.post("problems/replay")
    begun = await dashboard.post("problems/replay", sure="yes")

    assert "at most 2 requests for 1 person" in told
    assert unsure.status_code == 422
    assert begun.headers["location"] == f"{dashboard.home}/problems/replay"
    assert "1 of 1 people" in said(await dashboard.until("problems/replay", "All people are queued"))
    assert "1 of 1 people" in said((await dashboard.live("problems/replay/live", "progress"))["progress"])
    await dashboard.service.until(lambda: dashboard.service.values(JOHN)[0]["preferred_name"] == "Johnny")

"""Tests of the page of a person."""

import re

import pytest

from dashboard.conftest import Dashboard
from dashboard.pages import HOSTILE, JOHN, checked, page_of, said, send
from prosperstack_destination.store import profiles
from prosperstack_destination.store.database import Database

pytestmark = pytest.mark.anyio


async def test_person_page_shows_all_data(dashboard: Dashboard, stored: Database) -> None:
    """The page has the status, each property as desired and observed, the traits and the events."""
    await send(dashboard, {"plan": {"name": "pro"}, "number_of_contacts": "many"}, user_id="u-1")
    page = await page_of(dashboard, stored)
    text = said(await dashboard.until(page, "Up to date except one property"))

    for each in (
        "u-1",
        "Johnny",
        "{&#34;name&#34;:&#34;pro&#34;}",
        "many : the text is not a number",
        "Up to date",
    ):
        assert each in text
    assert "The text is not a number" not in text
    assert "the text is not a number" in text
    assert "Add a rule with values" in text
    assert "2 properties without a trait" in text
    assert "4 traits" in text
    assert f"{dashboard.home}/calls?email=john.doe%40example.com" in (await dashboard.get(page)).text
    assert "Call accepted, with 3 traits" in said(await dashboard.until(page, "All properties delivered"))


async def test_sync_delivers_to_a_new_subscriber(dashboard: Dashboard, stored: Database) -> None:
    """After a sync a new subscriber has the properties, and the page shows it."""
    late = "late@example.com"
    await send(dashboard, {"preferred_name": "Late"}, email=late)
    page = await page_of(dashboard, stored, late)
    await dashboard.until(page, "No subscriber has this email")
    subscribers = dashboard.service.account().data.subscribers
    [record] = subscribers.after(0, "john.doe@example.com")
    subscribers.remove(record.fields["id"])
    record.fields["email"], record.number = late, 1_000
    subscribers.add(record)

    answer = await dashboard.post(f"{page}/sync")
    assert (answer.status_code, answer.headers["location"]) == (303, f"{dashboard.home}/{page}")
    assert "Queued before all others" in (await dashboard.get(page)).text
    await dashboard.until(page, "<h2>Up to date</h2>")
    assert dashboard.service.values(late)[0]["preferred_name"] == "Late"


async def test_stream_sends_changed_parts(dashboard: Dashboard, stored: Database) -> None:
    """Changed parts of the page are streamed, for the shown pages of its lists."""
    await send(dashboard, {f"t{number:02}": number for number in range(50)})
    page = await page_of(dashboard, stored)
    async with dashboard.watched(f"{page}/live?traits=40") as watched:
        parts = await watched.parts(5)

    assert parts.keys() == {"status", "problems", "properties", "traits", "timeline"}
    assert ">t45<" in parts["traits"]
    assert ">t05<" not in parts["traits"]


async def test_erasure_needs_confirmation(dashboard: Dashboard, stored: Database) -> None:
    """With a tick, and not without, a person is erased, and the written values are cleared."""
    page = await page_of(dashboard, stored)
    await dashboard.until(page, "<h2>Up to date</h2>")
    without = await dashboard.post(f"{page}/erase")
    assert (without.status_code, (await dashboard.get(page)).status_code) == (400, 200)

    answer = await dashboard.post(f"{page}/erase", sure="yes")
    assert answer.headers["location"] == f"{dashboard.home}/people"
    assert (
        "is erased in this service. In ProsperStack, the values that this service wrote are deleted"
        in (await dashboard.get("people")).text
    )
    assert (await dashboard.get(page)).status_code == 404
    assert "No match" in (await dashboard.get("people?show=all")).text
    await dashboard.service.until(lambda: "preferred_name" not in dashboard.service.values(JOHN)[0])


async def test_erased_person_disappears_from_open_pages(dashboard: Dashboard, stored: Database) -> None:
    """An open page of an erased person is cleared."""
    page = await page_of(dashboard, stored)
    await dashboard.until(page, "<h2>Up to date</h2>")
    async with dashboard.watched(f"{page}/live") as watched:
        before = await watched.parts(5)
        await dashboard.post(f"{page}/erase", sure="yes")
        parts = before | await watched.parts(4)

    assert "This person was erased" in parts.pop("status")
    assert set(parts.values()) == {""}


async def test_edit_is_kept_until_overwritten(dashboard: Dashboard, stored: Database) -> None:
    """An edit made in ProsperStack is marked and kept, and overwritten after a confirmation."""
    page = await page_of(dashboard, stored)
    await dashboard.until(page, "<h2>Up to date</h2>")
    assert "Overwrite edits" not in (await dashboard.get(page)).text
    [record] = dashboard.service.account().data.subscribers.after(0, JOHN)
    await dashboard.service.sandbox.patch(
        f"/subscribers/{record.fields['id']}", json={"properties": {"preferred_name": "Edited"}}
    )
    await dashboard.post(f"{page}/sync")
    assert "Edited in ProsperStack" in await dashboard.until(page, "One property is kept as edited")

    await dashboard.post(f"{page}/overwrite", sure="yes")
    await dashboard.service.until(lambda: dashboard.service.values(JOHN)[0]["preferred_name"] == "Johnny")
    await dashboard.until(page, "Edited in ProsperStack", gone=True)


async def test_rejected_value_can_be_retried(dashboard: Dashboard, stored: Database) -> None:
    """A rejected value has ProsperStack's reason, and a retry sends it again."""
    data = dashboard.service.account().data
    [prop] = [each for each in data.properties.values() if each.key == "number_of_contacts"]
    del data.properties[prop.id]
    await send(dashboard, {"number_of_contacts": 7})
    page = await page_of(dashboard, stored)
    text = said(await dashboard.until(page, "Rejected"))
    assert "ProsperStack rejects it: number_of_contacts: there is no such subscriber property" in text

    data.properties[prop.id] = prop
    assert (await dashboard.post(f"{page}/retry")).status_code == 303
    await dashboard.service.until(lambda: dashboard.service.values(JOHN)[0].get("number_of_contacts") == 7)
    assert ">Retry</button>" not in await dashboard.until(page, "Rejected", gone=True)


async def test_every_subscriber_of_the_email_is_shown(dashboard: Dashboard, stored: Database) -> None:
    """Every subscriber with the email is shown with its values."""
    twice = dashboard.service.share_email()
    await send(dashboard, {"preferred_name": "Two"}, email=twice)
    page = await page_of(dashboard, stored, twice)
    text = await dashboard.until(page, "<h2>Up to date</h2>")

    assert text.count("of subscriber") == 2


@pytest.mark.parametrize("path", ["999999", "0", "-1", "x", "1" * 30, "²", "1.0"])
async def test_unknown_person_is_not_found(dashboard: Dashboard, path: str) -> None:
    """An unknown person is not found by any form or page."""
    for page in (f"people/{path}", f"people/{path}/live", f"people/{path}/traits/x"):
        assert (await dashboard.get(page)).status_code == 404
    for page in (f"people/{path}/sync", f"people/{path}/retry", f"people/{path}/erase", f"people/{path}/overwrite"):
        assert (await dashboard.post(page, sure="yes")).status_code == 404


async def test_person_of_another_account_is_not_found(dashboard: Dashboard, stored: Database) -> None:
    """A person of another account is neither shown nor changed."""
    await dashboard.service.identify("ann@example.com", key="key_test_other", preferred_name="Ann")
    [other] = {
        each.split("/")[3]
        for each in (await dashboard.client.get("/dashboard/accounts")).text.split('"')
        if each.startswith("/dashboard/a/")
    } - {dashboard.account_id}
    ann = await stored.read(profiles.find, other, "ann@example.com")
    assert ann is not None

    assert (await dashboard.get(f"people/{ann.id}")).status_code == 404
    assert (await dashboard.post(f"people/{ann.id}/erase", sure="yes")).status_code == 404
    assert "No match" in (await dashboard.get("people?q=ann@example.com")).text
    assert await stored.read(profiles.find, other, "ann@example.com") is not None


async def test_hostile_values_stay_text(dashboard: Dashboard, stored: Database) -> None:
    """Names, values, emails and IDs of any content stay text."""
    email = "<script>alert(1)</script>\"'&@x.y"
    for number, words in enumerate(HOSTILE):
        name = f"{words[:2_000]}{number}"
        user_id = words[:400].replace("\x00", "")
        await send(dashboard, {name: words, f"t{number}": {words: [words]}}, email=email, user_id=user_id)
    await send(dashboard, {"preferred_name": HOSTILE[0], "number_of_contacts": HOSTILE[7]}, email=email)
    page = await page_of(dashboard, stored, email)
    answer = await dashboard.get(page)

    shown = checked(answer)
    assert email in shown.text
    assert HOSTILE[0] in shown.text
    assert "\u202e" not in shown.text
    for link in set(re.findall(rf"{dashboard.home}/{page}/traits/\w+", answer.text)):
        checked(await dashboard.client.get(link))
    checked(await dashboard.get("people?show=all"))


async def test_page_of_many_traits_stays_small(dashboard: Dashboard, stored: Database) -> None:
    """The page of a person with the most traits stays small; the rest is on further pages."""
    for part in range(10):
        await send(dashboard, {f"t{part}{number:02}": HOSTILE[7][:250] for number in range(100)})
    page = await page_of(dashboard, stored)
    first, last = await dashboard.get(page), await dashboard.get(f"{page}?traits=960")
    odd = await dashboard.get(f"{page}?traits=99999&properties=-1")

    assert "1 to 40 of 1,000" in said(checked(first).text)
    assert "961 to 1,000 of 1,000" in said(checked(last).text)
    assert ">t900<" not in first.text
    assert "1 to 40 of 1,000" in said(checked(odd).text)
    link = re.findall(rf"{dashboard.home}/{page}/traits/\w+", last.text)[0]
    assert HOSTILE[7][:250] in checked(await dashboard.client.get(link)).text
    assert (await dashboard.get(f"{page}/traits/{'0' * 16}")).status_code == 404

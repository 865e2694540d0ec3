"""Tests of the search for people."""

import pytest

from dashboard.conftest import Dashboard
from dashboard.pages import JOHN
from support.service import KEY

pytestmark = pytest.mark.anyio


async def send(dashboard: Dashboard, *emails: str) -> None:
    """One call about each of these, whose user ids are their emails' first parts."""
    calls = [
        {"userId": f"id-{each.partition('@')[0]}", "traits": {"email": each, "preferred_name": "P"}}
        for each in emails
    ]
    answer = await dashboard.service.client.post("/identify", json=calls, auth=(KEY, ""))
    assert answer.status_code == 202


async def test_page_without_search_lists_no_person(dashboard: Dashboard) -> None:
    """The page lists people only for a search or for all people."""
    opened = await dashboard.get("people")
    everybody = await dashboard.get("people?show=all")

    assert JOHN not in opened.text
    assert "Show all people" in opened.text
    assert JOHN in everybody.text


async def test_single_match_opens_the_person(dashboard: Dashboard) -> None:
    """An email prefix in any case, or a user ID, with one match opens the person."""
    await send(dashboard, "zoe@example.com")
    for wanted in ("JOHN.d", "zoe@", "id-zoe", " id-zoe "):
        found = await dashboard.client.get(f"{dashboard.home}/people", params={"q": wanted})
        page = await dashboard.client.get(found.headers["location"])
        assert page.status_code == 200
        assert ("zoe@example.com" in page.text) == ("zoe" in wanted)


async def test_user_id_match_comes_first(dashboard: Dashboard) -> None:
    """The person with the user ID comes before those with the email prefix."""
    await send(dashboard, "id-zoe@example.com", "zoe@example.com", "id-zoe.b@example.com", "ann@example.com")
    page = (await dashboard.get("people?q=id-zoe")).text

    places = [page.index(f">{each}<") for each in ("zoe@example.com", "id-zoe.b@example.com", "id-zoe@example.com")]
    assert places == sorted(places)
    assert "ann@example.com" not in page


async def test_people_are_paged(dashboard: Dashboard) -> None:
    """A page has fifty people, and the next one continues after them."""
    await send(dashboard, *(f"p{number:02}@x.y" for number in range(60)))
    first = (await dashboard.get("people?q=p")).text
    [link] = [each for each in first.split('"') if "after=" in each]
    second = (await dashboard.client.get(link.replace("&amp;", "&"))).text

    assert ("p00@x.y" in first, "p49@x.y" in first, "p50@x.y" in first) == (True, True, False)
    assert ("p49@x.y" in second, "p50@x.y" in second, "p59@x.y" in second) == (False, True, True)
    assert 'rel="next"' not in second


async def test_people_are_filtered_by_status(dashboard: Dashboard) -> None:
    """A status filter lists the people with that status."""
    await send(dashboard, "stranger@example.com")
    unmatched = await dashboard.until("people?status=unmatched", "stranger@example.com")
    in_sync = await dashboard.until("people?status=in_sync", JOHN)

    assert JOHN not in unmatched
    assert "no subscriber" in unmatched
    assert "stranger@example.com" not in in_sync
    assert "No match" in (await dashboard.get("people?status=set_aside")).text
    assert "No match" in (await dashboard.get("people?status=waiting&q=stranger")).text
    assert "Search for a person" in (await dashboard.get("people?status=nonsense")).text


async def test_empty_result_has_a_reason(dashboard: Dashboard) -> None:
    """An unknown person is not found, with the reason; Engage's traits of a user ID alone are held."""
    personas = {"computation_class": "audience", "computation_key": "vip", "computation_id": "a"}
    call = {"userId": "held", "traits": {"vip": True}, "context": {"personas": personas}}
    await dashboard.service.client.post("/identify", json=call)

    assert "No profile with this email" in (await dashboard.get("people?q=nobody@example.com")).text
    assert "No profile with this user ID" in (await dashboard.get("people?q=nobody")).text
    assert "are held until a call names the email" in (await dashboard.get("people?q=held")).text


@pytest.mark.parametrize(
    "wanted", ["<script>alert(1)</script>", "\"'`<b>", "x" * 10_000, "\x00\x1b", "%", "\ud800"]
)
async def test_any_search_stays_text(dashboard: Dashboard, wanted: str) -> None:
    """Any search text stays text in the page."""
    query = {"q": wanted.encode(errors="surrogatepass")}
    page = await dashboard.client.get(f"{dashboard.home}/people", params=query)

    assert page.status_code == 200
    assert "<script>alert" not in page.text
    assert len(page.content) < 10_000

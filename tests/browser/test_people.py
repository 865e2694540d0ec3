"""Tests of support work on one person, in a browser."""

import httpx
from playwright.sync_api import Page, expect

from browser.conftest import KEY, Site, faults

JOHN = "john.doe@example.com"


def edit(at: Site, email: str, **properties: object) -> None:
    """Change a subscriber by hand, in ProsperStack."""
    found = httpx.get(f"{at.sandbox}/v1/subscribers", params={"email": email}, auth=(KEY, "")).json()["data"]
    url = f"{at.sandbox}/v1/subscribers/{found[0]['id']}"
    httpx.patch(url, json={"properties": properties}, auth=(KEY, "")).raise_for_status()


def test_person_is_synced_and_erased(operator: Page, served: Site, axe: str) -> None:
    """A person is found by email prefix; a sync shows an edit without a reload; an erasure removes the person."""
    served.identify(JOHN, preferred_name="Johnny", plan={"name": "pro"})
    operator.goto(f"{served.url}/dashboard")
    operator.get_by_role("link", name="People").click()
    expect(operator.get_by_text(JOHN)).to_have_count(0)
    operator.get_by_label("Email or user ID").fill("JOHN.doe")
    operator.keyboard.press("Enter")

    expect(operator.get_by_role("heading", name=JOHN)).to_be_visible()
    expect(operator.get_by_role("heading", name="Up to date")).to_be_visible()
    expect(operator.get_by_role("row", name="preferred_name Preferred name")).to_contain_text("Up to date")
    edit(served, JOHN, preferred_name="Edited")
    operator.get_by_role("button", name="Sync now").click()
    expect(operator.get_by_role("status")).to_contain_text("Queued before all others")
    expect(operator.get_by_role("row", name="preferred_name Preferred name")).to_contain_text(
        "Edited in ProsperStack"
    )
    assert served.values(JOHN)["preferred_name"] == "Edited"
    operator.reload()
    assert faults(operator, axe) == []

    operator.get_by_text("Overwrite edits").first.click()
    operator.get_by_label("I am sure").first.check()
    operator.get_by_role("button", name="Overwrite edits").click()
    expect(operator.get_by_role("row", name="preferred_name Preferred name")).to_contain_text("Up to date")
    assert served.values(JOHN)["preferred_name"] == "Johnny"

    operator.get_by_text("Erase person").first.click()
    operator.get_by_label("I am sure").last.check()
    operator.get_by_role("button", name="Erase person").click()
    expect(operator.get_by_role("status")).to_contain_text("is erased in this service")


def test_problem_leads_to_the_person(operator: Page, served: Site) -> None:
    """A problem leads to the person who has it, has a solution, and disappears when the value is valid."""
    served.identify(JOHN, number_of_contacts="many")
    operator.goto(f"{served.url}/dashboard")
    operator.get_by_role("navigation", name="Account pages").get_by_role("link", name="Problems").click()
    expect(operator.get_by_role("heading", name="number_of_contacts")).to_be_visible()
    operator.get_by_role("link", name="j…@example.com").click()
    expect(operator.get_by_role("heading", name="One property cannot be delivered")).to_be_visible()

    served.identify(JOHN, number_of_contacts=12)
    expect(operator.get_by_role("heading", name="Up to date", exact=True)).to_be_visible()
    expect(operator.get_by_role("heading", name="One property cannot be delivered")).to_have_count(0)
    operator.get_by_role("navigation", name="Account pages").get_by_role("link", name="Problems").click()
    expect(operator.get_by_role("heading", name="No problems")).to_be_visible()

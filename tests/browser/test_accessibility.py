"""Tests of every page with axe-core: WCAG 2.2 A and AA, in light and dark, on a wide and a narrow screen."""

from typing import Any

import pytest
from playwright.sync_api import Browser

from browser.conftest import NARROW, WIDE, Site, faults, log_in

#: Pages of an account, and those of none.
PAGES = (
    *("overview", "segment", "segment/connect", "segment/by-hand/webhook", "segment/by-hand/sdk"),
    *("mapping", "mapping/edit", "mapping/calls", "mapping/history"),
    *("calls", "calls/1", "people", "people?show=all", "people/1"),
    *("problems", "problems/replay", "settings", "people/99"),
)
OTHERS = ("/dashboard/accounts",)


@pytest.mark.parametrize("looks", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_pages_pass_axe(browser: Browser, served: Site, axe: str, size: Any, looks: Any) -> None:
    """axe finds no fault on any page."""
    served.identify("john.doe@example.com", preferred_name="Jo", number_of_contacts="many", loose="x")
    context = browser.new_context(viewport=size, color_scheme=looks)
    page = context.new_page()
    page.goto(f"{served.url}/dashboard/login")
    found = {"login": faults(page, axe)}
    log_in(page, served)
    page.wait_for_url("**/overview")
    home = page.url.removesuffix("overview")
    for each in (*(home + name for name in PAGES), *(served.url + path for path in OTHERS)):
        page.goto(each)
        found[each] = faults(page, axe)
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"], each
    context.close()

    assert {name: said for name, said in found.items() if said} == {}

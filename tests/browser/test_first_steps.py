"""Tests of a new operator in a browser: from the first start to the first delivered call."""

import re

from playwright.sync_api import BrowserContext, Page, expect

from browser.conftest import NARROW, Site, log_in

JOHN = "john.doe@example.com"


def test_first_call_is_delivered_without_reload(context: BrowserContext, fresh: Site) -> None:
    """After the login with the printed password a call arrives and is delivered without a reload."""
    page = context.new_page()
    log_in(page, fresh, fresh.printed_password)
    expect(page.get_by_role("heading", name="Accounts")).to_be_visible()
    fresh.identify(JOHN, preferred_name="Johnny")
    page.goto(f"{fresh.url}/dashboard")

    expect(page.get_by_role("heading", name="Everything is delivered to ProsperStack")).to_be_visible()
    fresh.identify(JOHN, preferred_name="Jo")
    expect(page.locator(".figure", has_text="Calls accepted").locator("strong")).to_have_text("2")
    expect(page.locator(".figure", has_text="Properties delivered")).to_contain_text("in 2 updates")
    assert fresh.values(JOHN)["preferred_name"] == "Jo"


def test_wrong_password_marks_the_field(context: BrowserContext, served: Site) -> None:
    """A wrong password shows an error, and marks the field for assistive technology."""
    page = context.new_page()
    log_in(page, served, "guess")

    expect(page.get_by_role("alert")).to_have_text("Wrong password.")
    expect(page.get_by_label("Password")).to_have_attribute("aria-invalid", "true")


def test_logout_closes_every_page(operator: Page, served: Site) -> None:
    """After a logout every page needs a login, also by the back button."""
    served.identify(JOHN, preferred_name="Jo")
    operator.goto(f"{served.url}/dashboard")
    operator.get_by_role("button", name="Log out").click()
    expect(operator.get_by_role("heading", name="Log in")).to_be_visible()
    operator.go_back()
    operator.reload()

    expect(operator.get_by_role("heading", name="Log in")).to_be_visible()


def test_form_without_csrf_token_does_nothing(operator: Page, served: Site) -> None:
    """A form without the session's token does nothing, and shows advice."""
    served.identify(JOHN, preferred_name="Jo")
    operator.goto(f"{served.url}/dashboard")
    operator.evaluate("document.querySelector('.logout [name=csrf]').value = 'forged'")
    operator.get_by_role("button", name="Log out").click()

    expect(operator.locator("main")).to_contain_text("Reload the page")
    operator.goto(f"{served.url}/dashboard")
    expect(operator.get_by_role("heading", name="Overview")).to_be_visible()


def test_progress_of_first_sync_updates_itself(operator: Page, served: Site) -> None:
    """During a first sync the bar, the number left and the estimate update themselves."""
    served.enter("is_professional", served.subscribers(300))
    operator.goto(f"{served.url}/dashboard")
    bar = operator.get_by_role("progressbar")
    expect(operator.get_by_role("heading", name=re.compile(r"\d+ people waiting for delivery"))).to_be_visible()
    expect(operator.locator(".progress")).to_contain_text(re.compile(r"(About|At most) .* left, \d+ requests"))
    before = int(bar.get_attribute("value") or 0)

    operator.wait_for_function(
        "(before) => Number(document.querySelector('progress').getAttribute('value')) > before",
        arg=before,
        timeout=60_000,  # as long as a window of the rate limit
    )
    expect(operator.locator(".figure", has_text="Requests left")).to_contain_text("of 100")


def test_pages_work_by_keyboard(operator: Page, served: Site) -> None:
    """Tab reaches the page and the menu; Enter opens, Escape closes."""
    served.identify(JOHN, preferred_name="Jo")
    operator.goto(f"{served.url}/dashboard")
    operator.keyboard.press("Tab")
    expect(operator.get_by_role("link", name="Skip to content")).to_be_focused()
    operator.keyboard.press("Tab")
    operator.keyboard.press("Tab")
    operator.keyboard.press("Enter")
    expect(operator.get_by_role("link", name="All accounts")).to_be_visible()
    operator.keyboard.press("Escape")

    expect(operator.get_by_role("link", name="All accounts")).to_be_hidden()
    expect(operator.locator("details.switch summary")).to_be_focused()


def test_pages_fit_a_narrow_screen(operator: Page, served: Site) -> None:
    """No page is wider than a narrow screen."""
    served.identify(JOHN, preferred_name="Jo")
    operator.set_viewport_size(NARROW)
    operator.goto(f"{served.url}/dashboard")

    assert operator.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]

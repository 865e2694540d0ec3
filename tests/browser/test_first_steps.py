"""A new operator: from the first start to the first delivered call."""

import re

from playwright.sync_api import BrowserContext, Page, expect

from browser.conftest import NARROW, Site, log_in

JOHN = "john.doe@example.com"


def test_from_the_first_start_to_the_first_delivered_call(context: BrowserContext, fresh: Site) -> None:
    """With the password that was printed one gets in, and sees a call arrive and be delivered without reloading."""
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


def test_a_wrong_password(context: BrowserContext, served: Site) -> None:
    """A wrong password is said to be one, and the field is marked for those who do not see it."""
    page = context.new_page()
    log_in(page, served, "guess")

    expect(page.get_by_role("alert")).to_have_text("Wrong password.")
    expect(page.get_by_label("Password")).to_have_attribute("aria-invalid", "true")


def test_logging_out(operator: Page, served: Site) -> None:
    """Who logs out has to log in again, whatever page they go back to."""
    served.identify(JOHN, preferred_name="Jo")
    operator.goto(f"{served.url}/dashboard")
    operator.get_by_role("button", name="Log out").click()
    expect(operator.get_by_role("heading", name="Log in")).to_be_visible()
    operator.go_back()
    operator.reload()

    expect(operator.get_by_role("heading", name="Log in")).to_be_visible()


def test_a_form_of_another_site(operator: Page, served: Site) -> None:
    """A form without the session's own token does nothing, and says what to do."""
    served.identify(JOHN, preferred_name="Jo")
    operator.goto(f"{served.url}/dashboard")
    operator.evaluate("document.querySelector('.logout [name=csrf]').value = 'forged'")
    operator.get_by_role("button", name="Log out").click()

    expect(operator.locator("main")).to_contain_text("Reload the page")
    operator.goto(f"{served.url}/dashboard")
    expect(operator.get_by_role("heading", name="Overview")).to_be_visible()


def test_the_progress_of_a_first_sync(operator: Page, served: Site) -> None:
    """While an audience is written the bar moves by itself, and tells how many are left and until when."""
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


def test_by_keyboard_alone(operator: Page, served: Site) -> None:
    """Tab leads to the page first, then through the menu; Enter opens, Escape closes."""
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


def test_on_a_telephone(operator: Page, served: Site) -> None:
    """Nothing is wider than a narrow screen."""
    served.identify(JOHN, preferred_name="Jo")
    operator.set_viewport_size(NARROW)
    operator.goto(f"{served.url}/dashboard")

    assert operator.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]

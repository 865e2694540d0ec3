"""Tests of marketers and developers at work, in a browser."""

from playwright.sync_api import Page, expect

from browser.conftest import Site

JOHN = "john.doe@example.com"
#: What would run, if any page took it for anything but text.
HOSTILE = "<script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">'\"{{7*7}}"


def test_trait_is_mapped_by_one_click(operator: Page, served: Site) -> None:
    """An unmapped trait is mapped by one click, tried, applied, and delivered."""
    served.identify(JOHN, contactCount=4711)
    operator.goto(f"{served.url}/dashboard")
    operator.get_by_role("link", name="Mapping").click()
    operator.get_by_role("button", name="Map contactCount to number_of_contacts").click(timeout=60_000)
    expect(operator.get_by_role("heading", name="Edit the mapping")).to_be_visible()
    operator.get_by_label("Email of a person").fill(JOHN)
    expect(operator.locator("#trial")).to_contain_text("4711")
    operator.get_by_role("button", name="Preview for all profiles").click()
    operator.get_by_role("button", name="Apply").click()
    operator.wait_for_url("**/mapping")
    operator.get_by_role("link", name="Overview").click()
    expect(operator.get_by_role("heading", name="Everything is delivered to")).to_be_visible(timeout=60_000)

    assert served.values(JOHN)["number_of_contacts"] == 4711


def test_hostile_values_run_no_script(operator: Page, served: Site) -> None:
    """Scripts in names, values, emails, IDs and sources never run, and show as text."""
    for each in ("\"<script>document.title='taken'</script>\"@example.com", JOHN):
        traits = {"email": each, HOSTILE: HOSTILE, "number_of_contacts": HOSTILE}
        context = {"library": {"name": HOSTILE}}
        served.send({"userId": HOSTILE, "projectId": HOSTILE, "context": context, "traits": traits})
    served.enter(HOSTILE[:60], [JOHN])
    operator.goto(f"{served.url}/dashboard")
    operator.wait_for_url("**/overview")
    home = operator.url.removesuffix("overview")
    for page in (*PAGES, f"people?q={JOHN}", "mapping/edit", "calls?reveal=true"):
        operator.goto(home + page)
        operator.wait_for_load_state("load")
        expect(operator).not_to_have_title("taken")
        assert operator.locator("img[src=x]").count() == 0, page
        assert operator.locator("script:not([src])").count() == 0, page
    expect(operator.locator("#calls")).to_contain_text("<script>")


#: Pages of an account.
PAGES = ("overview", "segment", "mapping", "calls", "people", "problems", "settings")

"""Tests of the code editor of the mapping file, and of the order of transforms, in a browser."""

from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, Response, expect

from browser.conftest import NARROW, WIDE, Site, faults, log_in

RULE = "rules:\n  - property: preferred_name\n    trait: nickname\n"
#: Maximum weight of the page with all its files, in bytes on the wire.
MAX_WEIGHT = 200_000


@pytest.fixture
def editor(operator: Page, served: Site) -> Locator:
    """The editor on the page of a new draft."""
    return opened(operator, served)


def open_page(page: Page, served: Site) -> None:
    """Open the page of the editor."""
    served.identify("john.doe@example.com", nickname="Jo")
    page.goto(f"{served.url}/dashboard")
    page.wait_for_url("**/overview")
    page.goto(page.url.replace("overview", "mapping/edit"))


def opened(page: Page, served: Site) -> Locator:
    """Discard the draft, open the editor, and empty it."""
    open_page(page, served)
    page.get_by_role("button", name="Discard draft").click()
    page.wait_for_url("**/mapping")
    page.goto(f"{page.url}/edit")
    editor = page.get_by_role("textbox", name="The mapping as YAML")
    editor.focus()
    page.keyboard.press("Control+a")
    page.keyboard.press("Delete")
    return editor


def write(page: Page, text: str) -> None:
    """Write a text into the editor, and wait until the service saved it."""
    with page.expect_response("**/mapping/preview"):
        page.keyboard.insert_text(text)


def offered(page: Page) -> Locator:
    """Return the words that the completion offers."""
    return page.locator(".CodeMirror-hints").get_by_role("option")


def draft(page: Page) -> str:
    """Return the text that the form would send."""
    return page.locator("#draft").input_value()


@pytest.mark.usefixtures("editor")
def test_completion_offers_keys_of_the_schema(operator: Page) -> None:
    """A key of a rule is completed by Enter, and the value of an option is offered."""
    write(operator, f"{RULE}    ")
    operator.keyboard.type("tri")
    expect(offered(operator)).to_have_count(1)  # and not trait, which starts with "tra"
    expect(offered(operator)).to_contain_text("Remove spaces")
    operator.keyboard.press("Enter")
    operator.keyboard.type("t")
    expect(offered(operator)).to_have_text(["true"])
    operator.keyboard.press("Enter")
    expect(operator.locator("#trial")).not_to_contain_text("error")

    assert draft(operator) == f"{RULE}    trim: true"


@pytest.mark.usefixtures("editor")
def test_completion_offers_properties_of_the_account(operator: Page) -> None:
    """The key of a property that ProsperStack has is offered for a rule, and none twice."""
    write(operator, "rules:\n  - property: ")
    operator.keyboard.press("Control+Space")
    expect(offered(operator).filter(has_text="number_of_contacts")).to_have_count(1)
    expect(offered(operator).filter(has_text="trim")).to_have_count(0)


@pytest.mark.usefixtures("editor")
def test_complete_words_are_not_completed(operator: Page) -> None:
    """Enter after a whole word starts a new line, below the key above it."""
    operator.keyboard.type("rules:")
    operator.keyboard.press("Enter")
    operator.keyboard.type("- property: preferred_name")
    expect(offered(operator)).to_have_count(0)
    operator.keyboard.press("Enter")
    operator.keyboard.type("trait: x")

    assert draft(operator) == "rules:\n  - property: preferred_name\n    trait: x"


def test_error_is_marked_at_its_line(operator: Page, editor: Locator) -> None:
    """The line of an error has a mark with the message, and the list of errors leads to it."""
    write(operator, f"{RULE}    trimm: true\n")
    marked = operator.locator(".CodeMirror-gutter-wrapper", has=operator.locator(".CodeMirror-lint-marker-error"))
    expect(marked).to_have_text("4")
    expect(operator.locator(".CodeMirror-lint-mark-error").first).to_have_text("trimm")
    operator.locator(".CodeMirror-lint-marker-error").hover()
    expect(operator.locator(".CodeMirror-lint-tooltip")).to_contain_text("trim")
    operator.get_by_role("link", name="line 4").click()
    expect(editor).to_be_focused()
    with operator.expect_response("**/mapping/preview"):
        operator.keyboard.press("Control+Delete")
        operator.keyboard.type("trim")
        operator.keyboard.press("Escape")
    expect(operator.locator(".CodeMirror-lint-marker-error")).to_have_count(0)

    assert draft(operator) == f"{RULE}    trim: true\n"


@pytest.mark.usefixtures("editor")
def test_text_of_the_editor_is_saved_and_applied(operator: Page) -> None:
    """The editor's text is the stored draft; it is reviewed, with the bar of the draft, and applied."""
    write(operator, RULE)
    operator.goto(operator.url)
    assert draft(operator) == RULE
    operator.get_by_role("button", name="Preview for all profiles").click()
    expect(operator.get_by_role("heading", name="Review the draft")).to_be_visible()
    expect(operator.locator(".draft-bar")).to_contain_text("1 rule or option changed")
    operator.get_by_role("button", name="Apply").click()
    operator.wait_for_url("**/mapping")
    exported = operator.request.get(f"{operator.url}/export").text()

    assert "property: preferred_name\n    trait: nickname" in exported


def test_keyboard_leaves_the_editor(operator: Page, editor: Locator) -> None:
    """Tab indents, and moves the focus out of the editor after Escape."""
    operator.keyboard.press("Tab")
    expect(editor).to_be_focused()
    assert draft(operator) == "  "
    operator.keyboard.press("Escape")
    operator.keyboard.press("Tab")
    expect(editor).not_to_be_focused()

    assert draft(operator) == "  "


@pytest.mark.usefixtures("editor")
def test_imported_file_is_in_the_editor(operator: Page) -> None:
    """A file that is imported replaces the text of the editor."""
    operator.get_by_label("Import a file").set_input_files(
        {"name": "m.yaml", "mimeType": "text/yaml", "buffer": RULE.encode()}
    )
    expect(operator.locator(".CodeMirror-code")).to_contain_text("nickname")

    assert draft(operator) == RULE


def test_text_field_works_without_scripts(browser: Browser, served: Site) -> None:
    """Without scripts the mapping is written into a text field and reviewed."""
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    log_in(page, served)
    open_page(page, served)
    page.get_by_label("The mapping as YAML").fill(f"# by hand\n{RULE}")
    page.get_by_role("button", name="Preview for all profiles").click()
    expect(page.locator(".diff")).to_contain_text("# by hand")
    context.close()


@pytest.mark.parametrize("looks", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_open_editor_passes_axe(browser: Browser, served: Site, axe: str, size: Any, looks: Any) -> None:
    """axe finds no fault with an error marked and the completion open, and the page does not overflow."""
    context = browser.new_context(viewport=size, color_scheme=looks)
    page = context.new_page()
    log_in(page, served)
    opened(page, served)
    write(page, f"# a comment\nforgiving_names: true\n{RULE}    scale: 0.01\n    trimm: true\n    ")
    expect(page.locator(".CodeMirror-lint-marker-error")).to_be_visible()
    page.locator(".CodeMirror").evaluate("each => each.scrollIntoView({block: 'center'})")
    page.keyboard.press("Control+Space")
    expect(offered(page).first).to_be_visible()
    found = faults(page, axe)
    width = page.evaluate("document.documentElement.scrollWidth")
    context.close()

    assert (found, width) == ([], size["width"])


def test_page_is_light(operator: Page, served: Site) -> None:
    """The editor's page with all its files weighs less than 200 KB on the wire."""
    loaded: list[Response] = []
    open_page(operator, served)
    operator.on("response", lambda response: loaded.append(response))
    with operator.expect_response("**/mapping/preview"):
        operator.reload()
    operator.wait_for_load_state("networkidle")

    sizes = {each.url: each.request.sizes()["responseBodySize"] for each in loaded}
    assert any("codemirror" in url for url in sizes)
    assert sum(sizes.values()) < MAX_WEIGHT, sizes


@pytest.mark.usefixtures("editor")
def test_transforms_are_ordered_by_dragging(operator: Page) -> None:
    """A transform that is dragged above another one runs before it in the rule."""
    operator.get_by_label("Property", exact=True).select_option("preferred_name")
    operator.get_by_label("Exact name of the trait").fill("nickname")
    operator.get_by_label("Transform 1", exact=True).select_option("trim")
    operator.get_by_label("Transform 2", exact=True).select_option("upper")
    write(operator, "rules: []\n")
    rows = operator.locator(".clean")
    rows.nth(1).locator(".handle").drag_to(rows.nth(0).locator("select"))
    assert [each.input_value() for each in rows.locator("select").all()] == ["upper", "trim", ""]
    operator.get_by_role("button", name="Put rule into file").click()
    operator.wait_for_load_state()

    text = draft(operator)
    assert 0 < text.index("upper") < text.index("trim")

"""Tests of the page of the API document, in a browser."""

from playwright.sync_api import BrowserContext, Page, expect

from browser.conftest import Site, log_in


def test_api_document_can_be_tried(context: BrowserContext, served: Site) -> None:
    """The document is shown and an operation runs, without another host and within the policy."""
    asked: list[str] = []
    page = context.new_page()
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{served.url}/docs")
    expect(page.get_by_role("heading", name="ProsperStack Destination")).to_be_visible()
    operation = page.locator(".opblock").filter(has_text="/healthz").first
    operation.locator(".opblock-summary-control").click()
    operation.get_by_role("button", name="Try it out").click()
    operation.get_by_role("button", name="Execute").click()
    expect(operation.locator(".live-responses-table .response-col_status").last).to_contain_text("200")

    assert f"{served.url}/openapi.json" in asked
    assert [url for url in asked if not url.startswith((served.url, "data:", "blob:"))] == []


def test_pages_load_from_this_service_only(context: BrowserContext, served: Site) -> None:
    """Every page loads its resources from this service."""
    served.identify("john.doe@example.com", preferred_name="Johnny")
    asked: list[str] = []
    page: Page = context.new_page()
    page.on("request", lambda request: asked.append(request.url))
    log_in(page, served)
    links = [link.get_attribute("href") or "" for link in page.get_by_role("link").all()]
    pages = [*sorted({each for each in links if each.startswith("/")}), "/docs", "/redoc"]
    for path in pages:
        page.goto(f"{served.url}{path}")

    assert len(pages) > 6
    assert [url for url in asked if not url.startswith((served.url, "data:"))] == []

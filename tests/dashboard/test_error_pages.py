"""Tests of error pages."""

import pytest

from dashboard.conftest import Dashboard

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("page", "back"),
    [("people/99", "people"), ("calls/99", "calls"), ("mapping/history/9", "mapping"), ("nothing", "")],
)
async def test_error_page_has_menu_and_way_back(dashboard: Dashboard, page: str, back: str) -> None:
    """The error page of an account has its menu, and leads back to the section."""
    answer = await dashboard.get(page)

    assert answer.status_code == 404
    assert f'<a class="button" href="{dashboard.home}/{back}">' in answer.text or not back
    assert (f'href="{dashboard.home}/problems"' in answer.text) is bool(back)
    assert "All accounts" in answer.text


async def test_unknown_account_leads_to_the_list(dashboard: Dashboard) -> None:
    """The error page of an unknown account leads to the list of accounts."""
    answer = await dashboard.client.get("/dashboard/a/acct_none/overview")

    assert answer.status_code == 404
    assert f'href="{dashboard.home}/overview"' in answer.text
    assert '<a class="button" href="/dashboard">' in answer.text


async def test_refused_form_has_a_page_with_menu(dashboard: Dashboard) -> None:
    """A form without the session's token is refused on a page with the menu."""
    answer = await dashboard.client.post(f"{dashboard.home}/mapping/apply", data={"csrf": "forged"})

    assert answer.status_code == 403
    assert f'<a class="button" href="{dashboard.home}/mapping">' in answer.text

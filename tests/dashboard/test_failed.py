"""Pages that say what went wrong."""

import pytest

from dashboard.conftest import Dashboard

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("page", "back"),
    [("people/99", "people"), ("calls/99", "calls"), ("mapping/history/9", "mapping"), ("nothing", "")],
)
async def test_the_way_on(dashboard: Dashboard, page: str, back: str) -> None:
    """What is not there says so beside the menu of its account, and leads back to where it would be."""
    answer = await dashboard.get(page)

    assert answer.status_code == 404
    assert f'<a class="button" href="{dashboard.home}/{back}">' in answer.text or not back
    assert (f'href="{dashboard.home}/problems"' in answer.text) is bool(back)
    assert "All accounts" in answer.text


async def test_an_account_that_is_not_there(dashboard: Dashboard) -> None:
    """It leads to the others."""
    answer = await dashboard.client.get("/dashboard/a/acct_none/overview")

    assert answer.status_code == 404
    assert f'href="{dashboard.home}/overview"' in answer.text
    assert '<a class="button" href="/dashboard">' in answer.text


async def test_a_form_that_is_refused(dashboard: Dashboard) -> None:
    """A form without the session's token is refused on a page with the menu."""
    answer = await dashboard.client.post(f"{dashboard.home}/mapping/apply", data={"csrf": "forged"})

    assert answer.status_code == 403
    assert f'<a class="button" href="{dashboard.home}/mapping">' in answer.text

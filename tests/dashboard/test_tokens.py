"""Tests of API tokens on the page of all accounts."""

import re

import pytest

from dashboard.conftest import Dashboard
from dashboard.pages import HOSTILE, checked

pytestmark = pytest.mark.anyio

PAGE = "/dashboard/accounts"


async def issue(dashboard: Dashboard, name: str) -> str:
    """The page that answers the form."""
    form = {"csrf": await dashboard.csrf(), "name": name}
    return (await dashboard.client.post("/dashboard/tokens", data=form)).text


async def revoke(dashboard: Dashboard, fingerprint: str, **fields: str) -> int:
    form = {"csrf": await dashboard.csrf(), "which": fingerprint, **fields}
    return (await dashboard.client.post("/dashboard/tokens/revoke", data=form)).status_code


async def test_token_is_shown_once_and_revoked(dashboard: Dashboard) -> None:
    """A token is shown once, opens the API, and is refused after a confirmed revocation."""
    assert "No API token exists yet" in (await dashboard.client.get(PAGE)).text
    page = await issue(dashboard, "ci")
    found = re.search(r"pso_[\w-]+", page)
    assert found is not None
    headers = {"Authorization": f"Bearer {found[0]}"}

    listed = (await dashboard.client.get(PAGE)).text
    assert found[0] not in listed
    assert (await dashboard.client.get("/api/accounts", headers=headers)).status_code == 200
    which = re.search(r'name="which" value="(\w+)"', listed)
    assert which is not None
    assert await revoke(dashboard, which[1]) == 422
    assert await revoke(dashboard, which[1], sure="yes") == 303
    assert (
        await dashboard.client.get("/api/accounts", headers=headers)
    ).status_code == 403  # there is no other one
    assert await revoke(dashboard, which[1], sure="yes") == 303
    assert "The token does not exist" in (await dashboard.client.get(PAGE)).text


async def test_token_needs_a_name(dashboard: Dashboard) -> None:
    """A token without a name is refused, with the reason."""
    assert "A token needs a name" in await issue(dashboard, " ")


async def test_hostile_names_stay_text(dashboard: Dashboard) -> None:
    """Names of any kind stay text."""
    for each in HOSTILE:
        await issue(dashboard, each)
    page = checked(await dashboard.client.get(PAGE))

    assert "<script>alert(1)</script>" in page.text

"""Tests of the settings of an account, and of the page of all accounts."""

import re

import httpx
import pytest
from sqlalchemy import Connection

from dashboard.conftest import Dashboard
from prosperstack_destination.auth import credentials as issuing
from prosperstack_destination.auth.credentials import new_account
from prosperstack_destination.auth.vault import Vault
from prosperstack_destination.clock import system_clock
from prosperstack_destination.store import accounts
from prosperstack_destination.store.database import Database
from support.operators import add_token

pytestmark = pytest.mark.anyio


async def test_key_is_shown_once_and_revoked(dashboard: Dashboard) -> None:
    """An issued key is shown once, and works until it is revoked."""
    issued = await dashboard.post("settings/issue", kind="key", name="Website <b>")
    key = re.search(r"psd_[\w-]+", issued.text)
    assert key is not None
    again = await dashboard.get("settings")
    works = await dashboard.service.identify("a@b.c", key=key[0])
    which = re.findall(r"<code>([0-9a-f]{8})</code>", again.text)[0]
    unsure = await dashboard.post("settings/revoke", kind="key", which=which)
    revoked = await dashboard.post("settings/revoke", kind="key", which=which, sure="yes")
    refused = await dashboard.service.identify("a@b.c", key=key[0])

    assert key[0] not in again.text
    assert "Website &lt;b&gt;" in again.text
    assert (works.status_code, unsure.status_code, revoked.status_code, refused.status_code) == (202, 422, 303, 401)


async def test_public_key_has_its_origins(dashboard: Dashboard) -> None:
    """A public key is listed with its origins; invalid origins are refused."""
    typed = "https://app.example.com, http://localhost:3000"
    issued = await dashboard.post("settings/issue", kind="public-key", name="Web", origins=typed)
    for_apps = await dashboard.post("settings/issue", kind="public-key", name="Apps", origins="")
    wrong = await dashboard.post("settings/issue", kind="public-key", name="Wrong", origins="app.example.com")
    page = (await dashboard.get("settings")).text

    assert re.search(r"psp_[\w-]+", issued.text)
    assert re.search(r"psp_[\w-]+", for_apps.text)
    assert "public, for pages of <code>https://app.example.com</code>, <code>http://localhost:3000</code>" in page
    assert "public, for apps" in page
    assert wrong.status_code == 422
    assert "is not an origin" in wrong.text
    assert "Wrong" not in page


@pytest.mark.parametrize(
    ("kind", "shown"), [("secret", r"/webhook/acct_"), ("connector", r"/data-connector/psc_[\w-]+")]
)
async def test_secrets_and_connectors_have_urls(dashboard: Dashboard, kind: str, shown: str) -> None:
    """Issued secrets and connectors have their URLs, and are in the audit log."""
    issued = await dashboard.post("settings/issue", kind=kind, name="one")

    assert re.search(shown, issued.text)
    assert f"issue {kind}" in (await dashboard.get("settings")).text
    assert (await dashboard.post("settings/issue", kind="nonsense")).status_code == 422


async def test_settings_are_saved_or_refused(dashboard: Dashboard) -> None:
    """The reserve and the effect of a deletion are saved; invalid numbers are refused."""
    saved = await dashboard.post("settings/choices", reserve="25 %", on_delete="nothing")
    page = (await dashboard.get("settings")).text
    wrong = [
        (await dashboard.post("settings/choices", reserve=each, on_delete="nothing")).status_code
        for each in ("lots", "100", "-1", "nan")
    ]

    assert saved.status_code == 303
    assert 'value="25"' in page
    assert '<option value="nothing" selected>' in page
    both = {"reserve": "25", "on_delete": "nothing", "hold_unknown": "all", "time_zone": "Europe/Berlin"}
    assert (await dashboard.post("settings/choices", **both)).status_code == 303
    page = (await dashboard.get("settings")).text
    assert '<option value="all" selected>' in page
    assert 'value="Europe/Berlin"' in page
    refused = await dashboard.post("settings/choices", **{**both, "time_zone": "Berlin"})
    assert (refused.status_code, "did you mean" in refused.text) == (422, True)
    assert wrong == [422] * 4
    assert (await dashboard.post("settings/choices", reserve="", on_delete="clear")).status_code == 303
    assert 'value="25"' not in (await dashboard.get("settings")).text


async def test_key_of_another_mode_or_account_is_refused(dashboard: Dashboard) -> None:
    """A key of another mode or account is refused, and no key is shown."""
    await dashboard.service.identify("a@b.c", key="key_test_other")
    keys = dashboard.service.sandbox_app.state.accounts
    keys["key_test_new_one"] = keys["key_test_sandbox"]
    bad = ("key_x", "sk_1", "key_test_other", "key_test_mistyped")
    wrong = [await dashboard.post("settings/prosperstack-key", key=key) for key in bad]
    right = await dashboard.post("settings/prosperstack-key", key="key_test_new_one")

    assert [each.status_code for each in wrong] == [422] * 4
    assert right.status_code == 303
    assert "key_test_new_one" not in (await dashboard.get("settings")).text


async def test_account_is_opened_with_an_accepted_key(dashboard: Dashboard) -> None:
    """Live and test accounts are listed apart; only a key that ProsperStack accepts opens one."""
    csrf = await dashboard.csrf()
    keys = dashboard.service.sandbox_app.state.accounts
    keys["key_live_one"] = keys["key_test_other"]

    async def opened(key: str) -> httpx.Response:
        return await dashboard.client.post("/dashboard/accounts", data={"csrf": csrf, "key": key})

    wrong, mistyped = await opened("nonsense"), await opened("key_test_mistyped")
    live = await opened("key_live_one")
    page = (await dashboard.client.get("/dashboard/accounts")).text

    assert (wrong.status_code, mistyped.status_code, live.status_code) == (422, 422, 303)
    assert "refuses the API key" in mistyped.text
    assert page.index("Live mode") < page.index("Test mode")
    assert "key_live_one" not in page
    assert (
        "was already open" in (await dashboard.client.get((await opened("key_live_one")).headers["location"])).text
    )


async def test_account_removal_needs_confirmation(dashboard: Dashboard) -> None:
    """An account is removed after a confirmation; others stay."""
    await dashboard.service.identify("a@b.c", key="key_test_other")
    unsure = await dashboard.post("settings/remove")
    sure = await dashboard.post("settings/remove", sure="yes")
    page = (await dashboard.client.get("/dashboard/accounts")).text

    assert (unsure.status_code, sure.status_code) == (422, 303)
    assert "Tick “I am sure”" in unsure.text
    assert sure.headers["location"].endswith("/dashboard/accounts")
    assert "is removed" in page
    assert dashboard.account_id not in page
    assert len(set(re.findall(r"/dashboard/a/(acct_[\w-]+)/overview", page))) == 1


async def test_key_of_another_account_is_not_revoked(dashboard: Dashboard) -> None:
    """The page of one account revokes no credential of another."""
    await dashboard.service.identify("a@b.c", key="key_test_other")
    page = (await dashboard.client.get("/dashboard/accounts")).text
    [other] = set(re.findall(r"/dashboard/a/(acct_[\w-]+)/overview", page)) - {dashboard.account_id}
    csrf = await dashboard.csrf()
    form = {"csrf": csrf, "kind": "key", "name": "theirs"}
    await dashboard.client.post(f"/dashboard/a/{other}/settings/issue", data=form)
    theirs = (await dashboard.client.get(f"/dashboard/a/{other}/settings")).text
    which = re.findall(r"<code>([0-9a-f]{8})</code>", theirs)[0]

    answer = await dashboard.post("settings/revoke", kind="key", which=which, sure="yes")

    assert answer.status_code == 404
    assert "has no valid key" in answer.text


async def test_pages_with_many_rows_stay_small(dashboard: Dashboard, stored: Database) -> None:
    """With many keys, tokens and accounts pages stay small, with active ones first."""

    def many(connection: Connection) -> None:
        account = accounts.get(connection, dashboard.account_id)
        assert account is not None
        vault = Vault("nothing that is read")
        for number in range(300):
            issuing.issue_key(connection, account, f"key {number}", "ann", system_clock() + number)
            add_token(connection, f"token {number}", system_clock() + number)
            accounts.add(connection, new_account(f"key_test_{number}", vault), f"hash {number}", 0)

    await stored.write(many)
    page = await dashboard.get("settings")
    of_all = await dashboard.client.get("/dashboard/accounts")
    found = await dashboard.client.get(f"/dashboard/accounts?q={dashboard.account_id}")
    nobody = await dashboard.client.get("/dashboard/accounts?q=nothing")

    for each in (page, of_all):
        assert len(each.content) < 100_000
    assert "Showing 50 of 301" in page.text
    assert "key 299" in page.text
    assert "Showing the newest 50 of 300" in of_all.text
    assert "Showing 100 of 301" in of_all.text
    assert found.text.count("Properties listed</th>") == 1
    assert f'<td><a href="{dashboard.home}/overview">' in found.text
    assert "No account matches" in nobody.text

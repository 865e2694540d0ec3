"""Tests of the API of accounts."""

from pathlib import Path

import httpx
import pytest

from prosperstack_destination.settings import Role
from support.operators import issued, operator
from support.service import Service, running, settings

pytestmark = pytest.mark.anyio

ACCOUNTS = "http://service/api/accounts"


def itself(api: httpx.AsyncClient) -> str:
    """The URL of the account that is asked about."""
    return str(api.base_url).rstrip("/")


async def test_accounts_are_listed_and_found(api: httpx.AsyncClient) -> None:
    """Accounts are listed, and found by ID and fingerprint; unknown ones are not found."""
    [account] = (await api.get(ACCOUNTS)).json()
    shown = (await api.get(f"{ACCOUNTS}/{account['fingerprint']}")).json()

    assert (account["live"], account["status"], account["next_attempt_at"]) == (False, "active", None)
    assert (account["on_delete"], account["reserve"], account["reserve_in_force"]) == ("clear", None, 0.1)
    assert shown == account
    assert (await api.get(f"{ACCOUNTS}/acct_none")).status_code == 404


async def test_account_is_opened_once_for_a_key(service: Service, api: httpx.AsyncClient) -> None:
    """A ProsperStack key opens an account once; the key is never returned."""
    opened = await api.post(ACCOUNTS, json={"key": "key_test_other"})
    again = await api.post(ACCOUNTS, json={"key": "key_test_other"})
    wrong = await api.post(ACCOUNTS, json={"key": "sk_wrong"})
    long = await api.post(ACCOUNTS, json={"key": "key_" + "x" * 600})
    new = f"{ACCOUNTS}/{opened.json()['id']}"
    while (listed := (await api.get(new)).json())["properties_listed_at"] is None:  # it is woken
        pass

    assert (opened.status_code, again.status_code) == (201, 200)
    assert again.json()["id"] == opened.json()["id"] == listed["id"]
    assert (wrong.status_code, long.status_code) == (422, 422)
    assert not any("sk_wrong" in each.text or "xxx" in each.text for each in (wrong, long))
    assert (await service.identify("ann@example.com", key="key_test_other")).status_code == 202
    assert (await api.get(f"{new}/audit")).json()[0]["actor"] == "ann"


async def test_refused_key_changes_nothing(service: Service, api: httpx.AsyncClient) -> None:
    """A key that ProsperStack refuses opens no account, and replaces no key."""
    opened = await api.post(ACCOUNTS, json={"key": "key_test_mistyped"})
    replaced = await api.put(f"{itself(api)}/key", json={"key": "key_test_mistyped"})

    assert [each.status_code for each in (opened, replaced)] == [422, 422]
    assert "refuses the API key" in opened.json()["message"]
    assert "Nothing was changed" in replaced.json()["message"]
    assert len((await api.get(ACCOUNTS)).json()) == 1
    assert (await service.identify("ann@example.com")).status_code == 202


async def test_removed_account_is_opened_again_empty(service: Service, api: httpx.AsyncClient) -> None:
    """A removed account is gone with its people; a call with its ProsperStack key opens it again, empty."""
    other = (await api.post(ACCOUNTS, json={"key": "key_test_other"})).json()
    removed = await api.delete(itself(api))
    gone = await api.get(itself(api))
    left = (await api.get(ACCOUNTS)).json()
    called = await service.identify("ann@example.com", preferred_name="Ann")
    [_, new] = (await api.get(ACCOUNTS)).json()
    people = (await api.get(f"{ACCOUNTS}/{new['id']}/profiles")).json()["profiles"]

    assert (removed.status_code, gone.status_code) == (204, 404)
    assert [each["id"] for each in left] == [other["id"]]
    assert called.status_code == 202
    assert [each["email"] for each in people] == ["ann@example.com"]


async def test_settings_are_changed_and_reset(api: httpx.AsyncClient) -> None:
    """Named settings change, null resets the reserve, and invalid values are refused."""
    reserve = (await api.patch(itself(api), json={"reserve": 0.25})).json()
    on_delete = (await api.patch(itself(api), json={"on_delete": "nothing"})).json()
    nothing = (await api.patch(itself(api), json={})).json()
    back = (await api.patch(itself(api), json={"reserve": None})).json()
    refused = [
        (await api.patch(itself(api), json=wrong)).status_code
        for wrong in ({"reserve": 1}, {"reserve": -1}, {"on_delete": "x"}, {"resreve": 0.1}, {"reserve": "NaN"})
    ]

    assert (reserve["reserve"], reserve["reserve_in_force"], reserve["on_delete"]) == (0.25, 0.25, "clear")
    assert on_delete == nothing == {**reserve, "on_delete": "nothing"}
    assert (back["reserve"], back["reserve_in_force"]) == (None, 0.1)
    assert refused == [422] * 5
    assert (await api.get(itself(api))).json() == back
    assert [each["action"] for each in (await api.get("audit")).json()].count("set") == 3
    more = await api.patch(itself(api), json={"hold_unknown": "all", "time_zone": "Asia/Tokyo"})
    assert more.json() == {**back, "hold_unknown": "all", "time_zone": "Asia/Tokyo"}
    assert (await api.patch(itself(api), json={"time_zone": "Tokyo"})).status_code == 422


async def test_costs_use_the_reserve_of_the_account(tmp_path: Path) -> None:
    """The cost of a mapping or a replay is computed with the reserve of the account."""
    token = await issued(tmp_path)
    async with running(settings(tmp_path, role=Role.RECEIVE)) as service:  # the limit is not told: 100 a minute
        await service.identify("ann@example.com", plan="x")
        async with operator(service, token) as api:
            await api.patch(itself(api), json={"reserve": 0.5})
            preview = (await api.post("mapping/preview", json={"mapping": {"rules": []}})).json()
            cost = (await api.get("replay")).json()

    assert preview["requests_per_minute"] == 50
    assert cost["most_seconds"] == pytest.approx(2 / (50 / 60))


async def test_replaced_key_activates_a_stopped_account(service: Service, api: httpx.AsyncClient) -> None:
    """A stopped account shows its reason, and works at once with another key."""
    keys = service.sandbox_app.state.accounts
    keys["key_test_new"] = keys.pop("key_test_sandbox")
    await service.identify("john.doe@example.com", preferred_name="Delivered")
    while (stopped := (await api.get(itself(api))).json())["status"] != "key_refused":
        pass
    refused = await api.put("key", json={"key": "key_live_mode"})
    tried = (await api.post("retry")).json()
    replaced = await api.put("key", json={"key": "key_test_new"})
    await service.until(
        lambda: service.values("john.doe@example.com", "key_test_new")[0].get("preferred_name") == "Delivered"
    )

    assert "ProsperStack refuses the API key" in stopped["in_words"]
    assert stopped["status_reason"]
    assert stopped["next_attempt_at"]
    assert (refused.status_code, tried) == (422, {"waited": True})
    assert replaced.status_code == 200
    assert "key_test_new" not in replaced.text
    while (await api.get(itself(api))).json()["status"] != "active":
        pass
    assert (await api.post("retry")).json() == {"waited": False}


async def test_sources_are_listed_with_audience_members(service: Service, api: httpx.AsyncClient) -> None:
    """Sources are listed; only audiences have a number of members."""
    for personas in ({"computation_class": "audience"}, {"computation_class": "trait"}):
        context = {"personas": {**personas, "computation_key": personas["computation_class"] + "_x"}}
        traits = {"email": "ann@example.com", personas["computation_class"] + "_x": True}
        call = {"type": "identify", "traits": traits, "context": context}
        await service.client.post("/identify", json=call)
    found = {each["key"]: each["members"] for each in (await api.get("sources")).json()}

    assert (found["audience_x"], found["trait_x"]) == (1, None)

"""Tests of the API of people."""

import json
from pathlib import Path

import httpx
import pytest

from prosperstack_destination.store.database import Database
from support.operators import add_token, operator
from support.service import Service, running, settings

pytestmark = pytest.mark.anyio

JOHN = "john.doe@example.com"


async def test_api_is_closed_without_tokens(service: Service) -> None:
    """Until a token is issued every request is refused, with advice."""
    answer = await service.client.get("/api/accounts", auth=None)

    assert answer.status_code == 403
    assert "tokens issue" in answer.json()["message"]


@pytest.mark.usefixtures("token")
@pytest.mark.parametrize("header", [None, "Bearer pso_wrong", "Bearer ", "Basic abc"])
async def test_request_without_valid_token_is_refused(service: Service, header: str | None) -> None:
    """A request without a valid token is refused; an inbound key is no token."""
    headers = {} if header is None else {"Authorization": header}
    answer = await service.client.get("/api/accounts", auth=None, headers=headers)

    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")


async def test_people_are_found_and_shown(service: Service, api: httpx.AsyncClient) -> None:
    """People are found by email prefix or user ID, and shown with all data."""
    call = {"userId": "u7", "traits": {"email": "Zoe@example.com", "odd": [1]}}
    await service.client.post("http://service/identify", json=call)
    first = (await api.get("profiles?limit=1")).json()
    second = (await api.get(f"profiles?limit=1&after={first['after']}")).json()
    [zoe] = (await api.get("profiles?user_id=u7")).json()["profiles"]
    [john] = (await api.get("profiles?email=JOHN")).json()["profiles"]
    shown = (await api.get(f"profiles/{john['id']}")).json()

    assert [each["profiles"][0]["email"] for each in (first, second)] == [JOHN, "zoe@example.com"]
    assert second["profiles"][0]["id"] == zoe["id"]
    assert (await api.get("profiles?user_id=nobody")).json() == {"profiles": [], "after": None}
    assert {each["name"]: each["value"] for each in shown["traits"]}["nickname"] == "Jo"
    assert shown["problems"][0]["property"] == "number_of_contacts"
    rows = {row["property"]: row for row in shown["subscribers"][0]["properties"]}
    assert (rows["number_of_contacts"]["state"], rows["preferred_name"]["state"]) == ("problem", "not_fed")
    assert rows["number_of_contacts"]["name"] == "Number of contacts"
    assert (await api.get("profiles/999")).status_code == 404
    assert (await api.get("profiles?status=unmatched&email=nobody")).json()["profiles"] == []


async def test_values_without_json_form_are_shown(service: Service, api: httpx.AsyncClient) -> None:
    """A person whose numbers have no JSON form is shown."""
    body = b'{"traits": {"email": "odd@example.com", "x": NaN, "y": [Infinity], "nickname": "<script>"}}'
    accepted = await service.client.post("http://service/identify", content=body)
    [odd] = (await api.get("profiles?email=odd")).json()["profiles"]
    shown = (await api.get(f"profiles/{odd['id']}")).json()

    assert accepted.status_code == 202
    assert {each["name"]: each["value"] for each in shown["traits"]} == {
        "email": "odd@example.com",
        "y": [],
        "nickname": "<script>",
    }
    assert (await api.get("coverage")).status_code == 200


async def test_document_describes_token_and_errors(service: Service) -> None:
    """The API document describes the token and the errors."""
    document = (await service.client.get("http://service/openapi.json")).json()

    put = document["paths"]["/api/accounts/{account_id}/mapping"]["put"]
    assert {"200", "401", "403", "404", "409", "422", "503"} <= set(put["responses"])
    assert put["security"]


pytestmark = pytest.mark.anyio

JOHN = "john.doe@example.com"
NOBODY = "newcomer@example.com"


async def profile_of(api: httpx.AsyncClient, email: str) -> int:
    [found] = (await api.get(f"profiles?email={email}")).json()["profiles"]
    profile_id: int = found["id"]
    return profile_id


async def test_sync_delivers_to_a_new_subscriber(service: Service, api: httpx.AsyncClient) -> None:
    """An unmatched person is looked up at once, and delivered if a subscriber has the email by now."""
    await service.identify(NOBODY, preferred_name="New")
    profile_id = await profile_of(api, NOBODY)
    while (await api.get(f"profiles/{profile_id}")).json()["status"] != "unmatched":
        pass
    subscribers = service.account().data.subscribers
    [*_, somebody] = subscribers.after(0)
    subscribers.remove(somebody.fields["id"])
    somebody.fields["email"] = NOBODY
    subscribers.add(somebody)
    synced = await api.post(f"profiles/{profile_id}/sync")
    await service.until(lambda: service.values(NOBODY)[0].get("preferred_name") == "New")

    assert synced.status_code == 204
    while (shown := (await api.get(f"profiles/{profile_id}")).json())["status"] != "in_sync":
        pass
    rows = {row["property"]: row["state"] for row in shown["subscribers"][0]["properties"]}
    assert rows["preferred_name"] == "same"
    assert (await api.get("audit")).json()[0]["action"] == "sync now"
    assert (await api.post("profiles/999/sync")).status_code == 404


async def test_sync_shows_and_keeps_edits(service: Service, api: httpx.AsyncClient) -> None:
    """A sync shows the edits made in ProsperStack, and keeps them."""
    await service.identify(JOHN, preferred_name="Segment")
    profile_id = await profile_of(api, JOHN)
    while (await api.get(f"profiles/{profile_id}")).json()["status"] != "in_sync":
        pass
    [record] = service.account().data.subscribers.after(0, JOHN)
    edited = {"properties": {"preferred_name": "by hand"}}
    await service.sandbox.patch(f"subscribers/{record.fields['id']}", json=edited)
    await api.post(f"profiles/{profile_id}/sync")
    while (shown := (await api.get(f"profiles/{profile_id}")).json())["status"] != "in_sync":
        pass

    [row] = [each for each in shown["subscribers"][0]["properties"] if each["property"] == "preferred_name"]
    assert (row["state"], row["desired"]["value"], row["observed"]) == ("edited_there", "Segment", "by hand")
    assert service.values(JOHN)[0]["preferred_name"] == "by hand"


async def test_person_is_retried(api: httpx.AsyncClient) -> None:
    """A person is evaluated again."""
    profile_id = await profile_of(api, JOHN)

    assert (await api.post(f"profiles/{profile_id}/retry")).status_code == 204
    assert (await api.post("profiles/999/retry")).status_code == 404


async def test_person_is_erased_by_profile_email_or_user_id(service: Service, api: httpx.AsyncClient) -> None:
    """A person is erased by profile, email or user ID, and the written values are cleared."""
    await service.identify(JOHN, preferred_name="Written")
    await service.until(lambda: service.values(JOHN)[0]["preferred_name"] == "Written")
    for email in ("ann@example.com", "bob@example.com"):
        call = {"userId": email[:3], "traits": {"email": email}}
        await service.client.post("/identify", json=call)
    while (await api.get(f"profiles?email={JOHN}&status=in_sync")).json()["profiles"] == []:
        pass
    by_profile = await api.delete(f"profiles/{await profile_of(api, JOHN)}")
    by_email = await api.post("erase", json={"email": "ANN@example.com "})
    by_user = await api.post("erase", json={"user_id": "bob"})
    again = await api.post("erase", json={"user_id": "bob"})
    await service.until(lambda: "preferred_name" not in service.values(JOHN)[0])

    assert by_profile.json() == {"profiles": 1, "subscribers": 1, "in_prosperstack": "clear"}
    assert [each.json()["profiles"] for each in (by_email, by_user, again)] == [1, 1, 0]
    assert (await api.get("profiles")).json()["profiles"] == []
    audit = (await api.get("audit")).json()
    assert {(each["actor"], each["action"]) for each in audit} == {("ann", "erase")}
    assert "example.com" not in str(audit)


@pytest.mark.parametrize("body", [{}, {"email": "a@b.c", "user_id": "u"}, {"email": ""}, {"user_id": ""}, []])
async def test_erasure_needs_email_or_user_id(api: httpx.AsyncClient, body: object) -> None:
    """An erasure needs exactly one of email and user ID."""
    assert (await api.post("erase", json=body)).status_code == 422
    assert len((await api.get("profiles")).json()["profiles"]) == 1


async def test_unstorable_text_is_refused(tmp_path: Path, database_url: str) -> None:
    """Text that a database cannot store is refused in every field."""
    database = Database(database_url)
    await database.open()
    token = await database.write(add_token)
    await database.close()
    async with running(settings(tmp_path, database_url=database_url)) as service:
        await service.identify(JOHN, plan="x")
        async with operator(service, token) as api:
            for method, path, body in (
                ("POST", "erase", {"email": "a\0"}),
                ("POST", "erase", {"user_id": "a\ud800"}),
                ("POST", "keys", {"name": "\0"}),
                ("POST", "keys", {"name": "\udfff"}),
                ("POST", "problems/retry", {"property": "\0", "reason": "x"}),
                ("PUT", "mapping", {"based_on": 0, "mapping": {}, "note": "\0"}),
                ("POST", "mapping/preview", {"mapping": {"rules": [{"property": "a", "trait": "\0"}]}}),
            ):
                answer = await api.request(
                    method, path, content=json.dumps(body), headers={"Content-Type": "application/json"}
                )
                assert answer.status_code == 422, (path, body, answer.text)
            for method, path, status in (
                ("GET", "profiles?email=%00", 200),
                ("GET", "profiles?user_id=a%00&email=%ED%A0%80", 200),
                ("DELETE", "keys/%00", 404),
                ("GET", f"mapping?version={2**31}", 422),
                ("GET", f"profiles/{'9' * 4_400}", 422),
            ):
                assert (await api.request(method, path)).status_code == status, path


async def test_invalid_profile_id_is_refused(api: httpx.AsyncClient) -> None:
    """An invalid profile ID is refused."""
    for wrong in ("0", "-1", "x", str(2**63), "1e3"):
        assert (await api.get(f"profiles/{wrong}")).status_code == 422
        assert (await api.delete(f"profiles/{wrong}")).status_code == 422

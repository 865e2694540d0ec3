"""People by the API, and who may ask."""

import httpx
import pytest

from support.service import Service

pytestmark = pytest.mark.anyio

JOHN = "john.doe@example.com"


async def test_the_api_is_closed_at_first(service: Service) -> None:
    """Until a token is issued nobody gets in, and the answer says what to do."""
    answer = await service.client.get("/api/accounts", auth=None)

    assert answer.status_code == 403
    assert "tokens issue" in answer.json()["message"]


@pytest.mark.usefixtures("token")
@pytest.mark.parametrize("header", [None, "Bearer pso_wrong", "Bearer ", "Basic abc"])
async def test_who_may_not(service: Service, header: str | None) -> None:
    """Without a good token nothing is told; a key that Segment shows is none."""
    headers = {} if header is None else {"Authorization": header}
    answer = await service.client.get("/api/accounts", auth=None, headers=headers)

    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")


async def test_people(service: Service, api: httpx.AsyncClient) -> None:
    """People are found by their email's beginning or their userId, and shown with all that is known."""
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


async def test_odd_values_are_shown(service: Service, api: httpx.AsyncClient) -> None:
    """Numbers that JSON has no form for do not keep a person from being shown."""
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


async def test_the_document(service: Service) -> None:
    """The API is described, with its token and its refusals."""
    document = (await service.client.get("http://service/openapi.json")).json()

    put = document["paths"]["/api/accounts/{account_id}/mapping"]["put"]
    assert {"200", "401", "403", "404", "409", "422", "503"} <= set(put["responses"])
    assert put["security"]

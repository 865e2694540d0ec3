"""Tests of the API of operator tokens."""

import httpx
import pytest

from support.service import Service

pytestmark = pytest.mark.anyio


async def test_token_works_until_revoked(service: Service, api: httpx.AsyncClient) -> None:
    """A token opens the API until it is revoked, and is shown once."""
    issued = (await api.post("http://service/api/tokens", json={"name": " ci "})).json()
    headers = {"Authorization": f"Bearer {issued['token']}"}
    opened = await service.client.get("/api/accounts", auth=None, headers=headers)
    listed = await api.get("http://service/api/tokens")
    revoked = await api.delete(f"http://service/api/tokens/{issued['fingerprint']}")
    refused = await service.client.get("/api/accounts", auth=None, headers=headers)

    assert (opened.status_code, revoked.status_code, refused.status_code) == (200, 204, 401)
    assert issued["token"] not in listed.text
    shown = {each["fingerprint"]: each for each in listed.json()}[issued["fingerprint"]]
    assert (shown["name"], shown["revoked_at"]) == ("ci", None)
    again = {each["fingerprint"]: each for each in (await api.get("http://service/api/tokens")).json()}[
        issued["fingerprint"]
    ]
    assert again["revoked_at"] is not None
    assert (
        await api.delete(f"http://service/api/tokens/{issued['fingerprint']}")
    ).status_code == 404  # it is refused already
    trail = (await api.get("audit")).json()
    assert [(each["actor"], each["action"]) for each in trail] == [
        ("ann", "revoke token"),
        ("ann", "issue token"),
    ]


@pytest.mark.parametrize("name", ["", " ", "x" * 201, "\x00"])
async def test_token_needs_a_name(api: httpx.AsyncClient, name: str) -> None:
    """A token without a name is refused: the audit log needs it."""
    assert (await api.post("http://service/api/tokens", json={"name": name})).status_code == 422


#: Sends no token.
NOBODY = httpx.Auth()


async def test_request_without_token_is_refused(service: Service, api: httpx.AsyncClient) -> None:
    """A request without a token can neither issue nor list tokens."""
    assert (await api.get("http://service/api/tokens")).status_code == 200
    for answer in (
        await service.client.get("/api/tokens", auth=NOBODY),
        await service.client.post("/api/tokens", auth=NOBODY, json={"name": "me"}),
        await service.client.delete("/api/tokens/12345678", auth=NOBODY),
    ):
        assert answer.status_code == 401

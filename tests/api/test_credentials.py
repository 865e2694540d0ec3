"""Tests of the API of keys, shared secrets and connectors."""

import json
from hashlib import sha1
from hmac import new as hmac

import httpx
import pytest

from support.service import Service

pytestmark = pytest.mark.anyio

#: Sends no key.
NOBODY = httpx.Auth()


async def test_key_works_until_revoked(service: Service, api: httpx.AsyncClient) -> None:
    """A key opens the account from its issue to its revocation, and is shown once."""
    issued = (await api.post("keys", json={"name": "segment"})).json()
    accepted = await service.identify("ann@example.com", key=issued["key"])
    listed = await api.get("keys")
    revoked = await api.delete(f"keys/{issued['fingerprint']}")
    refused = await service.identify("ann@example.com", key=issued["key"])

    assert (accepted.status_code, revoked.status_code, refused.status_code) == (202, 204, 401)
    assert issued["key"] not in listed.text
    shown = {each["fingerprint"]: each for each in listed.json()}[issued["fingerprint"]]
    assert (shown["name"], shown["origin"], shown["revoked_at"]) == ("segment", "issued", None)
    assert (await api.delete(f"keys/{issued['fingerprint']}")).status_code == 404  # it is refused already
    assert [each["action"] for each in (await api.get("audit")).json()] == ["revoke key", "issue key"]


async def test_public_key_is_limited_to_its_origins(service: Service, api: httpx.AsyncClient) -> None:
    """A public key is listed with its origins and only identifies; a secret key has no origins."""
    origins = ["https://App.example.com/"]
    issued = (await api.post("keys", json={"name": "web", "public": True, "origins": origins})).json()
    listed = (await api.get("keys")).json()
    elsewhere = await service.identify("ann@example.com", key=issued["key"])
    page = {"Origin": "https://app.example.com"}
    call = {"email": "ann@example.com", "writeKey": issued["key"]}
    identified = await service.client.post("/v1/i", json=call, headers=page, auth=NOBODY)
    wrong = [
        await api.post("keys", json={"public": True, "origins": ["*"]}),
        await api.post("keys", json={"origins": origins}),
        await api.post("keys", json={"public": True, "origins": [f"https://{n}" for n in range(21)]}),
    ]

    shown = {each["fingerprint"]: each for each in listed}
    assert shown[issued["fingerprint"]]["kind"] == "public"
    assert shown[issued["fingerprint"]]["origins"] == ["https://app.example.com"]
    assert {each["kind"] for each in listed if each["fingerprint"] != issued["fingerprint"]} <= {"secret"}
    assert (identified.status_code, elsewhere.status_code) == (200, 403)
    assert [each.status_code for each in wrong] == [422, 422, 422]
    assert len((await api.get("keys")).json()) == len(listed)


async def test_shared_secret_works_until_revoked(service: Service, api: httpx.AsyncClient) -> None:
    """A signature is valid from the secret's issue to its revocation; the secret is shown once."""
    issued = (await api.post("secrets", json={"name": "webhook"})).json()
    body = json.dumps({"type": "identify", "traits": {"email": "ann@example.com"}}).encode()
    headers = {"X-Signature": hmac(issued["secret"].encode(), body, sha1).hexdigest()}

    async def sent() -> int:
        return (await service.client.post(issued["path"], content=body, headers=headers, auth=NOBODY)).status_code

    accepted = await sent()
    listed = await api.get("secrets")
    revoked = await api.delete(f"secrets/{issued['id']}")

    assert (accepted, revoked.status_code, await sent()) == (202, 204, 401)
    assert issued["secret"] not in listed.text
    assert [(each["id"], each["name"]) for each in listed.json()] == [(issued["id"], "webhook")]
    assert (await api.delete("secrets/sec_none")).status_code == 404


async def test_connector_works_until_revoked(service: Service, api: httpx.AsyncClient) -> None:
    """A connector's paths answer from its issue to its revocation; they are shown once."""
    issued = (await api.post("connectors", json={})).json()
    asked = {"data": {"subscriber": {"email": "john.doe@example.com"}}}
    answered = await service.client.post(issued["data_connector"], json=asked, auth=NOBODY)
    listed = await api.get("connectors")
    revoked = await api.delete(f"connectors/{issued['fingerprint']}")

    assert (answered.status_code, revoked.status_code) == (200, 204)
    assert issued["data_connector"].rpartition("/")[2] not in listed.text
    assert issued["flow_webhook"].rpartition("/")[2] == issued["data_connector"].rpartition("/")[2]
    assert [each["fingerprint"] for each in listed.json()] == [issued["fingerprint"]]
    assert (await api.get("connectors")).json()[0]["revoked_at"] is not None
    assert (await api.delete("connectors/none")).status_code == 404

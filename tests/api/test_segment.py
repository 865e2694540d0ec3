"""Tests of the API of Segment connections, against a simulated one."""

import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.segment_public_api import TOKEN, SegmentWorkspace, segment_public_api
from support.service import Service, running, settings

pytestmark = pytest.mark.anyio

SOURCE = "src_0001"
URL = "https://destination.example.com"


@pytest.fixture
def segment() -> SegmentWorkspace:
    """The workspace, to be looked into and changed."""
    return SegmentWorkspace(sources=250)


@pytest.fixture
async def service(tmp_path: Path, segment: SegmentWorkspace) -> AsyncIterator[Service]:
    """A running service whose requests to Segment reach the stand-in, with one account."""
    to_segment = httpx.ASGITransport(segment_public_api(segment))
    async with running(settings(tmp_path), segment_transport=to_segment) as service:
        await service.identify("john.doe@example.com")
        yield service


async def connected(api: httpx.AsyncClient, kind: str = "destination", **more: Any) -> httpx.Response:
    given = {"token": TOKEN, "source_id": SOURCE, "kind": kind, "public_url": URL, **more}
    return await api.post("segment/connections", json=given)


async def test_source_is_connected_and_sends(
    service: Service, api: httpx.AsyncClient, segment: SegmentWorkspace
) -> None:
    """A workspace is shown, a source connected, and the connection has its first call."""
    look = (await api.post("segment/workspace", json={"token": TOKEN})).json()
    made = await connected(api)
    [waiting] = (await api.get("segment/connections")).json()
    [destination] = segment.destinations.values()
    call = {"type": "identify", "projectId": SOURCE, "traits": {"email": "ann@example.com"}}
    accepted = await service.client.post("/identify", json=call, auth=(destination["settings"]["apiKey"], ""))
    [called] = (await api.get("segment/connections")).json()
    again = (await api.post("segment/workspace", json={"token": TOKEN})).json()

    assert (look["name"], look["region"], len(look["sources"])) == ("Acme", "us", 250)
    assert (made.status_code, made.json()) == (201, waiting)
    assert (waiting["source_name"], waiting["last_call_at"]) == ("Source 1", None)
    assert accepted.status_code == 202
    assert called["last_call_at"] is not None
    assert [each["connection_id"] for each in again["sources"] if each["id"] == SOURCE] == [made.json()["id"]]


async def test_webhook_accepts_signed_calls(
    service: Service, api: httpx.AsyncClient, segment: SegmentWorkspace
) -> None:
    """The URL and the secret that Segment got accept calls at once."""
    path = f"/webhook/{str(api.base_url).rstrip('/').rpartition('/')[2]}"
    unknown = await service.client.request("POST", path, json={}, headers={"X-Signature": "0" * 40}, auth=None)
    assert (await connected(api, "webhook")).status_code == 201
    [destination] = segment.destinations.values()
    [[subscription]] = segment.subscriptions.values()
    url, secret = subscription["settings"]["url"], destination["settings"]["sharedSecret"]
    body = json.dumps({"type": "identify", "projectId": SOURCE, "traits": {"email": "ann@example.com"}}).encode()
    signature = hmac.new(secret.encode(), body, hashlib.sha1).hexdigest()
    headers = {"X-Signature": signature, "Content-Type": "application/json"}
    accepted = await service.client.request("POST", path, content=body, headers=headers, auth=None)

    assert url == URL + path
    assert (unknown.status_code, accepted.status_code) == (401, 202)
    assert (await api.get("segment/connections")).json()[0]["last_call_at"] is not None


async def test_webhook_uses_the_request_url(api: httpx.AsyncClient) -> None:
    """Without a public URL the webhook uses that of the request, if Segment can reach it."""
    refused = await connected(api, "webhook", public_url=None)

    assert refused.status_code == 422
    assert "cannot post to 'http://service/'" in refused.json()["message"]


async def test_disconnection_deletes_and_revokes(
    service: Service, api: httpx.AsyncClient, segment: SegmentWorkspace
) -> None:
    """A disconnection deletes the destination in Segment, and its key is refused at once."""
    made = (await connected(api)).json()
    [destination] = segment.destinations.values()
    key = destination["settings"]["apiKey"]
    taken = await service.identify("ann@example.com", key=key)
    gone = await api.post(f"segment/connections/{made['id']}/disconnect", json={"token": TOKEN})
    again = await api.post(f"segment/connections/{made['id']}/disconnect", json={"token": TOKEN})
    sent = await service.identify("ann@example.com", key=key)

    assert (gone.json(), segment.destinations) == ({"deleted_in_segment": True}, {})
    assert (taken.status_code, again.status_code, sent.status_code) == (202, 404, 401)
    assert (await api.get("segment/connections")).json() == []


async def test_kept_token_can_be_omitted(api: httpx.AsyncClient) -> None:
    """A kept token can be omitted in later requests; it is never shown, and can be deleted."""
    none = (await api.get("segment/token")).json()
    without = await api.post("segment/workspace", json={})
    kept = await api.put("segment/token", json={"token": TOKEN, "region": "eu"})
    look = await api.post("segment/workspace", json={})
    made = await connected(api, token=None)
    shown = await api.get("segment/token")
    forgotten = await api.delete("segment/token")

    assert (none, without.status_code) == (None, 422)
    assert "No token of a Segment workspace is kept" in without.json()["message"]
    assert (kept.status_code, look.json()["region"], made.status_code) == (200, "eu", 201)
    assert shown.json() == kept.json()
    assert forgotten.json() == {"forgotten": True}
    assert (await api.delete("segment/token")).json() == {"forgotten": False}


@pytest.mark.parametrize(
    ("fault", "status", "said"),
    [
        ((401, "no"), 422, "Segment refuses the token"),
        ((403, "no"), 422, "does not permit this"),
        ((404, "no"), 422, "It says: no"),
        ((422, "too long"), 422, "It says: too long"),
        ((429, "slow down"), 503, "limits the rate of requests"),
        ((500, ""), 503, "answered 500"),
    ],
)
async def test_errors_of_segment_are_reported(
    api: httpx.AsyncClient, segment: SegmentWorkspace, fault: tuple[int, str], status: int, said: str
) -> None:
    """Errors of Segment are reported in words, and are not taken for errors of the operator."""
    segment.fail("GET /sources", *fault)
    refused = await api.post("segment/workspace", json={"token": TOKEN})

    assert refused.status_code == status
    assert said in refused.json()["message"]
    assert ("Retry-After" in refused.headers) == (status == 503)


async def test_second_connection_is_a_conflict(api: httpx.AsyncClient) -> None:
    """Connecting a source again is a conflict that names it."""
    await connected(api)
    again = await connected(api, "webhook")

    assert (again.status_code, "'Source 1'" in again.json()["message"]) == (409, True)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "segment/connections", {"token": TOKEN, "kind": "destination"}),
        ("POST", "segment/connections", {"token": TOKEN, "source_id": "s", "kind": TOKEN}),
        ("POST", "segment/workspace", {"token": TOKEN, "region": "mars"}),
        ("POST", "segment/workspace", {"token": [TOKEN]}),
        ("POST", "segment/workspace", {"token": TOKEN * 100}),
        ("PUT", "segment/token", {"tokens": TOKEN}),
        ("POST", "segment/workspace", [TOKEN]),
    ],
)
async def test_token_is_not_echoed(api: httpx.AsyncClient, method: str, path: str, body: Any) -> None:
    """The response to a malformed request does not repeat the token."""
    refused = await api.request(method, path, json=body)

    assert refused.status_code == 422
    assert refused.json()["faults"]
    assert TOKEN not in refused.text


async def test_token_leaves_no_trace(
    tmp_path: Path, api: httpx.AsyncClient, segment: SegmentWorkspace, caplog: pytest.LogCaptureFixture
) -> None:
    """A token and issued credentials are in no response, no log and, in clear, nowhere on the disk."""
    caplog.set_level("DEBUG")
    answers = [
        await api.post("segment/workspace", json={"token": TOKEN}),
        await connected(api, keep_token=True),
        await connected(api, "webhook", source_id="src_0002"),
        await api.get("segment/connections"),
        await api.get("segment/token"),
    ]
    secrets = [TOKEN, *(value for each in segment.destinations.values() for value in each["settings"].values())]
    stored = b"".join(file.read_bytes() for file in (tmp_path / "data").iterdir())

    assert [each.status_code for each in answers] == [200, 201, 201, 200, 200]
    assert len(secrets) == 3
    for secret in secrets:
        assert not any(secret in each.text for each in answers)
        assert secret not in caplog.text
        assert secret.encode() not in stored
    assert segment.cookies == []  # nor what Segment sets for one token is shown with another


async def test_connection_of_another_account_is_not_found(
    service: Service, api: httpx.AsyncClient, token: str, segment: SegmentWorkspace
) -> None:
    """A connection of another account is neither shown, used nor deleted."""
    made = (await connected(api, keep_token=True)).json()
    await service.identify("ann@example.com", key="key_test_other")
    headers = {"Authorization": f"Bearer {token}"}
    accounts = (await service.client.get("/api/accounts", auth=None, headers=headers)).json()
    [other] = [each["id"] for each in accounts if f"/{each['id']}/" not in str(api.base_url)]
    base_url = f"http://service/api/accounts/{other}/segment/"
    async with httpx.AsyncClient(transport=service.transport, base_url=base_url, headers=headers) as theirs:
        seen = (await theirs.get("connections")).json()
        kept = (await theirs.get("token")).json()
        removed = await theirs.post(f"connections/{made['id']}/disconnect", json={"here_only": True})
        used = await theirs.post("workspace", json={})

    assert (seen, kept, removed.status_code, used.status_code) == ([], None, 404, 422)
    assert len((await api.get("segment/connections")).json()) == 1
    assert len(segment.destinations) == 1


async def test_names_are_returned_unchanged(api: httpx.AsyncClient, segment: SegmentWorkspace) -> None:
    """The name of a source is returned unchanged, as JSON."""
    segment.source(SOURCE)["name"] = "<script>alert(1)</script>"
    made = await connected(api)
    look = await api.post("segment/workspace", json={"token": TOKEN})

    assert made.json()["source_name"] == "<script>alert(1)</script>"
    assert "<script>alert(1)</script>" in [each["name"] for each in look.json()["sources"]]
    assert look.headers["Content-Type"] == "application/json"


async def test_request_without_token_does_not_ask_segment(service: Service) -> None:
    """Without an operator token nothing is returned, and Segment is not asked."""
    for method, path in (("GET", "connections"), ("POST", "workspace"), ("PUT", "token")):
        path = f"http://service/api/accounts/acct_1/segment/{path}"
        refused = await service.client.request(method, path, auth=None, json={"token": TOKEN})
        assert refused.status_code in (401, 403)

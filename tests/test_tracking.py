"""Segment's HTTP Tracking API."""

import gzip
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from prosperstack_destination.ingest.tracking_api import KINDS
from support.service import KEY, Service, running, settings

pytestmark = pytest.mark.anyio

JOHN = "john.doe@example.com"
SUCCESS = {"success": True}


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    async with running(settings(tmp_path)) as service:
        yield service


def event(name: str = "x", **more: Any) -> dict[str, Any]:
    return {"type": "identify", "userId": "u1", "traits": {"email": JOHN, "preferred_name": name}, **more}


async def test_identify(service: Service) -> None:
    """One call, with the key of basic authentication, is on disk when 200 says so."""
    response = await service.client.post("/v1/identify", json=event("tracked"))

    assert (response.status_code, response.json()) == (200, SUCCESS)
    await service.until(lambda: service.values(JOHN)[0]["preferred_name"] == "tracked")


@pytest.mark.parametrize("kind", ["track", "page", "screen", "group"])
async def test_other_calls_are_no_error(service: Service, kind: str) -> None:
    """An SDK that tracks more than identities sees no error."""
    response = await service.client.post(f"/v1/{kind}", json={"userId": "u1", "event": "Something"})

    assert (response.status_code, response.json()) == (200, SUCCESS)


async def test_alias_without_former_id_is_rejected(service: Service) -> None:
    """An alias has to name the former ID: without it nothing is stored, and 200 would say otherwise."""
    response = await service.client.post("/v1/alias", json={"userId": "u1"})

    assert response.status_code == 400
    assert "former ID" in response.text


@pytest.mark.parametrize("kind", ["batch", "import"])
async def test_a_batch(service: Service, kind: str) -> None:
    """A batch's Identify calls are taken, its others ignored; the key may be in the body."""
    batch = [{"type": "track", "event": "x"}, event("batched"), {"type": "page"}]
    response = await service.client.post(f"/v1/{kind}", json={"batch": batch, "writeKey": KEY}, auth=httpx.Auth())

    assert (response.status_code, response.json()) == (200, SUCCESS)
    await service.until(lambda: service.values(JOHN)[0]["preferred_name"] == "batched")


@pytest.mark.parametrize("times", [{}, {"sentAt": "2026-01-02T03:04:05Z"}, {"timestamp": "2999-01-01T00:00:00Z"}])
async def test_the_calls_of_a_batch_keep_their_order(service: Service, times: dict[str, str]) -> None:
    """What comes after a deletion in one batch is kept, also where all its calls have one time."""
    batch = [event("first"), {"type": "delete", "userId": "u1"}, event("z"), event("last")]
    response = await service.client.post("/v1/batch", json={"batch": [{**each, **times} for each in batch]})

    assert (response.status_code, response.json()) == (200, SUCCESS)
    await service.until(lambda: service.values(JOHN)[0]["preferred_name"] == "last")


async def test_a_batch_with_bad_events(service: Service) -> None:
    """The good events of a batch are kept; the bad ones are told, and are no error to the SDK."""
    response = await service.client.post("/v1/batch", json={"batch": [event(), {"type": "identify"}, 5]})

    assert response.status_code == 200
    assert response.headers["Content-Type"] == "application/json"
    assert response.json()["success"] is True
    assert [each["index"] for each in response.json()["refused"]] == [1, 2]


async def test_what_an_event_takes_from_its_batch(service: Service) -> None:
    """Integrations, context and time of the batch count for events that have none of their own."""
    batch = {
        "batch": [event("never"), event("named", integrations={"All": False, "ProsperStack": True})],
        "integrations": {"All": False},
        "sentAt": "2026-01-01T00:00:00Z",
    }
    await service.client.post("/v1/batch", json=batch)
    await service.until(lambda: service.values(JOHN)[0]["preferred_name"] == "named")
    late = {"batch": [event("older")], "sentAt": "2025-01-01T00:00:00Z"}
    await service.client.post("/v1/batch", json=late)
    explained = await service.client.post("/identify?dry_run=1", json=event("x", timestamp="2025-06-01T00:00:00Z"))

    assert "2026-01-01T00:00:00Z is known" in explained.text


async def test_gzip(service: Service) -> None:
    """A gzipped body is read."""
    body = gzip.compress(json.dumps({"batch": [event("zipped")]}).encode())
    response = await service.client.post("/v1/batch", content=body, headers={"Content-Encoding": "gzip"})

    assert (response.status_code, response.json()) == (200, SUCCESS)
    await service.until(lambda: service.values(JOHN)[0]["preferred_name"] == "zipped")


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("identify", b"{", 400, "invalid_request"),
        ("identify", b'{"n": NaN', 400, "invalid_request"),
        ("identify", b"[]", 400, "invalid_request"),
        ("identify", b'{"userId": "unknown"}', 400, "invalid_request"),
        ("identify", b'{"x": "' + b"x" * 33_000 + b'"}', 400, "invalid_request"),
        ("batch", b'{"x": "' + b"x" * 513_000 + b'"}', 400, "invalid_request"),
        ("batch", b"{}", 400, "invalid_request"),
        ("batch", b'{"batch": [' + b"{}," * 2500 + b"{}]}", 400, "invalid_request"),
        ("identify", b'{"writeKey": "nonsense"}', 401, "unauthorized"),
        ("track", b"{}", 401, "unauthorized"),
    ],
)
async def test_errors(service: Service, path: str, body: bytes, status: int, code: str) -> None:
    """An error has both a code and a message, or some SDKs would try for ever."""
    auth = httpx.Auth() if status == 401 else httpx.BasicAuth(KEY, "")
    response = await service.client.post(f"/v1/{path}", content=body, auth=auth)

    assert response.status_code == status
    assert response.json()["code"] == code
    assert response.json()["message"]


@pytest.mark.parametrize("kind", KINDS)
async def test_only_post(service: Service, kind: str) -> None:
    """Other methods are told so, in the form that every error has."""
    response = await service.client.get(f"/v1/{kind}")

    assert (response.status_code, response.headers["Allow"]) == (405, "OPTIONS, POST")


async def test_all_receiving_paths_are_documented(service: Service) -> None:
    """The OpenAPI document has every path that calls may be sent to."""
    paths = (await service.client.get("/openapi.json")).json()["paths"]

    assert {"/identify", "/webhook/{account_id}", *(f"/v1/{kind}" for kind in KINDS)} <= set(paths)
    assert set(paths["/identify"]) == {"post", "put", "patch"}

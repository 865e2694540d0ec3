"""Tests of the form of errors, and of their place in the API document."""

from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.anyio

JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("body", "status", "message", "key"),
    [
        (b"{}", 422, "Invalid request: body.name: Field required.", "body.name"),
        (b"", 422, "Invalid request: body: Field required.", "body"),
        (b"{", 422, "Invalid request: body.1: JSON decode error.", "body.1"),
        (b'{"name": "\xff"}', 422, "The body cannot be read: send JSON in UTF-8, without", None),
        (b'{"name": "' + b"x" * 1_100_000 + b'"}', 413, "The body has more than 1024 KB.", None),
        (b'{"name": ' + b"9" * 5_000 + b"}", 422, "without thousands of digits or levels.", None),
        (b'{"name": "\\u0000"}', 422, "body: Value error, Text must not contain the character U+0000 or", "body"),
    ],
)
async def test_malformed_request_names_its_faults(
    api: httpx.AsyncClient, body: bytes, status: int, message: str, key: str | None
) -> None:
    """The response names each fault, in the form of all errors."""
    refused = await api.post("http://service/api/tokens", content=body, headers=JSON)

    assert refused.status_code == status
    told = refused.json()
    assert set(told) == {"message", "faults", "version"}
    assert message in told["message"]
    assert [fault["key"] for fault in told["faults"]] == ([] if key is None else [key])


async def test_unknown_field_is_not_echoed(api: httpx.AsyncClient) -> None:
    """The name of an unknown field, which may be a secret, is not returned; the number of faults is bounded."""
    unknown = {"sgp_secret": 1} | {f"x{n}": 1 for n in range(1_000)}

    refused = await api.patch(str(api.base_url).rstrip("/"), json=unknown)

    assert refused.status_code == 422
    assert "body.…: Extra inputs are not permitted" in refused.json()["message"]
    assert len(refused.json()["faults"]) == 20
    assert "sgp_secret" not in refused.text


async def test_document_has_every_error_status(api: httpx.AsyncClient) -> None:
    """Each operation documents its error statuses, all with one body."""
    document = (await api.get("http://service/openapi.json")).json()
    operations: list[tuple[str, dict[str, Any]]] = [
        (method, operation)
        for path, methods in document["paths"].items()
        if path.startswith("/api/") and path != "/api/mapping.schema.json"  # which is for everybody
        for method, operation in methods.items()
    ]

    assert len(operations) > 50
    for method, operation in operations:
        responses = operation["responses"]
        refusals = {status for status in responses if status >= "400"}
        assert refusals >= {"401", "403", "404", "422", "503"} | ({"413"} if "requestBody" in operation else set())
        assert method in ("post", "put", "patch") or "413" not in refusals
        for status in refusals:
            schema = responses[status]["content"]["application/json"]["schema"]
            assert schema == {"$ref": "#/components/schemas/ErrorResponse"}, (operation["operationId"], status)
    assert set(document["components"]["schemas"]["ErrorResponse"]["properties"]) == {"message", "faults", "version"}
    assert "HTTPValidationError" not in document["components"]["schemas"]

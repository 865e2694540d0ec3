"""Tests of every response against the API document."""

import re
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest
import yaml
from starlette.routing import Route

from prosperstack_destination.sandbox.routes import router

pytestmark = pytest.mark.anyio

DOCUMENT = yaml.safe_load((Path(__file__).parents[1] / "contracts/prosperstack-api.openapi.yaml").read_text())


def json_schema(node: Any) -> Any:
    """Return an OpenAPI 3.0 schema as JSON Schema: ``nullable`` becomes a type."""
    if isinstance(node, list):
        return [json_schema(each) for each in node]
    if not isinstance(node, dict):
        return node
    node = {name: json_schema(each) for name, each in node.items()}
    if node.pop("nullable", False):
        node["type"] = [node["type"], "null"]
        if "enum" in node:
            node["enum"] = [*node["enum"], None]
    return node


SCHEMAS = json_schema(DOCUMENT["components"])


def operation(response: httpx.Response) -> dict[str, Any]:
    """Return the documented operation of a response."""
    parts = response.request.url.path.removeprefix("/v1").split("/")
    path = "/".join("{id}" if place == 2 else part for place, part in enumerate(parts))
    documented: dict[str, Any] = DOCUMENT["paths"][path][response.request.method.lower()]
    return documented


def resolved(node: dict[str, Any]) -> dict[str, Any]:
    name = node.get("$ref", "").rpartition("/")[2]
    found: dict[str, Any] = DOCUMENT["components"]["responses"][name] if name else node
    return found


def check(response: httpx.Response) -> None:
    """Check that a response has its documented body, and the rate limit headers."""
    responses = operation(response)["responses"]
    undocumented = {"429", "400", "404"}  # documented for the rate limit, or for no operation
    status = str(response.status_code)
    assert status in responses or status in undocumented
    for name in ("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"):
        assert response.headers[name].isdigit()
    documented = resolved(responses.get(status, {"$ref": "#/components/responses/Error"}))
    content = documented.get("content")
    if content is None:
        assert response.content == b""
        return
    schema = {**json_schema(content["application/json"]["schema"]), "components": SCHEMAS}
    jsonschema.validate(response.json(), schema)


async def first(api: httpx.AsyncClient, path: str) -> dict[str, Any]:
    item: dict[str, Any] = (await api.get(path)).json()["data"][0]
    return item


async def test_valid_requests_are_answered_as_documented(api: httpx.AsyncClient) -> None:
    """Valid requests of every operation get the documented status and body."""
    subscriber, subscription = await first(api, "subscribers"), await first(api, "subscriptions")
    new = {"key": "plan", "name": "Plan", "entity": "subscriber", "type": "text"}
    made = await api.post("properties", json=new)
    body = {"properties": {"number_of_contacts": 5, "is_professional": True, "plan": "pro"}}
    answers = [
        made,
        await api.get("properties"),
        await api.get(made.headers["Location"].removeprefix("/v1/")),
        await api.get("subscribers", params={"limit": "100"}),
        await api.get(f"subscribers/{subscriber['id']}"),
        await api.patch(f"subscribers/{subscriber['id']}", json=body),
        await api.get("subscriptions"),
        await api.patch(f"subscriptions/{subscription['id']}", json={"properties": {"seats": 3}}),
        await api.delete(f"properties/{made.json()['id']}"),
        await api.get(f"subscribers/{subscriber['id']}"),
        await api.delete(f"subscribers/{subscriber['id']}"),
    ]

    assert [each.status_code for each in answers] == [201, 200, 200, 200, 200, 200, 200, 200, 204, 200, 204]
    for each in answers:
        check(each)
    assert set(values(answers[9])) == {*values(answers[5])}  # stored values outlive their property


def values(response: httpx.Response) -> dict[str, Any]:
    return {each["property"]["key"]: each["value"] for each in response.json()["properties"]}


async def test_invalid_requests_are_answered_as_documented(api: httpx.AsyncClient) -> None:
    """Invalid requests get the documented error body."""
    subscriber = await first(api, "subscribers")
    one = f"subscribers/{subscriber['id']}"
    new = {"key": "preferred_name", "name": "Twice", "entity": "subscriber", "type": "text"}
    answers = [
        await api.get("subscribers", params={"limit": "101"}),
        await api.get("subscribers", params={"limit": "x"}),
        await api.get("subscribers", params={"cursor": "???"}),
        await api.get("subscribers", params={"updated_at[gte]": "yesterday"}),
        await api.patch(one, json={"properties": {"unknown": 1}}),
        await api.patch(one, json={"properties": {"number_of_contacts": "many"}}),
        await api.patch(one, json={"properties": {"is_professional": "no"}}),
        await api.patch(one, json={"properties": {"last_contacted": "soon"}}),
        await api.patch(one, json={"properties": {"preferred_name": 5}}),
        await api.patch(one, json={"properties": [1]}),
        await api.patch(one, content=b"{"),
        await api.post("properties", json={**new, "type": "colour"}),
        await api.post("properties", json=new),
        await api.get("subscribers/subr_nobody"),
        await api.patch("subscribers/subr_nobody", json={"properties": {}}),
        await api.delete("properties/prop_none"),
        await api.delete("subscribers/subr_nobody"),
        await api.get("properties/prop_none"),
        await api.patch("subscriptions/subn_none", json={"properties": {}}),
        await api.patch(
            f"subscriptions/{(await first(api, 'subscriptions'))['id']}", json={"properties": {"x": 1}}
        ),
        await api.get("subscribers", params={"status": "asleep"}),
        await api.get("subscriptions", params={"cursor": "MTI="}),
        await api.get("properties", params={"entity": "company"}),
        await api.get("subscribers", auth=("key_test_wrong", "")),
        await api.get("properties", headers={"Authorization": "Bearer x"}, auth=httpx.Auth()),
    ]

    assert [each.status_code for each in answers] == [
        *([400] * 12),
        *(409, 404, 404, 404, 404, 404, 404),
        *(400, 400, 400, 400),
        *(401, 401),
    ]
    for each in answers:
        check(each)
    assert (await api.get(one)).json() == subscriber  # nothing of what was refused was written


def test_the_operations_are_the_documented_ones() -> None:
    """The sandbox has every operation of the document, and no other."""
    documented = {
        (method.upper(), path)
        for path, item in DOCUMENT["paths"].items()
        for method in item.keys() & {"get", "post", "patch", "put", "delete"}
    }
    there = {
        (method, re.sub(r"{\w+}", "{id}", route.path.removeprefix("/v1")))
        for route in router.routes
        if isinstance(route, Route)
        for method in (route.methods or set()) - {"HEAD"}
    }

    assert there == documented


@pytest.mark.parametrize("auth", [("key_test_sandbox", ""), ("key_test_wrong", "")])
async def test_every_operation_can_be_too_much(api: httpx.AsyncClient, auth: tuple[str, str]) -> None:
    """Past the limit every operation answers 429 with the documented body, whoever asks."""
    for _ in range(100):
        await api.get("properties", auth=auth)

    for path, item in DOCUMENT["paths"].items():
        for method in item.keys() - {"parameters"}:
            answer = await api.request(method, path.replace("{id}", "any"), auth=auth)
            assert answer.status_code == 429
            check(answer)

"""OpenAPI description of the endpoints that ProsperStack calls."""

from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from prosperstack_destination.cancel_flow.payloads import ConnectorCall, FlowEvent
from prosperstack_destination.ingest.openapi import add_schemas

_REF: Final = "#/components/schemas/{model}"
_TOKEN: Final = {"name": "token", "in": "path", "required": True, "schema": {"type": "string"}}
_REFUSED: Final = {"description": "The token is unknown or revoked.", "content": {"application/json": {}}}
_NOT_READ: Final = {
    "description": "The body has another compression than gzip or deflate.",
    "content": {"application/json": {}},
}


def describe_connector(document: dict[str, Any]) -> dict[str, Any]:
    """Add the data connector and the flow webhook to an OpenAPI document."""
    models: list[type[BaseModel]] = [ConnectorCall, FlowEvent]
    _, definitions = models_json_schema([(model, "validation") for model in models], ref_template=_REF)
    add_schemas(document, definitions["$defs"])
    paths = document.setdefault("paths", {})
    paths["/data-connector/{token}"] = {
        "post": _post(
            "Return the desired properties of a person who starts to cancel",
            "data_connector",
            ConnectorCall,
            "The person's desired properties by their keys; {} for an unknown person or on an error.",
        )
    }
    paths["/flow-webhook/{token}"] = {
        "post": _post("Prioritize a person who starts to cancel", "flow_webhook", FlowEvent, "Noted, or ignored.")
    }
    return document


def _post(summary: str, name: str, model: type[BaseModel], good: str) -> dict[str, Any]:
    schema = {"$ref": _REF.format(model=model.__name__)}
    content = {"application/json": {"schema": {"type": "object"}}}
    return {
        "summary": summary,
        "operationId": name,
        "tags": ["prosperstack"],
        "parameters": [_TOKEN],
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
        "responses": {"200": {"description": good, "content": content}, "401": _REFUSED, "415": _NOT_READ},
    }

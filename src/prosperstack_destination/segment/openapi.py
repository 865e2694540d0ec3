"""The description of the endpoints that are no FastAPI routes, for the OpenAPI document."""

from typing import Any

from pydantic import BaseModel, Field
from pydantic.json_schema import models_json_schema

from prosperstack_destination.segment.call import IdentifyCall
from prosperstack_destination.segment.explain import Explanation

_REF = "#/components/schemas/{model}"


class Message(BaseModel):
    """An answer for a person."""

    message: str = Field(description="What became of the call, or what is wrong and what to do about it.")


def describe(document: dict[str, Any]) -> dict[str, Any]:
    """Add the receiving endpoints to an application's OpenAPI document."""
    _, definitions = models_json_schema(
        [(IdentifyCall, "validation"), (Message, "serialization"), (Explanation, "serialization")],
        ref_template=_REF,
    )
    components = document.setdefault("components", {})
    components.setdefault("schemas", {}).update(definitions["$defs"])
    components.setdefault("securitySchemes", {})["apiKey"] = {
        "type": "http",
        "scheme": "basic",
        "description": "The API key is the user name; the password is empty.",
    }
    document.setdefault("paths", {})["/identify"] = {"post": _identify()}
    return document


def _identify() -> dict[str, Any]:
    described = {
        "200": "Understood, and there is nothing to do; or the explanation that was asked for.",
        "202": "Accepted: it is on disk, and will be delivered.",
        "400": "The call is at fault; the message names the field.",
        "401": "The API key is missing, unknown, or refused by ProsperStack.",
        "403": "The API key is good, but not permitted this.",
        "413": "The call has more than 64 KB.",
        "501": "A type of call that this destination does not take.",
        "503": "Not now; the same again later will work (see Retry-After).",
    }
    responses = {status: {"description": text, "content": _json("Message")} for status, text in described.items()}
    responses["200"]["content"] = {
        "application/json": {
            "schema": {"anyOf": [{"$ref": _REF.format(model=name)} for name in ("Explanation", "Message")]}
        }
    }
    return {
        "summary": "Take in one Identify call",
        "operationId": "identify",
        "tags": ["segment"],
        "security": [{"apiKey": []}],
        "parameters": [
            _flag("explain", "Answer 200 with what the call does."),
            _flag("dry_run", "Answer 200 with what the call would do, and store nothing."),
        ],
        "requestBody": {"required": True, "content": _json("IdentifyCall")},
        "responses": responses,
    }


def _json(model: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": _REF.format(model=model)}}}


def _flag(name: str, text: str) -> dict[str, Any]:
    return {
        "name": name,
        "in": "query",
        "description": text,
        "schema": {"type": "boolean", "default": False},
    }

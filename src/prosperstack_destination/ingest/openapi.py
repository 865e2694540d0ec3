"""The description of the endpoints that are not FastAPI routes, for the OpenAPI document."""

from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel, Field, JsonValue
from pydantic.json_schema import models_json_schema

from prosperstack_destination.ingest.explain import Explanation
from prosperstack_destination.ingest.identify_call import IdentifyCall
from prosperstack_destination.ingest.parser import OTHER_TYPES
from prosperstack_destination.ingest.tracking_api import KINDS, METRICS, SHORT_KINDS

_REF: Final = "#/components/schemas/{model}"


class MessageResponse(BaseModel):
    """An answer for a person."""

    message: str = Field(description="What became of the call, or what is wrong and what to do about it.")


class RejectedEvent(BaseModel):
    """One event of a batch that was not taken."""

    index: int = Field(description="Its place, from 0.")
    message: str


class BatchMessage(MessageResponse):
    """Result of an array of events."""

    refused: list[RejectedEvent] = Field(default_factory=list, description="At most 100 of them.")


class TrackingSuccess(BaseModel):
    """Success in the form that SDKs expect."""

    success: bool
    refused: list[RejectedEvent] = Field(default_factory=list, description="Events of a batch that were not taken.")


class TrackingError(BaseModel):
    """An error in the form that SDKs know."""

    success: bool
    code: str
    message: str


class TrackingBatch(BaseModel):
    """Events in the form of Segment's HTTP Tracking API."""

    batch: list[IdentifyCall]
    context: dict[str, JsonValue] = Field(default_factory=dict)
    integrations: dict[str, JsonValue] = Field(default_factory=dict)
    writeKey: str | None = None  # noqa: N815 -- the wire's name


def describe(document: dict[str, Any]) -> dict[str, Any]:
    """Add the receiving endpoints to an application's OpenAPI document."""
    taken: list[type[BaseModel]] = [IdentifyCall, TrackingBatch]
    given: list[type[BaseModel]] = [MessageResponse, BatchMessage, Explanation, TrackingSuccess, TrackingError]
    _, definitions = models_json_schema(
        [*((model, "validation") for model in taken), *((model, "serialization") for model in given)],
        ref_template=_REF,
    )
    add_schemas(document, definitions["$defs"])
    document["components"].setdefault("securitySchemes", {}).update(_SECURITY)
    paths = document.setdefault("paths", {})
    for method in ("post", "put", "patch"):
        paths.setdefault("/identify", {})[method] = _identify(method)
        paths.setdefault("/webhook/{account_id}", {})[method] = _webhook(method)
    for kind in KINDS:
        paths[f"/v1/{kind}"] = {"post": _tracking(kind, f"tracking_{kind}")}
    for short, kind in SHORT_KINDS.items():
        paths[f"/v1/{short}"] = {"post": _tracking(kind, f"tracking_{short}")}
    paths[f"/v1/{METRICS}"] = {"post": _metrics()}
    paths["/v1/projects/{key}/settings"] = {"get": _sdk_settings()}
    return document


def add_schemas(document: dict[str, Any], schemas: Mapping[str, Any]) -> None:
    """Add models to an OpenAPI document. Raises `ValueError` where another model has the name of one."""
    known = document.setdefault("components", {}).setdefault("schemas", {})
    for name, schema in schemas.items():
        if known.setdefault(name, schema) != schema:
            raise ValueError(f"two models are called {name}")


_SECURITY: Final = {
    "apiKey": {
        "type": "http",
        "scheme": "basic",
        "description": "The API key is the user name; the password is empty.",
    },
    "signature": {
        "type": "apiKey",
        "in": "header",
        "name": "X-Signature",
        "description": "Hex HMAC-SHA1 of the body with the shared secret, or of the first event of an array.",
    },
}

_ANSWERS: Final = {
    "200": "Understood, and there is nothing to do.",
    "202": "Accepted: it is on disk, and will be delivered.",
    "400": "The call is at fault; the message names the field.",
    "401": "The key or the signature is missing, unknown, or refused by ProsperStack.",
    "403": "The API key is good, but not permitted this.",
    "413": "An event has more than 64 KB, or an array more than it may have.",
    "415": "The body is compressed otherwise than by gzip or deflate.",
    "501": "A type of call that this destination does not take.",
    "503": "Not now; the same again later will work (see Retry-After).",
}


def _identify(method: str) -> dict[str, Any]:
    responses = {
        status: {"description": text, "content": _json("MessageResponse")} for status, text in _ANSWERS.items()
    }
    responses["200"] = {
        "description": "Understood, and there is nothing to do; or the explanation that was asked for.",
        "content": _json("Explanation", "MessageResponse"),
    }
    for status in ("202", "400", "501", "413"):
        responses[status]["content"] = _json("MessageResponse", "BatchMessage")
    return {
        "summary": "Take in one Identify or Delete call, or an array of them",
        "operationId": f"identify_{method}",
        "tags": ["segment"],
        "security": [{"apiKey": []}],
        "parameters": [
            _flag("explain", "Answer 200 with what the call does."),
            _flag("dry_run", "Answer 200 with what the call would do, and store nothing."),
        ],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {"anyOf": [_ref("IdentifyCall"), {"type": "array", "items": _ref("IdentifyCall")}]}
                }
            },
        },
        "responses": responses,
    }


def _webhook(method: str) -> dict[str, Any]:
    described = _identify(method)
    account = {"name": "account_id", "in": "path", "required": True, "schema": {"type": "string"}}
    return {
        **described,
        "summary": "The same for signed requests of Segment's Webhooks (Actions) destination",
        "operationId": f"webhook_{method}",
        "security": [{"signature": []}, {"apiKey": []}],
        "parameters": [account, *described["parameters"]],
    }


def _tracking(kind: str, name: str) -> dict[str, Any]:
    batched = kind in ("batch", "import")
    what = "Take in a batch of calls" if batched else "Take in one call"
    ignored = "Understood and ignored, so that an SDK sees no error"
    refusals = {
        status: {"description": _ANSWERS[status], "content": _json("TrackingError")}
        for status in ("400", "401", "403", "415", "501", "503")
    }
    limited = "An address sends too many calls with a public key (see Retry-After)."
    refusals["429"] = {"description": limited, "content": _json("TrackingError")}
    return {
        "summary": ignored if kind in OTHER_TYPES else what,
        "operationId": name,
        "tags": ["tracking"],
        "security": [{"apiKey": []}, {}],
        "requestBody": {"required": True, "content": _json("TrackingBatch" if batched else "IdentifyCall")},
        "responses": {
            "200": {"description": "What matters is on disk.", "content": _json("TrackingSuccess")},
            **refusals,
        },
    }


def _metrics() -> dict[str, Any]:
    return {
        "summary": "Take what an SDK says of itself, and keep nothing of it",
        "operationId": "tracking_metrics",
        "tags": ["tracking"],
        "security": [{}],
        "responses": {"200": {"description": "Nothing is kept.", "content": _json("TrackingSuccess")}},
    }


def _sdk_settings() -> dict[str, Any]:
    """The settings of SDKs; their form is Segment's own."""
    refusals = {
        status: {"description": _ANSWERS[status], "content": _json("TrackingError")}
        for status in ("401", "403", "503")
    }
    content = {"application/json": {"schema": {"type": "object"}}}
    return {
        "summary": "Answer the settings that Segment's browser and mobile SDKs ask for",
        "operationId": "sdk_settings",
        "tags": ["tracking"],
        "security": [{}],
        "parameters": [
            {
                "name": "key",
                "in": "path",
                "required": True,
                "description": "A public write key; any other is refused.",
                "schema": {"type": "string"},
            }
        ],
        "responses": {
            "200": {"description": "Calls go to this host; no other integration is loaded.", "content": content},
            **refusals,
        },
    }


def _ref(model: str) -> dict[str, Any]:
    return {"$ref": _REF.format(model=model)}


def _json(*models: str) -> dict[str, Any]:
    refs = [_ref(model) for model in models]
    return {"application/json": {"schema": refs[0] if len(refs) == 1 else {"anyOf": refs}}}


def _flag(name: str, text: str) -> dict[str, Any]:
    return {
        "name": name,
        "in": "query",
        "description": text,
        "schema": {"type": "boolean", "default": False},
    }

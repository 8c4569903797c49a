"""The API described: an OpenAPI 3.1 document, and a page that shows it without loading anything from elsewhere."""

from __future__ import annotations

from html import escape
from typing import Any, get_args

from raymlops.config.serving import RequestLimits
from raymlops.records.learning.datatypes import TEXT
from raymlops.records.plans import Role
from raymlops.serving.front.orders import ENVIRONMENT_OPERATIONS, OPERATIONS, Parameters, operation_schema, scope_of
from raymlops.serving.protocol.datatypes import NUMBERS
from raymlops.serving.protocol.open_inference import MAX_DIMENSIONS, MAX_ID_CHARS

__all__ = ["docs_page", "openapi_document"]

_ERRORS = {
    "400": "Bad input; the message names what",
    "401": "No valid API key",
    "403": "The key does not cover this",
    "404": "Unknown model, version or path",
    "408": "The body did not arrive in time",
    "413": "Body too large",
    "429": "Too many requests under way; see Retry-After",
    "500": "A bug",
    "503": "Not ready, or nobody can answer",
    "504": "Deadline",
}
_CONFLICT = "What is served does not allow it"
_READING = tuple(status for status in _ERRORS if status != "504")
_SERVER = ("500", "503")
_MODEL = {"name": "model", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
_ENVIRONMENT = _MODEL | {"name": "environment"}
_VERSION = {"name": "version", "in": "path", "required": True, "schema": {"type": "string", "pattern": "^[0-9]+$"}}
_STICKY = {
    "name": "X-Sticky-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string"},
    "description": "Pins a caller to its variant of a trial.",
}
_JSON_LENGTH = {
    "name": "Inference-Header-Content-Length",
    "in": "header",
    "required": False,
    "schema": {"type": "integer", "minimum": 0},
    "description": "Length in bytes of the JSON part, where raw tensors follow it (binary tensor extension).",
}
_IDEMPOTENCY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "maxLength": MAX_ID_CHARS},
    "description": "Names the batch or the order, so that it may be sent again and counts once.",
}
_JSON_VALUE = {"type": ["string", "number", "boolean", "null"]}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(
    required: dict[str, Any], optional: dict[str, Any] | None = None, *, closed: bool = False
) -> dict[str, Any]:
    schema: dict[str, Any] = {
        "type": "object",
        "required": list(required),
        "properties": {**required, **(optional or {})},
    }
    return {**schema, "additionalProperties": False} if closed else schema


def _list(items: dict[str, Any], least: int = 0, most: int | None = None) -> dict[str, Any]:
    return {"type": "array", "items": items, "minItems": least} | ({} if most is None else {"maxItems": most})


_TEXT = {"type": "string"}
_ID = {"type": "string", "maxLength": MAX_ID_CHARS}
_DATATYPE = {"type": "string", "enum": [*NUMBERS, TEXT]}
_INSTANT = {"type": "string", "format": "date-time"}
_SHAPE = _list({"type": "integer", "minimum": 0}, most=MAX_DIMENSIONS)
_FREE = {"type": "object"}
_ROLE = {"type": "string", "enum": [role for role in get_args(Role) if role != "shadow"]}

_SCHEMAS: dict[str, Any] = {
    "Error": _object({"error": _TEXT}),
    "ServerMetadata": _object({"name": _TEXT, "version": _TEXT, "extensions": _list(_TEXT)}),
    "Models": _object({"models": _list(_TEXT)}),
    "IndexRequest": _object({}, {"ready": {"type": "boolean"}}),
    "Index": _list(
        _object(
            {
                "name": _TEXT,
                "version": _TEXT,
                "state": {"type": "string", "enum": ["READY", "UNAVAILABLE", "UNKNOWN"]},
                "reason": _TEXT,
            }
        )
    ),
    "Live": _object({"live": {"type": "boolean"}}),
    "Ready": _object({"ready": {"type": "boolean"}}, {"name": _TEXT}),
    "TensorMetadata": _object({"name": _TEXT, "datatype": _DATATYPE, "shape": _list({"type": "integer"})}),
    "ModelMetadata": _object(
        {
            "name": _TEXT,
            "platform": _TEXT,
            "versions": _list(_TEXT),
            "inputs": _list(_ref("TensorMetadata")),
            "outputs": _list(_ref("TensorMetadata")),
        }
    ),
    "RequestTensor": _object(
        {"name": _TEXT, "datatype": _DATATYPE, "shape": _SHAPE}, {"data": _list({}), "parameters": _FREE}
    ),
    "ResponseTensor": _object(
        {"name": _TEXT, "datatype": _DATATYPE, "shape": _SHAPE}, {"data": _list({}), "parameters": _FREE}
    ),
    "InferRequest": _object(
        {"inputs": _list(_ref("RequestTensor"), 1)},
        {"id": _ID, "parameters": _FREE, "outputs": _list(_object({"name": _TEXT}, {"parameters": _FREE}))},
    ),
    "InferResponse": _object(
        {"model_name": _TEXT, "model_version": _TEXT, "id": _TEXT, "outputs": _list(_ref("ResponseTensor"))},
        {"parameters": _object({"role": _ROLE}, {"missing": _list(_list(_TEXT))})},
    ),
    "PredictRequest": _object(
        {"instances": _list({"type": "object", "additionalProperties": _JSON_VALUE}, 1)},
        {
            "id": _ID,
            "parameters": _object({}, {"at": {"oneOf": [_INSTANT, _list(_INSTANT, 1)]}}, closed=True),
        },
        closed=True,
    ),
    "LabelsRequest": _object(
        {
            "labels": _list(
                _object(
                    {"request_id": _ID | {"minLength": 1}, "label": {"type": ["string", "number", "boolean"]}},
                    {"row": {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}, "event_time": _INSTANT},
                    closed=True,
                ),
                1,
            )
        },
        {"classes": {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}}},
        closed=True,
    ),
    "LabelsResponse": _object({"recorded": {"type": "integer"}}),
    "ServingPlan": _object(
        {"model": _TEXT, "number": {"type": "integer"}, "champion": {"type": "integer"}, "created_at": _INSTANT},
        {
            "backup": {"type": ["integer", "null"]},
            "trial": {"type": ["object", "null"]},
            "blocked": _list({"type": "integer"}),
            "baseline": {"type": ["object", "null"]},
            "service": {"type": ["string", "null"]},
            "replicas": {"type": "integer"},
            "served": {"type": "boolean"},
            "reason": _TEXT,
        },
    ),
}


def openapi_document(version: str, limits: RequestLimits | None = None) -> dict[str, Any]:
    """The whole API of one port as an OpenAPI document.

    Args:
        version: Of the product.
        limits: What a request may hold.
    """
    return {
        "openapi": "3.1.0",
        "info": {"title": "RayMLOps", "version": version, "description": "Predictions, labels and health."},
        "paths": _server_paths() | _listing_paths() | _model_paths() | _operation_paths(),
        "components": {
            "schemas": _SCHEMAS | _bounded(limits or RequestLimits()),
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        # on loopback nobody is asked for a key
        "security": [{"key": []}, {}],
    }


def _bounded(limits: RequestLimits) -> dict[str, Any]:
    """The requests whose lists have a longest length."""
    bounded = {}
    for name, field, most in (
        ("PredictRequest", "instances", limits.predict_rows),
        ("LabelsRequest", "labels", limits.labels),
    ):
        schema = _SCHEMAS[name]
        listed = schema["properties"][field] | {"maxItems": most}
        bounded[name] = schema | {"properties": schema["properties"] | {field: listed}}
    return bounded


def _server_paths() -> dict[str, Any]:
    described = {
        "/v2": ("serverMetadata", "Server metadata", _json(_ref("ServerMetadata"))),
        "/v2/health/live": ("serverLive", "Whether the server is up", _json(_ref("Live"))),
        "/v2/health/ready": ("serverReady", "Whether the server can serve", _json(_ref("Ready"))),
        "/openapi.json": ("openapi", "This document", _json({"type": "object"})),
        "/docs": ("docs", "This document as a page", {"text/html": {"schema": _TEXT}}),
    }
    return {
        path: {"get": _operation(name, summary, "server", [], answer, _SERVER) | {"security": []}}
        for path, (name, summary, answer) in described.items()
    }


def _listing_paths() -> dict[str, Any]:
    models = _operation("models", "Names of the models", "server", [], _json(_ref("Models")), _READING)
    shown = "Versions that are to be served, and whether they are ready"
    index, asked = _json(_ref("Index")), {"content": _json(_ref("IndexRequest")), "required": False}
    return {
        "/v2/models": {"get": models},
        "/v2/repository/index": {
            "get": _operation("repositoryIndex", shown, "server", [], index, _READING),
            "post": _operation("repositoryIndexOf", shown, "server", [], index, _READING) | {"requestBody": asked},
        },
    }


def _model_paths() -> dict[str, Any]:
    model, pinned = "/v2/models/{model}", "/v2/models/{model}/versions/{version}"
    paths: dict[str, Any] = {}
    for base, suffix, given in ((model, "", [_MODEL]), (pinned, "OfVersion", [_MODEL, _VERSION])):
        paths[base] = _get(f"modelMetadata{suffix}", "Model metadata", "ModelMetadata", given)
        paths[f"{base}/ready"] = _get(f"modelReady{suffix}", "Whether the model can answer", "Ready", given)
        headers = [_JSON_LENGTH, _STICKY] if base == model else [_JSON_LENGTH]
        operation = _post(
            f"infer{suffix}",
            "Predict from the model's inputs (Open Inference Protocol)",
            ("InferRequest", "InferResponse"),
            [*given, *headers],
        )
        operation["post"]["requestBody"]["content"] |= _RAW
        operation["post"]["responses"]["200"]["content"] |= _RAW
        paths[f"{base}/infer"] = operation
    summary = "Predict from entity keys; features are joined online"
    paths[f"{model}/predict"] = _post("predict", summary, ("PredictRequest", "InferResponse"), [_MODEL, _STICKY])
    summary = "Report what turned out to be true"
    paths[f"{model}/labels"] = _post("labels", summary, ("LabelsRequest", "LabelsResponse"), [_MODEL, _IDEMPOTENCY])
    paths[f"{model}/plan"] = _get("plan", "What the endpoint serves", "ServingPlan", [_MODEL])
    return paths


def _operation_paths() -> dict[str, Any]:
    paths: dict[str, Any] = {}
    orders = [(f"/v2/repository/models/{{model}}/{action}", action, _MODEL, *of) for action, of in OPERATIONS.items()]
    orders += [
        (f"/v2/repository/environments/{{environment}}/{action}", action, _ENVIRONMENT, *of)
        for action, of in ENVIRONMENT_OPERATIONS.items()
    ]
    for path, action, target, kind, summary in orders:
        makes_plan = issubclass(kind, Parameters) and action != "retire"
        answer = _json(_ref("ServingPlan") if makes_plan else {"type": "object"})
        operation = _operation(action, summary, scope_of(action), [target, _IDEMPOTENCY], answer, (*_ERRORS, "409"))
        body = _object({}, {"parameters": operation_schema(action)}, closed=True)
        content = {"required": False, "content": _json(body)}
        # whoever comes from loopback needs a key, too
        paths[path] = {"post": operation | {"requestBody": content, "security": [{"key": []}]}}
    return paths


_RAW = {"application/octet-stream": {"schema": {"type": "string", "contentMediaType": "application/octet-stream"}}}
"""JSON and the raw tensors after it."""


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _get(name: str, summary: str, answer: str, parameters: list[dict[str, Any]]) -> dict[str, Any]:
    return {"get": _operation(name, summary, "model", parameters, _json(_ref(answer)), _READING)}


def _post(name: str, summary: str, schemas: tuple[str, str], parameters: list[dict[str, Any]]) -> dict[str, Any]:
    body, answer = (_json(_ref(schema)) for schema in schemas)
    operation = _operation(name, summary, "model", parameters, answer, tuple(_ERRORS))
    return {"post": operation | {"requestBody": {"required": True, "content": body}}}


def _operation(
    name: str, summary: str, tag: str, parameters: list[dict[str, Any]], answer: dict[str, Any], errors: tuple[str, ...]
) -> dict[str, Any]:
    bad = _json(_ref("Error"))
    responses: dict[str, Any] = {"200": {"description": "Done", "content": answer}}
    for status in errors:
        responses[status] = {"description": _ERRORS.get(status, _CONFLICT), "content": bad}
        if status in _HEADERS:
            responses[status]["headers"] = {_HEADERS[status]: {"schema": _TEXT}}
    return {"operationId": name, "summary": summary, "tags": [tag], "parameters": parameters, "responses": responses}


_HEADERS = {"401": "WWW-Authenticate", "429": "Retry-After"}


_PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>RayMLOps API</title><style>
body{{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}}
table{{border-collapse:collapse;width:100%}}td,th{{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #8884}}
code{{font-size:.95em}}</style></head><body><h1>RayMLOps {version}</h1>
<p>The machine-readable form is <a href="/openapi.json">/openapi.json</a>. Every error is
<code>{{"error": "..."}}</code>.</p>
<table><tr><th>Method</th><th>Path</th><th>Does</th><th>Body</th><th>Answers</th></tr>{rows}</table></body></html>"""


def docs_page(document: dict[str, Any]) -> bytes:
    """A self-contained HTML page of an OpenAPI document's operations."""
    rows = []
    for path, item in document["paths"].items():
        for method, operation in item.items():
            content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
            body = content.get("schema", {}).get("$ref", "").rpartition("/")[2]
            statuses = ", ".join(operation["responses"])
            cells = (f"<code>{method.upper()}</code>", f"<code>{escape(path)}</code>", escape(operation["summary"]))
            rows.append(f"<tr>{''.join(f'<td>{cell}</td>' for cell in (*cells, body, statuses))}</tr>")
    return _PAGE.format(version=escape(document["info"]["version"]), rows="".join(rows)).encode()

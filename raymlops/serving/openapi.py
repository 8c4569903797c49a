"""The API described: an OpenAPI 3.1 document, and a page that shows it without loading anything from elsewhere."""

from __future__ import annotations

from html import escape
from typing import Any

__all__ = ["docs_page", "openapi_document"]

_ERRORS = {
    "401": "No valid API key",
    "403": "The key does not cover this",
    "400": "Bad input; the message names what",
    "404": "Unknown model, version or path",
    "413": "Body too large",
    "429": "Too many requests under way; see Retry-After",
    "503": "Not ready, or nobody can answer",
    "504": "Deadline",
}
_MODEL = {"name": "model", "in": "path", "required": True, "schema": {"type": "string"}}
_VERSION = {"name": "version", "in": "path", "required": True, "schema": {"type": "string", "pattern": "^[0-9]+$"}}
_STICKY = {
    "name": "X-Sticky-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string"},
    "description": "Pins a caller to its variant of a trial.",
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


def _list(items: dict[str, Any], least: int = 0) -> dict[str, Any]:
    return {"type": "array", "items": items, "minItems": least}


_TEXT = {"type": "string"}
_INSTANT = {"type": "string", "format": "date-time"}
_SHAPE = _list({"type": "integer", "minimum": 0})
_FREE = {"type": "object"}

_SCHEMAS: dict[str, Any] = {
    "Error": _object({"error": _TEXT}),
    "ServerMetadata": _object({"name": _TEXT, "version": _TEXT, "extensions": _list(_TEXT)}),
    "Live": _object({"live": {"type": "boolean"}}),
    "Ready": _object({"ready": {"type": "boolean"}}, {"name": _TEXT}),
    "TensorMetadata": _object({"name": _TEXT, "datatype": _TEXT, "shape": _list({"type": "integer"})}),
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
        {"name": _TEXT, "datatype": _TEXT, "shape": _SHAPE}, {"data": _list({}), "parameters": _FREE}
    ),
    "ResponseTensor": _object(
        {"name": _TEXT, "datatype": _TEXT, "shape": _SHAPE}, {"data": _list({}), "parameters": _FREE}
    ),
    "InferRequest": _object(
        {"inputs": _list(_ref("RequestTensor"), 1)},
        {"id": _TEXT, "parameters": _FREE, "outputs": _list(_object({"name": _TEXT}, {"parameters": _FREE}))},
    ),
    "InferResponse": _object(
        {"model_name": _TEXT, "model_version": _TEXT, "id": _TEXT, "outputs": _list(_ref("ResponseTensor"))},
        {"parameters": _FREE},
    ),
    "PredictRequest": _object(
        {"instances": _list({"type": "object", "additionalProperties": _JSON_VALUE}, 1)},
        {
            "id": _TEXT,
            "parameters": _object({}, {"at": {"oneOf": [_INSTANT, _list(_INSTANT, 1)]}}, closed=True),
        },
        closed=True,
    ),
    "LabelsRequest": _object(
        {
            "labels": _list(
                _object(
                    {"request_id": _TEXT, "label": {"type": ["string", "number", "boolean"]}},
                    {"row": {"type": "integer", "minimum": 0}, "event_time": _INSTANT},
                    closed=True,
                ),
                1,
            )
        },
        closed=True,
    ),
    "LabelsResponse": _object({"recorded": {"type": "integer"}}),
    "ServingPlan": _object(
        {"model": _TEXT, "number": {"type": "integer"}, "champion": {"type": "integer"}, "created_at": _INSTANT},
        {
            "backup": {"type": ["integer", "null"]},
            "trial": {"type": ["object", "null"]},
            "service": {"type": ["string", "null"]},
            "replicas": {"type": "integer"},
            "reason": _TEXT,
        },
    ),
}


def openapi_document(version: str) -> dict[str, Any]:
    """The whole API of one port as an OpenAPI document.

    Args:
        version: Of the product.
    """
    model, pinned = "/v2/models/{model}", "/v2/models/{model}/versions/{version}"
    parameters = {model: [_MODEL], pinned: [_MODEL, _VERSION]}
    paths: dict[str, Any] = {
        "/v2": _get("Server metadata", "ServerMetadata", []),
        "/v2/health/live": _get("Whether the server is up", "Live", []),
        "/v2/health/ready": _get("Whether the server can serve", "Ready", []),
    }
    for base, given in parameters.items():
        paths[base] = _get("Model metadata", "ModelMetadata", given)
        paths[f"{base}/ready"] = _get("Whether the model can answer", "Ready", given)
        paths[f"{base}/infer"] = _post(
            "Predict from the model's inputs (Open Inference Protocol)",
            "InferRequest",
            "InferResponse",
            [*given, _STICKY] if base == model else given,
        )
    paths[f"{model}/predict"] = _post(
        "Predict from entity keys; features are joined online", "PredictRequest", "InferResponse", [_MODEL, _STICKY]
    )
    paths[f"{model}/labels"] = _post("Report what turned out to be true", "LabelsRequest", "LabelsResponse", [_MODEL])
    paths[f"{model}/plan"] = _get("What the endpoint serves", "ServingPlan", [_MODEL])
    return {
        "openapi": "3.1.0",
        "info": {"title": "RayMLOps", "version": version, "description": "Predictions, labels and health."},
        "paths": paths,
        "components": {"schemas": _SCHEMAS, "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
        # on loopback nobody is asked for a key
        "security": [{"key": []}, {}],
    }


def _get(summary: str, answer: str, parameters: list[dict[str, Any]]) -> dict[str, Any]:
    errors = ("404", "503") if parameters else ("503",)
    return {"get": {"summary": summary, "parameters": parameters, "responses": _responses(answer, errors)}}


def _post(summary: str, body: str, answer: str, parameters: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "post": {
            "summary": summary,
            "parameters": parameters,
            "requestBody": {"required": True, "content": {"application/json": {"schema": _ref(body)}}},
            "responses": _responses(answer, tuple(_ERRORS)),
        }
    }


def _responses(answer: str, errors: tuple[str, ...]) -> dict[str, Any]:
    good = {"description": "Done", "content": {"application/json": {"schema": _ref(answer)}}}
    bad = {"application/json": {"schema": _ref("Error")}}
    return {"200": good} | {status: {"description": _ERRORS[status], "content": bad} for status in errors}


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

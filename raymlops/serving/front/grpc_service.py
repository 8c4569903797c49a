"""``inference.GRPCInferenceService``, free of gRPC: bytes in, bytes and a status out.

Every call is a request of the HTTP interface in other words. It is translated, handed to the model's endpoint or to the
gateway, and what they say is translated back; keys, limits, deadlines and errors are theirs.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

import orjson
from google.protobuf.message import DecodeError

from raymlops.errors import DataError, NotFoundError, RaymlopsError
from raymlops.serving.front.gateway import Gateway, ModelEndpoints
from raymlops.serving.front.grpc_messages import infer_body, infer_message, metadata_message
from raymlops.serving.front.open_inference_pb2 import (
    ModelInferRequest,
    ModelMetadataRequest,
    ModelReadyRequest,
    ModelReadyResponse,
    ServerLiveResponse,
    ServerMetadataResponse,
    ServerReadyResponse,
)
from raymlops.serving.protocol.http import HttpReply, HttpRequest, error_reply, reply_to

__all__ = ["METADATA", "SERVICE", "GrpcReply", "InferenceService"]

SERVICE = "inference.GRPCInferenceService"
METADATA = ("authorization", "x-sticky-key", "traceparent", "tracestate")
"""The request metadata that mean what the headers of their names do."""

_log = logging.getLogger(__name__)

_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "FAILED_PRECONDITION",
    413: "RESOURCE_EXHAUSTED",
    429: "RESOURCE_EXHAUSTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
"""HTTP status -> gRPC status; what is not here is a bug, INTERNAL."""


class GrpcReply(NamedTuple):
    """One answer.

    Attributes:
        status: Name of a gRPC status code.
        message: What is wrong; empty where nothing is.
        body: The response message, encoded; empty unless ``status`` is OK.
    """

    status: str
    message: str = ""
    body: bytes = b""


class _Refused(Exception):
    """A reply that is no 200."""

    def __init__(self, reply: HttpReply) -> None:
        super().__init__(reply)
        self.reply = reply


_Method = Callable[[bytes, Mapping[str, str]], Awaitable[Any]]


class InferenceService:
    """Answers the six calls of the protocol. All methods belong to one event loop.

    Args:
        gateway: Answers for the server, and for models without an endpoint.
        endpoints: Answer for their models.
    """

    def __init__(self, gateway: Gateway, endpoints: ModelEndpoints) -> None:
        self._gateway = gateway
        self._endpoints = endpoints
        self._methods: dict[str, _Method] = {
            "ServerLive": self._server_live,
            "ServerReady": self._server_ready,
            "ServerMetadata": self._server_metadata,
            "ModelReady": self._model_ready,
            "ModelMetadata": self._model_metadata,
            "ModelInfer": self._model_infer,
        }

    @property
    def methods(self) -> tuple[str, ...]:
        """Names of the calls."""
        return tuple(self._methods)

    async def call(self, method: str, body: bytes, metadata: Mapping[str, str]) -> GrpcReply:
        """Answer one call; whatever happens, the reply is one of the protocol's.

        Args:
            method: One of ``methods``.
            body: The request message, encoded.
            metadata: Of the request, names in lower case; those of ``METADATA`` are read.
        """
        headers = {name: metadata[name] for name in METADATA if name in metadata}
        try:
            answer = await self._methods[method](body, headers)
            return GrpcReply("OK", body=answer.SerializeToString())
        except _Refused as refused:
            return _refusal(refused.reply)
        except DecodeError:
            return GrpcReply("INVALID_ARGUMENT", f"the request is no {method}Request")
        except TimeoutError:
            return GrpcReply("DEADLINE_EXCEEDED", "the endpoint did not answer in time")
        except RaymlopsError as error:
            return _refusal(reply_to(error))
        except Exception:
            _log.exception("%s failed", method)
            return _refusal(error_reply(500, "internal error"))

    async def _server_live(self, body: bytes, headers: Mapping[str, str]) -> Any:
        del body
        return ServerLiveResponse(**await self._server("/v2/health/live", headers))

    async def _server_ready(self, body: bytes, headers: Mapping[str, str]) -> Any:
        del body
        return await _or_not_ready(self._server("/v2/health/ready", headers), ServerReadyResponse)

    async def _server_metadata(self, body: bytes, headers: Mapping[str, str]) -> Any:
        del body
        return ServerMetadataResponse(**await self._server("/v2", headers))

    async def _model_ready(self, body: bytes, headers: Mapping[str, str]) -> Any:
        asked = ModelReadyRequest.FromString(body)
        document = self._described(asked.name, asked.version, "/ready", headers)
        return await _or_not_ready(document, ModelReadyResponse)

    async def _model_metadata(self, body: bytes, headers: Mapping[str, str]) -> Any:
        asked = ModelMetadataRequest.FromString(body)
        return metadata_message(await self._described(asked.name, asked.version, "", headers))

    async def _model_infer(self, body: bytes, headers: Mapping[str, str]) -> Any:
        asked = ModelInferRequest.FromString(body)
        path = _path(asked.model_name, asked.model_version, "/infer")
        content, more = infer_body(asked)
        reply = await self._ask(asked.model_name, HttpRequest("POST", path, {**headers, **more}, content))
        return infer_message(reply, raw=bool(asked.raw_input_contents))

    async def _server(self, path: str, headers: Mapping[str, str]) -> dict[str, Any]:
        return _document(_good(await self._gateway.handle(HttpRequest("GET", path, headers))))

    async def _described(self, model: str, version: str, action: str, headers: Mapping[str, str]) -> dict[str, Any]:
        return _document(await self._ask(model, HttpRequest("GET", _path(model, version, action), headers)))

    async def _ask(self, model: str, request: HttpRequest) -> HttpReply:
        reply = await self._endpoints.ask(model, request)
        return _good(reply if reply is not None else await self._gateway.handle(request))


def _path(model: str, version: str, action: str) -> str:
    if not model:
        raise DataError("the model's name must not be empty")
    if "/" in model or "/" in version:
        raise NotFoundError(f"there is no model {model!r} with a version {version!r}")
    pinned = f"/versions/{version}" if version else ""
    return f"/v2/models/{model}{pinned}{action}"


def _good(reply: HttpReply) -> HttpReply:
    if reply.status != 200:
        raise _Refused(reply)
    return reply


def _document(reply: HttpReply) -> dict[str, Any]:
    document: dict[str, Any] = orjson.loads(reply.body)
    return document


async def _or_not_ready(document: Awaitable[dict[str, Any]], response: Callable[..., Any]) -> Any:
    """Whether it is ready: what cannot serve answers that it is not, and not with an error."""
    try:
        return response(ready=(await document)["ready"])
    except _Refused as refused:
        if refused.reply.status != 503:
            raise
        return response(ready=False)


def _refusal(reply: HttpReply) -> GrpcReply:
    return GrpcReply(_STATUSES.get(reply.status, "INTERNAL"), _document(reply)["error"])

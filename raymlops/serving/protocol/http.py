"""HTTP requests and replies of the serving core, and the status of each error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import orjson

from raymlops.errors import (
    ConflictError,
    DataError,
    DeploymentError,
    Forbidden,
    NotFoundError,
    Overloaded,
    RaymlopsError,
    StorageError,
    Unauthenticated,
    UnavailableError,
)

__all__ = ["JSON", "HttpReply", "HttpRequest", "error_reply", "json_reply", "raw_reply", "reply_to", "status_of"]

JSON = "application/json"
"""Exactly this: KServe's client compares the header with ``==``."""

_LONGEST_MESSAGE = 1000

_STATUSES: tuple[tuple[type[BaseException], int], ...] = (
    (DataError, 400),
    (Unauthenticated, 401),
    (Forbidden, 403),
    (NotFoundError, 404),
    (ConflictError, 409),
    (DeploymentError, 503),
    (StorageError, 503),
    (Overloaded, 429),
    (UnavailableError, 503),
    (TimeoutError, 504),
)
"""Family of errors -> status; what is not here is a bug, 500."""


class HttpRequest(NamedTuple):
    """One request.

    Attributes:
        method: ``GET``, ``POST`` ...
        path: Whole and decoded, without the query.
        headers: Names in lower case.
        body: As sent.
        received_s: How long it took to arrive.
        query: As sent, without the question mark; endpoints of models have no use for one.
    """

    method: str
    path: str
    headers: Mapping[str, str] = {}
    body: bytes = b""
    received_s: float = 0.0
    query: str = ""


class HttpReply(NamedTuple):
    """One answer.

    Attributes:
        status: As HTTP has it.
        headers: At least ``content-type``.
        body: As sent.
        version: Of the model that answered; ``None`` where none was asked.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    version: int | None = None


_JSON_HEADERS = {"content-type": JSON}


def raw_reply(body: bytes, content_type: str = JSON) -> HttpReply:
    """A 200 of bytes that are already encoded."""
    return HttpReply(200, {"content-type": content_type}, body)


def json_reply(value: object, status: int = 200) -> HttpReply:
    """``value`` as JSON."""
    return HttpReply(status, _JSON_HEADERS, orjson.dumps(value))


def error_reply(status: int, message: str, **headers: str) -> HttpReply:
    """``{"error": message}``; further headers by keyword, ``_`` for ``-``."""
    # a message may quote what was sent: of any length, and with lone surrogates, which JSON has no form for
    text = message[:_LONGEST_MESSAGE].encode("utf-8", "replace").decode()
    extra = {name.replace("_", "-"): value for name, value in headers.items()}
    return HttpReply(status, {**_JSON_HEADERS, **extra}, orjson.dumps({"error": text}))


def status_of(error: BaseException) -> int:
    """The status that answers ``error``; 500 for what no caller can have caused."""
    return next((status for family, status in _STATUSES if isinstance(error, family)), 500)


def reply_to(error: BaseException) -> HttpReply:
    """The reply for an error that a caller may read about."""
    headers = {"retry_after": "1"} if isinstance(error, RaymlopsError) and error.retryable else {}
    if isinstance(error, Unauthenticated):
        headers["www_authenticate"] = "Bearer"
    return error_reply(status_of(error), str(error), **headers)

"""Transports of OpenLineage events: a file of JSON lines, or an HTTP endpoint."""

from __future__ import annotations

import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from raymlops.config.infrastructure.metadata import OpenLineageConfig
from raymlops.errors import StorageError, UnavailableError
from raymlops.records.record import canonical_json

__all__ = ["FileTransport", "HttpTransport", "Transport", "transports_of"]

_RETRYABLE_FROM, _TOO_MANY = 500, 429


class Transport(Protocol):
    """Takes events, one after the other."""

    def send(self, event: Mapping[str, Any]) -> None:
        """Hand an event over.

        Raises:
            StorageError: The file cannot be written.
            UnavailableError: The endpoint did not take it in time.
        """
        ...


class FileTransport:
    """Appends events to a file, one a line. Any number of processes may write to it.

    Args:
        path: Made where it is not there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def send(self, event: Mapping[str, Any]) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            # one write of a file that is only appended to: lines of several processes do not mix
            file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                os.write(file, canonical_json(dict(event)) + b"\n")
            finally:
                os.close(file)
        except OSError as error:
            raise StorageError(f"OpenLineage file {self._path}: {error}", path=str(self._path)) from error


class HttpTransport:
    """Posts events to an HTTP endpoint, with retries until a deadline.

    Args:
        url: The whole URL, such as ``http://marquez:5000/api/v1/lineage``.
        api_key: Sent as a bearer token.
        timeout_s: Of one attempt.
        deadline_s: Of all attempts of one event.
        backoff_s: Wait before the second attempt; doubled for each further one.
        sleep: How to wait.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        timeout_s: float = 5.0,
        deadline_s: float = 30.0,
        backoff_s: float = 0.2,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._url = url
        self._headers = {"Content-Type": "application/json"}
        if api_key is not None:
            self._headers["Authorization"] = f"Bearer {api_key}"
        self._timeout_s = timeout_s
        self._deadline_s = deadline_s
        self._backoff_s = backoff_s
        self._sleep = sleep

    def send(self, event: Mapping[str, Any]) -> None:
        body = canonical_json(dict(event))
        deadline, wait_s = time.monotonic() + self._deadline_s, self._backoff_s
        while True:
            left_s = deadline - time.monotonic()
            problem = self._post(body, max(min(self._timeout_s, left_s), 0.001))
            if problem is None:
                return
            if time.monotonic() + wait_s > deadline:
                raise UnavailableError(f"OpenLineage endpoint {self._url}: {problem}", url=self._url)
            self._sleep(wait_s)
            wait_s *= 2

    def _post(self, body: bytes, timeout_s: float) -> str | None:
        """Post one event; returns the fault if a retry may help, else ``None``.

        Raises:
            UnavailableError: The endpoint refuses the event.
        """
        request = urllib.request.Request(self._url, body, self._headers)  # noqa: S310 - http by configuration
        try:
            with urllib.request.urlopen(request, timeout=timeout_s):  # noqa: S310 - likewise
                return None
        except urllib.error.HTTPError as error:
            with error:
                if error.code < _RETRYABLE_FROM and error.code != _TOO_MANY:
                    raise UnavailableError(f"OpenLineage endpoint {self._url}: {error}", url=self._url) from error
                return str(error)
        except OSError as error:
            return str(error)


def transports_of(config: OpenLineageConfig) -> list[Transport]:
    """The configured transports; an empty list if none is configured."""
    found: list[Transport] = []
    if config.file is not None:
        found.append(FileTransport(config.file.expanduser()))
    if config.url is not None:
        key = os.environ.get(config.api_key_env) if config.api_key_env else None
        timeout_s, deadline_s = config.timeout.total_seconds(), config.deadline.total_seconds()
        found.append(HttpTransport(config.url, api_key=key, timeout_s=timeout_s, deadline_s=deadline_s))
    return found
